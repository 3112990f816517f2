"""The single entry for what servers ask back: bounds, policy, strategy, stamp, record."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import structlog
from cachetools import LRUCache

from gateway import codes
from gateway.answers import deferred, stamp
from gateway.answers.bounds import BrokerLimits, Gate
from gateway.answers.combine import of_note
from gateway.answers.facts import Surroundings, facts_of
from gateway.answers.legs import Parties, RecordedLegs
from gateway.answers.model import (
    KIND_OF,
    Answer,
    Decision,
    DecisionOutcome,
    Deferred,
    InputRequest,
    Leg,
    LegEnded,
    Recorder,
)
from gateway.answers.roots import list_roots
from gateway.answers.strategies.registry import STRATEGIES
from gateway.calls.model import Call
from gateway.errors import (
    BackchannelError,
    NobodyAnswered,
    PeerError,
    QuestionError,
    QuestionRefused,
    QuestionRejected,
)
from gateway.policy.model import Kind, Outcome, Policy, Refusal, Route
from gateway.policy.outcomes import none_available
from gateway.policy.resolve import conditional, resolve

Json = dict[str, Any]
_log: Any = structlog.get_logger("backchannel.answers")

_Place = tuple[Kind, str, str | None, bool]
"""What a route without conditions depends on: kind, server, tool, and whether it belongs to no call."""
_FIXED: Final = 4096

_FINAL: dict[Outcome, DecisionOutcome] = {
    Outcome.DECLINED: "declined",
    Outcome.CANCELLED: "dismissed",
    Outcome.REJECTED: "rejected",
}


class Broker:
    """Decides who answers an input request, and has it answered.

    `node` is what this gateway calls itself in the metadata of answers; `around` is where the facts
    of the moment come from that conditions look at.
    """

    def __init__(
        self,
        policy: Policy,
        parties: Parties,
        limits: BrokerLimits,
        log: Recorder,
        *,
        node: str = "backchannel",
        around: Surroundings | None = None,
    ) -> None:
        self._policy = policy
        self._parties = parties
        self._limits = limits
        self._recorder = log
        self._node = node
        self._around = around or Surroundings()
        # Policy is pure: where it looks at no condition, it says the same of every question.
        self._fixed: LRUCache[_Place, Route | Refusal] = LRUCache(_FIXED)
        self.gate = Gate(limits)

    async def answer(self, request: InputRequest) -> Json | Deferred:
        """Return the raw result for the asking server, or that the client's retry brings it.

        Every question leaves exactly one `Decision`, a cancelled one included.

        Raises:
            QuestionRefused: nobody serves this request here.
            QuestionRejected: the user rejected it.
            NobodyAnswered: every leg failed or was unavailable.
            QuestionError: a bound was reached.
            PeerError: the client's own error to `roots/list`.
        """
        decision = _open(request)
        began = time.monotonic()
        try:
            return await self._bounded(request, decision)
        except BackchannelError as error:
            decision.error = str(error)
            raise
        except asyncio.CancelledError:
            decision.outcome = "cancelled"
            raise
        finally:
            decision.seconds = time.monotonic() - began
            self._record(decision)

    async def settle(self, call: Call, note: Mapping[str, Any], answer: Json) -> Json:
        """Record the answer that a client's retry brought to a deferred question.

        Returns what the server gets: that answer, the LLM's if it won the race meanwhile, or
        both combined.
        """
        if not note:
            return answer
        decision = _open(InputRequest(call.server, note["method"], {}, call))
        settled = deferred.settle(decision, note, answer)
        began, came = time.monotonic(), decision.seconds
        try:
            chosen = await self._chosen(call, note, Answer("client", answer), decision)
            if not settled:
                return answer
            decision.source = chosen.source
            return self._stamped(chosen, decision)
        except asyncio.CancelledError:
            decision.outcome = "cancelled"
            raise
        finally:
            decision.seconds = came + time.monotonic() - began
            self._record(decision)

    def _record(self, decision: Decision) -> None:
        # A leg that is being withdrawn still writes how it ended: that is no part of the decision.
        decision.legs = list(decision.legs)
        self._recorder.record(decision)

    async def aclose(self) -> None:
        """End the LLM legs that still race for clients' retries."""
        await self._parties.racing.aclose()

    async def _chosen(
        self, call: Call, note: Mapping[str, Any], theirs: Answer, decision: Decision
    ) -> Answer:
        """Weigh a client's answer against what the LLM has said meanwhile, or before."""
        if "race" in note:
            ours, leg = self._parties.racing.finish(note["race"])
            decision.legs += [leg] if leg is not None else []
            return ours if ours is not None and decision.kind == "sampling" else theirs
        if "llm" not in note or decision.outcome != "answered":
            return theirs
        ours, params = of_note(note["llm"])
        request = InputRequest(call.server, decision.method, params, call, note=note)
        route = self._resolved(request, KIND_OF[decision.method])
        if isinstance(route, Refusal):
            return theirs
        return await self._parties.combiner.combine(request, route, theirs, ours)

    async def _bounded(self, request: InputRequest, decision: Decision) -> Json | Deferred:
        decision.outcome = "limited"
        racing = self._parties.racing.find(request.note.get("race", ""))
        if racing is not None:
            self.gate.give_back(racing)
        try:
            with self.gate.admit(request):
                decision.outcome = "broken"
                return await self._dispatch(request, decision)
        except QuestionError as error:
            if decision.outcome == "limited":
                _log.warning("question_limited", server=request.server, call=decision.call, error=str(error))
            raise

    async def _dispatch(self, request: InputRequest, decision: Decision) -> Json | Deferred:
        kind = KIND_OF.get(request.method)
        if kind is not None:
            return await self._routed(request, kind, decision)
        decision.outcome = "refused"
        if request.method != "roots/list":
            raise QuestionRefused(
                f"a server cannot ask for '{request.method}' here", codes.told(codes.INVALID_REQUEST)
            )
        return await self._roots(request, decision)

    async def _roots(self, request: InputRequest, decision: Decision) -> Json | Deferred:
        try:
            result = await list_roots(request, self._limits.roots_timeout)
        except (NobodyAnswered, PeerError):
            decision.outcome = "unanswered"
            raise
        decision.source = "client"
        decision.outcome = "deferred" if isinstance(result, Deferred) else "answered"
        return result

    async def _routed(self, request: InputRequest, kind: Kind, decision: Decision) -> Json | Deferred:
        route = self._route(request, kind, decision)
        legs = RecordedLegs(request, route, self._parties, decision.legs)
        try:
            answer = await STRATEGIES[route.strategy].run(legs)
        except LegEnded as ended:
            return self._without_answer(ended, kind, decision)
        if isinstance(answer, Deferred):
            decision.source, decision.outcome = "client", "deferred"
            if legs.left is not None:
                self.gate.extend(request.server, legs.left)
            return Deferred({**answer.note, **deferred.note_of(decision, request)})
        decision.source, decision.outcome = answer.source, "answered"
        return self._stamped(answer, decision)

    def _route(self, request: InputRequest, kind: Kind, decision: Decision) -> Route:
        route = self._resolved(request, kind)
        decision.trail = [
            {"level": step.level, "path": step.path, "value": step.value, "chosen": step.chosen}
            for step in route.trail
        ]
        if isinstance(route, Refusal):
            decision.outcome = "refused"
            raise QuestionRefused(route.reason, codes.told(codes.INVALID_CONFIG))
        decision.strategy, decision.level, decision.path = route.strategy.value, route.level, route.path
        return route

    def _resolved(self, request: InputRequest, kind: Kind) -> Route | Refusal:
        """Ask policy; what was decided when the same question was put to the client stands."""
        call = request.call
        place = (kind, request.server, call.tool if call is not None else None, call is None)
        route = self._fixed.get(place)
        if route is None:
            facts = facts_of(request, kind, self._around, self.gate.open_questions)
            route = resolve(self._policy, facts)
            if not conditional(self._policy, facts):
                self._fixed[place] = route
        return route if isinstance(route, Refusal) else deferred.as_before(route, request)

    def _without_answer(self, ended: LegEnded, kind: Kind, decision: Decision) -> Json:
        """Pass a final outcome on, or say that nobody answered."""
        final = _FINAL.get(ended.outcome)
        if final is None:
            decision.outcome = "unanswered"
            _nobody(kind, decision.legs)
        decision.source, decision.outcome = "client", final
        if ended.result is not None:
            return self._stamped(Answer("client", ended.result), decision)
        cause = ended.__cause__
        data = cause.data if isinstance(cause, PeerError) else None
        raise QuestionRejected(ended.reason, data)

    def _stamped(self, answer: Answer, decision: Decision) -> Json:
        decision.combined = answer.combined
        return stamp.stamped(answer.result, decision, node=self._node)


