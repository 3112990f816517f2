"""The record of decisions: the last ones kept in memory, each one logged."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context, copy_context
from dataclasses import fields
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import structlog

from gateway import codes
from gateway.answers.model import Decision, Leg
from gateway.observability.redaction import scrub, scrub_text
from gateway.observability.summary import line

Json = dict[str, Any]
_log: Any = structlog.get_logger("backchannel.decisions")

EVENT: Final = "decision"
FILTERS: Final = frozenset(
    {
        *("id", "server", "kind", "method", "target", "client", "principal", "session"),
        *("strategy", "level", "source", "outcome"),
    }
)
"""What `DecisionLog.recent` can select by."""
_KNOWN: Final = 4096
"""Texts that are remembered."""
_TROUBLE = frozenset({"unanswered", "limited", "broken"})


class DecisionLog:
    """Keeps the last `keep` decisions, without secrets, newest last.

    A decision that is recorded must not change any more: it is written once the answer that it tells of is on
    its way: the asking server does not wait for a log. Whoever reads finds it written.
    """

    def __init__(self, keep: int) -> None:
        if keep < 1:
            raise ValueError(f"a decision log keeps at least one decision, not {keep}")
        self._kept: deque[Json] = deque(maxlen=keep)
        self._taken: deque[tuple[Context, Decision]] = deque()

    def __len__(self) -> int:
        self.settle()
        return len(self._kept)

    def record(self, decision: Decision) -> None:
        """Take a finished decision; the event loop's next turn writes it, or this one where there is none."""
        self._taken.append((copy_context(), decision))
        try:
            asyncio.get_running_loop().call_soon(self.settle)
        except RuntimeError:
            self.settle()

    def settle(self) -> None:
        """Write what was taken."""
        while self._taken:
            context, decision = self._taken.popleft()
            context.run(self._write, decision)

    def _write(self, decision: Decision) -> None:
        """Keep a decision and log it as one structured event.

        A leg that failed says what to do about it, as the error on the wire does.
        What a provider or an attempt said in its own words is kept, but logged at debug
        level only: it may quote the prompt.
        """
        entry = _entry(decision)
        for leg in entry["legs"]:
            if leg["code"] is not None:
                leg["suggestedAction"] = codes.describe(leg["code"]).action
        entry["summary"] = scrub_text(line(decision))
        self._kept.append(entry)
        log = _log.bind()
        tell = log.warning if decision.outcome in _TROUBLE else log.info
        # Nested, since a decision's level is not the record's level.
        tell(EVENT, summary=entry["summary"], decision=_without_words(entry))
        log.debug("decision_detail", id=decision.id, legs=entry["legs"], trail=entry["trail"])

    def recent(self, count: int, **filters: str | None) -> list[Json]:
        """Return up to `count` decisions, newest first, whose fields equal every filter given.

        Raises:
            ValueError: a filter names no field of `FILTERS`.
        """
        unknown = sorted(filters.keys() - FILTERS)
        if unknown:
            raise ValueError(f"unknown filter {', '.join(unknown)}; known: {', '.join(sorted(FILTERS))}")
        self.settle()
        wanted = {name: value for name, value in filters.items() if value is not None}
        matching = (
            entry
            for entry in reversed(self._kept)
            if all(entry[name] == value for name, value in wanted.items())
        )
        return list(islice(matching, max(count, 0)))


_OUR_OWN: Final = frozenset({"id", "at", "call", "session", "seconds"})
"""Fields that the gateway itself makes up: a number, a time, a fingerprint."""
_FEW: Final = frozenset(
    {
        *("server", "kind", "method", "target", "strategy", "level", "path"),
        *("source", "outcome", "model", "provider", "value"),
    }
)
"""Fields of texts that are configured or fixed: few, and the same in most decisions."""
_OF_A_DECISION: Final = tuple(field.name for field in fields(Decision) if field.name not in ("trail", "legs"))
_OF_A_LEG: Final = tuple(field.name for field in fields(Leg))
_known: Final = lru_cache(_KNOWN)(scrub_text)


def _entry(decision: Decision) -> Json:
    """Return a decision as JSON, without secrets."""
    entry: Json = {name: _field(name, getattr(decision, name)) for name in _OF_A_DECISION}
    entry["trail"] = [{name: _field(name, value) for name, value in step.items()} for step in decision.trail]
    entry["legs"] = [{name: _field(name, getattr(leg, name)) for name in _OF_A_LEG} for leg in decision.legs]
    return entry


def _field(name: str, value: Any) -> Any:
    if value is None or name in _OUR_OWN or isinstance(value, bool | int | float):
        return value
    return _known(value) if name in _FEW and isinstance(value, str) else scrub(value)


def _without_words(entry: Json) -> Json:
    legs = [{key: value for key, value in leg.items() if key != "detail"} for leg in entry["legs"]]
    for leg in legs:
        leg["attempts"] = [
            {key: value for key, value in attempt.items() if key != "error"} for attempt in leg["attempts"]
        ]
    shown = {key: value for key, value in entry.items() if key not in ("trail", "summary")}
    return {**shown, "legs": legs}
