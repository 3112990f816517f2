"""The legs of one input request: who was asked, how it ended, how long it took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from gateway.answers.model import (
    Answer,
    Answerer,
    Deferred,
    InputRequest,
    Leg,
    LegEnded,
    SourceName,
)
from gateway.policy.model import Outcome, Route

WITHDRAWN = "withdrawn: the call ended, or another answer came first"


class RecordedLegs:
    """Asks the answerers of one request, and writes every ending into `taken`."""

    def __init__(
        self,
        request: InputRequest,
        route: Route,
        answerers: Mapping[SourceName, Answerer],
        taken: list[Leg],
    ) -> None:
        self.route = route
        self._request = request
        self._answerers = answerers
        self._taken = taken

    async def ask(self, source: SourceName) -> Answer | Deferred:
        """See `gateway.answers.strategies.port.Legs.ask`."""
        began = time.monotonic()
        try:
            answer = await self._answerers[source].answer(self._request, self.route)
        except LegEnded as ended:
            self._taken.append(_ended(source, ended, time.monotonic() - began))
            raise
        except asyncio.CancelledError:
            seconds = time.monotonic() - began
            self._taken.append(Leg(source, Outcome.CANCELLED, seconds, WITHDRAWN))
            raise
        self._taken.append(_answered(source, answer, time.monotonic() - began))
        return answer


def _answered(source: SourceName, answer: Answer | Deferred, seconds: float) -> Leg:
    if isinstance(answer, Deferred):
        return Leg(source, Outcome.DEFERRED, seconds)
    return Leg(
        source,
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
