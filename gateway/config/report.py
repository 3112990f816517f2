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

    def problem(self, document: Document, key: Key, message: str, fix: str = "") -> None:
        """Record an error with the value at `key`."""
        self.problems.append(document.problem(key, message, fix))

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
