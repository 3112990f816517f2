"""Runs the official conformance suites (`@modelcontextprotocol/conformance`) against a URL."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.interop.clients import INSTALLED, NODE
from tests.support.processes import stop

LIMIT = 100.0
"""Seconds that one run of a suite may take; on a machine at rest the longest takes ten."""

FINE = frozenset({"SUCCESS", "INFO", "SKIPPED"})
"""Statuses of a check that a server need not be ashamed of; the others are WARNING and FAILURE."""

_FOLDER = re.compile(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z")
_UNSCORED = re.compile(r"^  [✓✗] (\S+) \((?:extension|pending)\)$", re.MULTILINE)

Checks = Mapping[str, str]
"""The statuses of one scenario's checks; a check that is made more than once is numbered."""


@dataclass(frozen=True)
class Suite:
    """One of the suites: the release it is from, and what selects its scenarios."""

    release: str
    option: str
    revision: str

    def __str__(self) -> str:
        return f"{self.release} {self.option} {self.revision}"


@dataclass(frozen=True)
class Report:
    """What a suite found; `unscored` are scenarios that it runs, but does not count for conformance."""

    scenarios: Mapping[str, Checks]
    unscored: frozenset[str]

    @property
    def passed(self) -> int:
        """How many checks of scored scenarios were passed."""
        scored = [checks for name, checks in self.scenarios.items() if name not in self.unscored]
        return sum(status == "SUCCESS" for checks in scored for status in checks.values())

    def unfit(self, *, scored: bool) -> dict[str, Checks]:
        """Return the scenarios with a check that is not fine, each with those checks."""
        unfit: dict[str, Checks] = {}
        for name, checks in self.scenarios.items():
            bad = {check: status for check, status in checks.items() if status not in FINE}
            if bad and (name not in self.unscored) == scored:
                unfit[name] = bad
        return unfit

    def differences(self, other: Report) -> dict[str, tuple[Checks, Checks]]:
        """Return the scenarios that ended otherwise in another run, with the checks that did in both."""
        found: dict[str, tuple[Checks, Checks]] = {}
        for name in self.scenarios.keys() | other.scenarios.keys():
            ours, theirs = self.scenarios.get(name, {}), other.scenarios.get(name, {})
            if ours != theirs:
                found[name] = (
                    dict(ours.items() - theirs.items()),
                    dict(theirs.items() - ours.items()),
                )
        return found


async def run(suite: Suite, url: str, folder: Path) -> Report:
    """Run a suite; its results are left in `folder`.

    Raises:
        AssertionError: it is not installed, or came to no end.
    """
    program = INSTALLED / "node_modules" / f"conformance-{suite.release}" / "dist" / "index.js"
    assert program.exists(), "the conformance suites are not installed: run scripts/interop"
    arguments = ["server", "--url", url, suite.option, suite.revision, "--output-dir", str(folder)]
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(program),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(LIMIT):
            printed = (await process.communicate())[0].decode()
    finally:
        await stop(process)
    assert "\nTotal: " in printed, f"{suite} came to no end:\n{printed[-3000:]}"
    return Report(_scenarios(folder), frozenset(_UNSCORED.findall(printed)))


def _scenarios(folder: Path) -> dict[str, Checks]:
    scenarios: dict[str, Checks] = {}
    for path in sorted(folder.glob("*/checks.json")):
        named = _FOLDER.fullmatch(path.parent.name)
        assert named is not None, f"no result of a scenario: {path.parent.name}"
        times: Counter[str] = Counter()
        checks: dict[str, str] = {}
        for check in json.loads(path.read_text()):
            name = check["id"]
            times[name] += 1
            checks[name if times[name] == 1 else f"{name} #{times[name]}"] = check["status"]
        scenarios[named[1]] = checks
    return scenarios