@functools.lru_cache(maxsize=1024)
def fingerprint(session: str) -> str:
    """Return a short name for a session that cannot be used in its place."""
    return hashlib.sha256(session.encode()).hexdigest()[:12]


def _open(request: InputRequest) -> Decision:
    call = request.call
    identity = call.caller.identity if call is not None else None
    kind = "roots" if request.method == "roots/list" else KIND_OF.get(request.method, request.method)
    return Decision(
        id=secrets.token_hex(16),
        at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        server=request.server,
        kind=kind,
        method=request.method,
        call=call.number if call is not None else None,
        target=call.target if call is not None else None,
        client=(identity.name or None) if identity is not None else None,
        principal=identity.principal if identity is not None else None,
        session=fingerprint(identity.session) if identity is not None and identity.session else None,
        strategy=None,
        level=None,
        path=None,
    )


def _nobody(kind: Kind, legs: list[Leg]) -> NoReturn:
    """Tell the server how each leg ended, and what would help."""
    tried = [leg for leg in legs if leg.outcome is not Outcome.UNAVAILABLE]
    told = "; ".join(f"{leg.source}: {leg.reason} ({leg.outcome.value})" for leg in legs)
    raise NobodyAnswered(
        f"nobody answered this {kind} request: {told}",
        {
            "legs": [
                {"source": leg.source, "outcome": leg.outcome.value, "reason": leg.reason, "code": leg.code}
                for leg in legs
            ],
            **codes.told((tried or legs)[-1].code),
        },
        unavailable=none_available(leg.outcome for leg in legs),
    )
