"""When a strategy of a list applies: ``when … use …``, read from top to bottom, the first that holds.

A condition says nothing of what it does not name; everything that it names must hold. Where a fact
is not known, what asks for it does not hold.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from gateway.policy.model import Case, Condition, Facts, Hint, Window

HINT_DEFAULTS: dict[Hint, bool] = {
    "readOnlyHint": False,
    "destructiveHint": True,
    "idempotentHint": False,
    "openWorldHint": True,
}
"""What the specification has a client assume of a tool that does not say (`ToolAnnotations`)."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ALL_DAY = Window(0, 24 * 60)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a condition holds; `why` is for people."""

    holds: bool
    why: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What became of one entry of a list: `verdict` is None for one that was not looked at."""

    case: Case
    verdict: Verdict | None
    chosen: bool


def choose(cases: tuple[Case, ...], facts: Facts) -> tuple[Looked, ...]:
    """Look at the entries from top to bottom until one holds."""
    looked: list[Looked] = []
    found = False
    for case in cases:
        verdict = None if found else _verdict(case, facts)
        chosen = verdict is not None and verdict.holds
        found = found or chosen
        looked.append(Looked(case, verdict, chosen))
    return tuple(looked)


def judge(condition: Condition, facts: Facts) -> Verdict:
    """Say whether all of a condition holds, and why, or the first part that does not."""
    verdicts = list(_parts(condition, facts))
    failed = next((verdict for verdict in verdicts if not verdict.holds), None)
    return failed or Verdict(True, ", ".join(verdict.why for verdict in verdicts))


def estimated_tokens(characters: int) -> int:
    """Return about how many tokens a text has: four characters each, rounded up."""
    return (characters + 3) // 4


def _verdict(case: Case, facts: Facts) -> Verdict:
    return Verdict(True, "nothing above it holds") if case.when is None else judge(case.when, facts)


def _parts(condition: Condition, facts: Facts) -> Iterator[Verdict]:
    if condition.windows or condition.days:
        yield _time(condition, facts.now)
    yield from _named("client", condition.client, None if facts.client is None else (facts.client,))
    yield from _named(
        "principal", condition.principal, None if facts.principal is None else (facts.principal,)
    )
    yield from _named("model hint", condition.hints, facts.hints)
    tokens = None if facts.characters is None else estimated_tokens(facts.characters)
    yield from _from_on("characters", condition.min_characters, facts.characters)
    yield from _up_to("characters", condition.max_characters, facts.characters)
    yield from _from_on("tokens", condition.min_tokens, tokens)
    yield from _up_to("tokens", condition.max_tokens, tokens)
    for hint, wanted in condition.annotations:
        yield _annotation(hint, facts, wanted=wanted)
    spent = facts.spent
    yield from _from_on("budget spent", condition.spent_fraction, None if spent is None else spent.fraction)
    yield from _from_on("USD spent", condition.spent_usd, None if spent is None else spent.usd)
    yield from _from_on("tokens spent", condition.spent_tokens, None if spent is None else spent.tokens)
    yield from _from_on("questions in flight", condition.in_flight, facts.in_flight)
    yield from _from_on("waiting for the LLM", condition.queued, facts.queued)


def _time(condition: Condition, now: datetime | None) -> Verdict:
    if now is None:
        return Verdict(False, "the time is not known")
    local = now.astimezone(condition.zone or UTC)
    holds = any(_within(window, condition, local) for window in condition.windows or (_ALL_DAY,))
    wanted = [f"{_clock(window.start)}-{_clock(window.end)}" for window in condition.windows]
    wanted += [DAYS[day] for day in condition.days]
    here = f"{DAYS[local.weekday()]} {local:%H:%M} {local.tzname()}"
    return Verdict(holds, f"{here} is {'' if holds else 'not '}in {' '.join(wanted)}")


def _within(window: Window, condition: Condition, local: datetime) -> bool:
    minute = local.hour * 60 + local.minute
    began = local
    if window.start < window.end:
        inside = window.start <= minute < window.end
    else:
        inside = minute >= window.start or minute < window.end
        began = local if minute >= window.start else local - timedelta(days=1)
    return inside and (not condition.days or began.weekday() in condition.days)


def _named(what: str, patterns: tuple[str, ...], values: tuple[str, ...] | None) -> Iterator[Verdict]:
    """Judge names by globs, whatever their case; the name of who has none is empty."""
    if not patterns:
        return
    if values is None:
        yield Verdict(False, f"{what} is not known")
        return
    found = next((v for v in values if any(_matches(v, pattern) for pattern in patterns)), None)
    shown = ", ".join(repr(value) for value in values if value) or "none"
    holds = found is not None
    yield Verdict(
        holds,
        f"{what} {shown if found is None else repr(found)} is {'' if holds else 'not '}"
        + " or ".join(patterns),
    )


def _matches(value: str, pattern: str) -> bool:
    return fnmatchcase(value.lower(), pattern.lower())


def _annotation(hint: Hint, facts: Facts, *, wanted: bool) -> Verdict:
    if facts.tool is None:
        return Verdict(False, f"{hint}: not a tool's call")
    if facts.annotations is None:
        return Verdict(False, "the tool's annotations are not known")
    value = dict(facts.annotations).get(hint, HINT_DEFAULTS[hint])
    return Verdict(value is wanted, f"{hint} is {str(value).lower()}")


def _from_on(what: str, bound: float | None, value: float | None) -> Iterator[Verdict]:
    yield from _bounded(what, bound, value, operator.ge, ("at least", "under"))


def _up_to(what: str, bound: float | None, value: float | None) -> Iterator[Verdict]:
    yield from _bounded(what, bound, value, operator.le, ("at most", "over"))


def _bounded(
    what: str,
    bound: float | None,
    value: float | None,
    holds: Callable[[float, float], bool],
    words: tuple[str, str],
) -> Iterator[Verdict]:
    if bound is None:
        return
    if value is None:
        yield Verdict(False, f"{what}: not known")
        return
    held = holds(value, bound)
    yield Verdict(held, f"{what}: {value:g} is {words[0] if held else words[1]} {bound:g}")


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
