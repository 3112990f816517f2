"""What a question that waits for its client's retry leaves behind, and the record made when it comes.

The note travels with the call, sealed: nothing is kept here meanwhile, so that any gateway
with the same keys can finish the record.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from gateway.answers.model import Decision, DecisionOutcome, Leg
from gateway.policy import outcomes
from gateway.policy.model import Outcome

Json = dict[str, Any]

_KEPT = ("id", "at", "kind", "method", "strategy", "level", "path")
_OF_A_LEG = ("source", "seconds", "reason", "code", "model", "provider")
_ENDINGS: dict[Outcome, DecisionOutcome] = {
    Outcome.SUCCESS: "answered",
    Outcome.DECLINED: "declined",
    Outcome.CANCELLED: "dismissed",
}


def note_of(decision: Decision) -> Json:
    """Return what must be known of a decision when its answer comes."""
    failed = [leg for leg in decision.legs if leg.outcome is not Outcome.DEFERRED]
    return {
        **{name: getattr(decision, name) for name in _KEPT},
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


def _leg(*, outcome: str, **fields: Any) -> Leg:
    return Leg(outcome=Outcome(outcome), **fields)
