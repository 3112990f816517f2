"""The legs of one input request: who was asked, how it ended, how long it took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from gateway.answers.combine import Combiner, note_of
from gateway.answers.model import (
    Answer,
    Answerer,
    Deferred,
    InputRequest,
    Leg,
    LegEnded,
    SourceName,
)
from gateway.answers.racing import Racing
from gateway.policy.model import Outcome, Route

Running = asyncio.Task[Answer | Deferred]

WITHDRAWN = "withdrawn: the call ended, or another answer came first"
_WITHDRAWING: Final = 2.0
"""Seconds that a leg has to end once it is cancelled, before the answer goes out without waiting."""


@dataclass(frozen=True, slots=True)
class Parties:
    """Everything that the legs of any question are made of."""

    answerers: Mapping[SourceName, Answerer]
    combiner: Combiner
    racing: Racing


class RecordedLegs:
    """Asks the answerers of one request, and writes every ending into `taken`."""

    def __init__(self, request: InputRequest, route: Route, parties: Parties, taken: list[Leg]) -> None:
        self.route = route
        self._request = request
        self._parties = parties
        self._taken = taken
        self._left: Running | None = None

    @property
    def retries(self) -> bool:
        """See `gateway.answers.strategies.port.Legs.retries`."""
        call = self._request.call
        return call is not None and call.caller.defers

    async def ask(self, source: SourceName) -> Answer | Deferred:
        """See `gateway.answers.strategies.port.Legs.ask`."""
        began = time.monotonic()
        try:
            answer = await self._parties.answerers[source].answer(self._request, self.route)
        except LegEnded as ended:
            self._taken.append(_ended(source, ended, time.monotonic() - began))
            raise
        except asyncio.CancelledError:
            seconds = time.monotonic() - began
            self._taken.append(Leg(source, Outcome.CANCELLED, seconds, WITHDRAWN))
            raise
        self._taken.append(_answered(source, answer, time.monotonic() - began))
        return answer

    @asynccontextmanager
    async def running(self, source: SourceName) -> AsyncGenerator[Running]:
        """See `gateway.answers.strategies.port.Legs.running`."""
        leg: Running = asyncio.ensure_future(self.ask(source))
        leg.add_done_callback(_look_at)
        try:
            yield leg
        finally:
            if leg is not self._left and not leg.done():
                leg.cancel()
                await asyncio.wait((leg,), timeout=_WITHDRAWING)

    def leave(self, llm: Running, deferred: Deferred) -> Deferred:
        """See `gateway.answers.strategies.port.Legs.leave`."""
        self._left = llm
        return Deferred({**deferred.note, "race": self._parties.racing.leave(llm)})

    def keep(self, llm: Answer, deferred: Deferred) -> Deferred:
        """See `gateway.answers.strategies.port.Legs.keep`."""
        return Deferred({**deferred.note, "llm": note_of(llm, self._request)})

    async def combine(self, client: Answer, llm: Answer) -> Answer:
        """See `gateway.answers.strategies.port.Legs.combine`."""
        return await self._parties.combiner.combine(self._request, self.route, client, llm)


def _look_at(leg: Running) -> None:
    if not leg.cancelled():
        leg.exception()  # recorded already, whether or not the strategy needs it


def _answered(source: SourceName, answer: Answer | Deferred, seconds: float) -> Leg:
    return (
        Leg(source, Outcome.DEFERRED, seconds)
        if isinstance(answer, Deferred)
        else answered_leg(answer, seconds)
    )


def answered_leg(answer: Answer, seconds: float) -> Leg:
    """Return the record of a leg that gave an answer."""
    return Leg(
        "llm" if answer.source == "llm" else "client",
        Outcome.SUCCESS,
        seconds,
        model=answer.model,
        provider=answer.provider,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        attempts=answer.attempts,
    )


def _ended(source: SourceName, ended: LegEnded, seconds: float) -> Leg:
    return Leg(
        source,
        ended.outcome,
        seconds,
        ended.reason,
        code=ended.code,
        attempts=ended.attempts,
        detail=ended.detail,
    )
