"""A modern client's call and its retries: what is asked in a result, and answered by calling again.

2026-07-28, basic/patterns/mrtr. What a retry needs travels sealed in `requestState`. For a
modern server that is all there is of the call; for a handshake-era server, which waits with
its call open, it says where the call is parked.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Protocol, cast

from gateway.calls.model import Caller, CallOutcome, Json, ParkedAt, Resume, Suspended
from gateway.calls.parking import Parking
from gateway.downstream.envelope import bare
from gateway.downstream.methods import RELAYED, Methods
from gateway.downstream.sealing import Sealer, binding_of
from gateway.errors import InvalidCall, LimitExceeded
from gateway.wire.eras import ModernResult

logger = logging.getLogger(__name__)


class RetryingCaller(Caller, Protocol):
    """The client of one request, which answers questions by sending it again."""

    @property
    def progress_token(self) -> str | int | None:
        """The request's own progress token."""
        ...


class Retries:
    """Carries modern clients' requests: first ones, and those that bring answers."""

    def __init__(self, methods: Methods, sealer: Sealer, parking: Parking) -> None:
        self._methods = methods
        self._sealer = sealer
        self._parking = parking

    async def carry(self, method: str, params: Json, caller: RetryingCaller) -> Json:
        """Return a request's result, or an `InputRequiredResult` with the state for its retry.

        Raises:
            InvalidCall: the retry's state or answers cannot be used.
            BackchannelError: see `Methods.handle` and `Parking`.
        """
        outcome = await self._outcome(method, params, caller)
        if not isinstance(outcome, Suspended):
            return outcome
        binding = binding_of(caller.identity.principal, method, params)
        return ModernResult(
            resultType="input_required",
            inputRequests=dict(outcome.requests),
            requestState=self._seal(outcome.resume, binding),
        )

    def _seal(self, resume: Resume | ParkedAt, binding: str) -> str:
        try:
            return self._sealer.seal(resume, binding)
        except LimitExceeded as error:
            if isinstance(resume, ParkedAt):
                raise
            # Rather the client's answer alone than no call at all.
            state = self._sealer.seal(resume.lighter(), binding)
            logger.warning("the client's answers will not be combined with the LLM's: %s", error)
            return state

    async def _outcome(self, method: str, params: Json, caller: RetryingCaller) -> CallOutcome:
        given = _given(params)
        if "requestState" in params:
            binding = binding_of(caller.identity.principal, method, params)
            kept = self._sealer.open(params["requestState"], binding)
            if isinstance(kept, ParkedAt):
                return await self._parking.resume(kept, given, caller)
            return await self._run(method, params, caller, _with_answers(kept, given))
        outcome = await self._run(method, params, caller, None)
        if isinstance(outcome, Suspended) and isinstance(outcome.resume, Resume):
            # Answers may come with the first request. Each counts once policy has put its question
            # to this client, as if it had come with the retry; never before.
            resume = _with_answers(outcome.resume, given)
            if not resume.asked.keys().isdisjoint(resume.answers):
                return await self._run(method, params, caller, resume)
        return outcome

    async def _run(
        self, method: str, params: Json, caller: RetryingCaller, resume: Resume | None
    ) -> CallOutcome:
        if method not in RELAYED or not caller.profile or not self._methods.may_park(method, params, caller):
            # What cannot be asked, or not while the server waits, has nothing to be parked for.
            return await self._methods.handle(method, bare(params), caller, resume)

        async def work(parkable: Caller) -> CallOutcome:
            return await self._methods.handle(method, bare(params), parkable, resume)

        return await self._parking.begin(work, caller)


def _given(params: Json) -> dict[str, Json]:
    given: Any = params.get("inputResponses")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidCall("inputResponses must be an object of answers by key")
    return {key: value for key, value in cast("Json", given).items() if isinstance(value, dict)}


def _with_answers(kept: Resume, given: dict[str, Json]) -> Resume:
    # Only what was asked is taken; a key we never forwarded is not an answer.
    taken = {key: value for key, value in given.items() if key in kept.asked}
    return replace(kept, answers={**kept.answers, **taken})
