"""What a question that waits for its client's retry leaves behind, and the record made when it comes.

The note travels with the call, sealed: nothing is kept here meanwhile, so that any gateway
with the same keys can finish the record.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from gateway.answers.combine import of_note
from gateway.answers.model import Answer, Decision, DecisionOutcome, InputRequest, Leg, LegEnded
from gateway.policy import outcomes
from gateway.policy.model import Outcome, Route, Strategy

Json = dict[str, Any]

_KEPT = ("id", "at", "kind", "method", "strategy", "level", "path")
_OF_A_LEG = tuple(field.name for field in fields(Leg) if field.name not in ("outcome", "attempts", "detail"))
_ENDINGS: dict[Outcome, DecisionOutcome] = {
    Outcome.SUCCESS: "answered",
    Outcome.DECLINED: "declined",
    Outcome.CANCELLED: "dismissed",
}


def question_of(request: InputRequest) -> str:
    """Return a digest of what is asked: a server may ask something else under the same key."""
    asked = json.dumps([request.method, request.params], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()


def as_before(route: Route, request: InputRequest) -> Route:
    """Return the route by which the same question was put to the client, if it was.

    What conditions look at may have changed since. Once asked, the client decides all the same.
    """
    note = request.note
    if not note or note["question"] != question_of(request):
        return route
    return replace(route, strategy=Strategy(note["strategy"]), level=note["level"], path=note["path"])


def said_before(note: Mapping[str, Any]) -> Answer | None:
    """Return the LLM's answer that a note has kept to be combined with the client's; None if it has none.

    Raises:
        LegEnded: the LLM's leg ended so when the question was put before; it is not tried again.
    """
    legs = [_leg(**leg) for leg in note["legs"] if leg["source"] == "llm"]
    for leg in legs:
        if outcomes.falls_back(leg.outcome):
            raise LegEnded(leg.outcome, leg.reason, code=leg.code)
    if "llm" not in note or not legs:
        return None
    answer, _ = of_note(note["llm"])
    return replace(answer, input_tokens=legs[-1].input_tokens, output_tokens=legs[-1].output_tokens)


def note_of(decision: Decision, request: InputRequest) -> Json:
    """Return what must be known of a decision when its answer comes, or its question is put again."""
    failed = [leg for leg in decision.legs if leg.outcome is not Outcome.DEFERRED]
    return {
        **{name: getattr(decision, name) for name in _KEPT},
        "question": question_of(request),
        "asked_at": time.time(),
        "legs": [
            {**{name: getattr(leg, name) for name in _OF_A_LEG}, "outcome": leg.outcome.value}
            for leg in failed
        ],
    }


def settle(decision: Decision, note: Mapping[str, Any], answer: Json) -> bool:
    """Complete a decision with a client's answer; False if the answer is none that the protocol knows."""
    for name in _KEPT:
        setattr(decision, name, note[name])
    seconds = max(0.0, time.time() - note["asked_at"])
    outcome = Outcome.SUCCESS
    if decision.kind == "elicitation":
        outcome = outcomes.of_elicitation_action(answer.get("action"))
    decision.legs = [_leg(**leg) for leg in note["legs"]]
    model = answer.get("model")
    decision.legs.append(Leg("client", outcome, seconds, model=model if isinstance(model, str) else None))
    decision.source, decision.seconds = "client", seconds
    decision.outcome = _ENDINGS.get(outcome, "unanswered")
    return outcome in _ENDINGS


def _leg(*, outcome: str, **known: Any) -> Leg:
    return Leg(outcome=Outcome(outcome), **known)
