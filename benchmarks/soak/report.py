"""The one page that a soak comes to."""

from __future__ import annotations

from collections import Counter

from benchmarks.soak.ledger import Bounds, Ledger, breaches
from benchmarks.soak.run import WARM, Plan

_SHOWN = 12


def report(plan: Plan, ledger: Ledger, bounds: Bounds) -> tuple[str, bool]:
    """Return the page, and whether all was as it must be."""
    warm = plan.seconds * WARM
    lines = [
        f"soak of {plan.seconds / 60:.1f} minutes, seed {plan.seed}: {len(ledger.outcomes)} actions of "
        f"{plan.clients} clients of both eras ({len(ledger.outcomes) / plan.seconds:.0f} a second); servers "
        "over stdio, handshake HTTP and modern HTTP",
        "",
        f"{'action':<36}{'taken':>8}{'errors':>8}",
    ]
    lines += [f"{name:<36}{taken:>8}{failed:>8}" for name, (taken, failed) in ledger.actions().items()]
    lines += ["", "injected, and the errors put down to it:"]
    times = Counter(fault.reason for fault in ledger.faults)
    because = ledger.explained()
    for reason, count in sorted(times.items()):
        lasted = sum(each.ended - each.began for each in ledger.faults if each.reason == reason)
        lines.append(f"  {reason}, {count} times, {lasted:.1f} s in all: {because[reason]} errors")
    unexplained = Counter(each.error for each in ledger.unexplained())
    lines += ["", f"errors that were not injected: {unexplained.total()}"]
    lines += [f"  {count} x {error}" for error, count in unexplained.most_common(_SHOWN)]
    lines += ["", _memory(ledger, warm, bounds)]
    broken = breaches(ledger, warm, bounds)
    lines += ["", *(f"BREACH: {breach}" for breach in broken)] if broken else ["", "all as it must be"]
    return "\n".join(lines), not broken


def _memory(ledger: Ledger, warm: float, bounds: Bounds) -> str:
    line = ledger.memory(warm)
    if line is None:
        return "memory: too few samples after the warm-up to tell"
    return (
        f"resident memory after {warm:.0f} s of warm-up: {line.first / 1e6:.1f} -> {line.last / 1e6:.1f} MB, "
        f"{line.growth:+.1%} ({line.per_minute / 1e6:+.2f} MB a minute; a line through "
        f"{len([each for each in ledger.samples if each[0] >= warm])} samples; "
        f"bound {bounds.growth:.0%} or {bounds.slack / 1e6:g} MB)"
    )
