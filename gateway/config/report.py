"""What loading collects: problems that stop a start, warnings, and notes for `check`."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.config.yaml_source import Document, Key
from gateway.errors import Problem
from gateway.policy.model import Source


@dataclass(slots=True)
class Report:
    """Grows while files are read; `problems` of all files are raised together at the end."""

    problems: list[Problem] = field(default_factory=list[Problem])
    warnings: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    _unread: list[Problem] = field(default_factory=list[Problem])

    def unread(self, problems: list[Problem]) -> None:
        """Record values that could not be expanded: whatever else is wrong with them follows from it."""
        self._unread.extend(problems)

    def all_problems(self, overrides_used: set[str]) -> list[Problem]:
        """Return all problems.

        `overrides_used` are variables that some file uses in ``${…}``: such a one is no bad override.
        """
        places = {(problem.file, problem.path) for problem in self._unread}
        used = {f"${name}" for name in overrides_used}
        others = (p for p in self.problems if (p.file, p.path) not in places and p.file not in used)
        return [*self._unread, *others]

    def problem(self, document: Document, key: Key, message: str, fix: str = "") -> None:
        """Record an error with the value at `key`."""
        self.problems.append(document.problem(key, message, fix))

    def lack(self, document: Document, key: Key, message: str, fix: str = "") -> None:
        """Record that something is missing at `key`, unless it may be there but unreadable.

        A misspelt key beneath has been reported already; that nothing was found follows from it.
        """
        lack = document.problem(key, message, fix)
        below = (f"{lack.path}.", f"{lack.path}[")
        if not any(p.file == lack.file and p.path.startswith(below) for p in (*self._unread, *self.problems)):
            self.problems.append(lack)

    def warning(self, document: Document, key: Key, message: str, fix: str = "") -> None:
        """Record something that will not do what its writer seems to expect."""
        self.warnings.append(_line(document.problem(key, message, fix)))

    def warning_at(self, source: Source, message: str, fix: str = "") -> None:
        """Record a warning about a setting whose place is known."""
        self.warnings.append(_line(Problem(source.file, source.path, message, fix, source.line)))

    def note(self, document: Document, key: Key, message: str) -> None:
        """Record something worth knowing, which is no fault."""
        self.notes.append(_line(document.problem(key, message)))


def _line(problem: Problem) -> str:
    return str(problem).replace("\n    fix: ", "; fix: ")
