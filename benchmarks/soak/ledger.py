"""What happened and whose doing it was. Pure: outcomes, faults and samples go in, a verdict comes out."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outcome:
    """One action of a client: what it did, the servers it needed, when, and its error if it had one."""

    action: str
    servers: frozenset[str]
    began: float
    ended: float
    error: str = ""


@dataclass(frozen=True)
class Fault:
    """Something that was broken on purpose: what, why errors are to be expected, and from when to when."""

    what: str
    reason: str
    began: float
    ended: float


def cause(outcome: Outcome, faults: Sequence[Fault]) -> Fault | None:
    """Return the fault that an outcome's error is put down to: one of its servers', at the same time."""
    for fault in faults:
        if fault.what in outcome.servers and outcome.began <= fault.ended and fault.began <= outcome.ended:
            return fault
    return None


@dataclass(frozen=True)
class Slope:
    """Memory over time: bytes at the start and the end of a line through all samples, and bytes a minute."""

    first: float
    last: float
    per_minute: float

    @property
    def growth(self) -> float:
        """The part by which it grew."""
        return (self.last - self.first) / self.first


def slope(samples: Sequence[tuple[float, float]]) -> Slope:
    """Lay a straight line through samples of (seconds, bytes) that single strange ones do not turn.

    It is Theil's and Sen's: as steep as the median pair of samples, through the median of them all.

    Raises:
        ValueError: fewer than two moments.
    """
    pairs = itertools.combinations(samples, 2)
    rises = [(there - here) / (after - before) for (before, here), (after, there) in pairs if after != before]
    if not rises:
        raise ValueError("a line needs samples of two moments")
    steep = statistics.median(rises)
    level = statistics.median(size - steep * time for time, size in samples)
    first, last = samples[0][0], samples[-1][0]
    return Slope(level + steep * first, level + steep * last, steep * 60)


@dataclass
class Ledger:
    """Everything of one run. `samples` are (seconds, bytes) of the gateway's own process."""

    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    faults: list[Fault] = field(default_factory=list[Fault])
    samples: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    left: list[str] = field(default_factory=list[str])
    """What the gateway still held when everybody had gone."""

    def unexplained(self) -> list[Outcome]:
        """Errors that no fault accounts for."""
        return [each for each in self.outcomes if each.error and cause(each, self.faults) is None]

    def explained(self) -> Counter[str]:
        """How many errors each reason accounts for."""
        found = (cause(each, self.faults) for each in self.outcomes if each.error)
        return Counter(fault.reason for fault in found if fault is not None)

    def actions(self) -> dict[str, tuple[int, int]]:
        """How often each action was taken, and how often it ended in an error."""
        taken = Counter(each.action for each in self.outcomes)
        failed = Counter(each.action for each in self.outcomes if each.error)
        return {action: (taken[action], failed[action]) for action in sorted(taken)}

    def memory(self, warm: float) -> Slope | None:
        """The line of memory after `warm` seconds; None where there are too few samples to draw one."""
        after = [sample for sample in self.samples if sample[0] >= warm]
        return slope(after) if len(after) >= 10 else None


@dataclass(frozen=True)
class Bounds:
    """What is flat: after the warm-up memory grows by `growth` of itself at most, or by `slack` bytes."""

    growth: float = 0.05
    slack: float = 3e6


def breaches(ledger: Ledger, warm: float, bounds: Bounds) -> list[str]:
    """Return what is not as it must be, in words."""
    found: list[str] = []
    if unexplained := ledger.unexplained():
        found.append(f"{len(unexplained)} errors that were not injected")
    line = ledger.memory(warm)
    if line is not None and line.growth > bounds.growth and line.last - line.first > bounds.slack:
        found.append(
            f"memory is not flat: {line.growth:+.1%} after the warm-up, "
            f"{line.per_minute / 1e6:.2f} MB a minute"
        )
    return found + [f"left behind: {what}" for what in ledger.left]
