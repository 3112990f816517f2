"""From a strategy as written, a name or a list of ``when … use …``, to what policy reads."""

from __future__ import annotations

from typing import get_args
from zoneinfo import ZoneInfo

from gateway.config.raw_conditions import Day, RawCase, RawWhen, is_conditional
from gateway.config.yaml_source import Document, Key
from gateway.policy.model import Case, Choice, Condition, Hint, Setting, Strategy, Window

_DAYS: tuple[str, ...] = get_args(Day)
_HINTS: tuple[Hint, ...] = get_args(Hint)


def choice(document: Document, key: Key, value: Strategy | list[RawCase] | None) -> Setting[Choice] | None:
    """Join a strategy, or a list of cases, with the place it is written; None stays None."""
    if value is None:
        return None
    if isinstance(value, Strategy):
        return Setting(value, document.source(*key))
    cases = tuple(
        Case(case.use, _condition(case), document.source(*key, index)) for index, case in enumerate(value)
    )
    return Setting(cases, document.source(*key))


def _condition(case: RawCase) -> Condition | None:
    when = case.when
    if when is None or not is_conditional(case):
        return None
    hints: list[tuple[Hint, bool | None]] = [(hint, getattr(when.annotations, hint)) for hint in _HINTS]
    return Condition(
        windows=tuple(_window(text) for text in when.between),
        days=tuple(_DAYS.index(day) for day in when.weekdays),
        zone=_zone(when),
        client=tuple(when.client),
        principal=tuple(when.principal),
        hints=tuple(when.model_hint),
        min_characters=when.prompt.min_characters,
        max_characters=when.prompt.max_characters,
        min_tokens=when.prompt.min_tokens,
        max_tokens=when.prompt.max_tokens,
        annotations=tuple((hint, wanted) for hint, wanted in hints if wanted is not None),
        spent_fraction=when.spent.fraction,
        spent_usd=when.spent.usd,
        spent_tokens=when.spent.tokens,
        in_flight=when.load.in_flight,
        queued=when.load.queued,
    )


def _zone(when: RawWhen) -> ZoneInfo | None:
    return None if when.timezone is None else ZoneInfo(when.timezone)


def _window(text: str) -> Window:
    start, end = (_minutes(part) for part in text.split("-"))
    return Window(start, end)


def _minutes(clock: str) -> int:
    hours, minutes = clock.strip().split(":")
    return int(hours) * 60 + int(minutes)
