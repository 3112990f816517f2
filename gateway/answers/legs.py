"""The legs of one input request: who was asked, how it ended, how long it took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from gateway.answers.combine import Combiner, note_of
from gateway.answers.deferred import question_of, said_before
from gateway.answers.model import (
    Answer,
    Answerer,
    Deferred,
    InputRequest,
    Leg,
    LegEnded,
    SourceName,
)
from gateway.answers.racing import WITHDRAWN, Racing, observed, succeeded
from gateway.policy.model import Outcome, Route

Running = asyncio.Task[Answer | Deferred]

_WITHDRAWING: Final = 2.0
"""Seconds that a leg has to end once it is cancelled, before the answer goes out without waiting."""


@dataclass(frozen=True, slots=True)
class Parties:
    """Everything that the legs of any question are made of."""

    answerers: Mapping[SourceName, Answerer]
    combiner: Combiner
    racing: Racing


class RecordedLegs:
    """Asks the answerers of one request, and writes every ending into `taken`.

    `left` is the leg of the LLM that goes on after the client was asked in its call's result.
    """

    def __init__(self, request: InputRequest, route: Route, parties: Parties, taken: list[Leg]) -> None:
        self.route = route
        self._request = request
        self._parties = parties
        self._taken = taken
        self.left: Running | None = None

    @property
    def asked(self) -> bool:
        """See `gateway.answers.strategies.port.Legs.asked`."""
        return self._request.asked > 0

    @property
    def retries(self) -> bool:
        """See `gateway.answers.strategies.port.Legs.retries`."""
        call = self._request.call
        return call is not None and call.caller.defers

    async def ask(self, source: SourceName) -> Answer | Deferred:
        """See `gateway.answers.strategies.port.Legs.ask`."""
        began = time.monotonic()
        try:
            answer = await self._answer(source)
        except LegEnded as ended:
            self._taken.append(_ended(source, ended, time.monotonic() - began))
            raise
        except asyncio.CancelledError:
            seconds = time.monotonic() - began
            self._taken.append(Leg(source, Outcome.CANCELLED, seconds, WITHDRAWN))
            raise
        self._taken.append(_answered(source, answer, time.monotonic() - began))
        return answer

    async def _answer(self, source: SourceName) -> Answer | Deferred:
        if source == "llm" and self._request.note:
            running, answer = self._before(self._request.note)
            if running is not None:
                return await running
            if answer is not None:
                return answer
        return await self._parties.answerers[source].answer(self._request, self.route)

    def _before(self, note: Mapping[str, Any]) -> tuple[Running | None, Answer | None]:
        """Return what the LLM does, or has said, since the client was last asked this.

        Raises:
            LegEnded: its leg ended so then.
        """
        question = question_of(self._request)
        running = self._parties.racing.take(note["race"], question) if "race" in note else None
        return running, said_before(note) if note.get("question") == question else None

    @asynccontextmanager
    async def running(self, source: SourceName) -> AsyncGenerator[Running]:
        """See `gateway.answers.strategies.port.Legs.running`."""
        leg: Running = observed(asyncio.ensure_future(self.ask(source)))
        try:
            yield leg
        finally:
            if leg is not self.left and not leg.done():
                self._parties.racing.end(leg)
                await asyncio.wait((leg,), timeout=_WITHDRAWING)

    def leave(self, llm: Running, deferred: Deferred) -> Deferred:
        """See `gateway.answers.strategies.port.Legs.leave`."""
        if llm.done() and not succeeded(llm):
            return deferred
        self.left = llm
        name = self._parties.racing.leave(llm, self._taken, question_of(self._request))
        return Deferred({**deferred.note, "race": name})

    def keep(self, llm: Answer, deferred: Deferred) -> Deferred:
        """See `gateway.answers.strategies.port.Legs.keep`."""
        return Deferred({**deferred.note, "llm": note_of(llm, self._request)})

    async def combine(self, client: Answer, llm: Answer) -> Answer:
        """See `gateway.answers.strategies.port.Legs.combine`."""
        return await self._parties.combiner.combine(self._request, self.route, client, llm)


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
        technique=answer.technique,
        confidence=answer.confidence,
        cost_usd=answer.cost_usd,
        cache=answer.cache,
        model_selection=answer.selection,
        warnings=answer.warnings,
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
