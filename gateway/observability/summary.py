"""One decision as one line for people."""

from __future__ import annotations

from gateway.answers.model import Decision, Leg

_VERBS = {
    "answered": "answered by {source}",
    "deferred": "put to the client, whose retry brings the answer",
    "declined": "declined by the user",
    "dismissed": "dismissed by the user",
    "rejected": "rejected by the user",
    "unanswered": "answered by nobody",
    "refused": "refused",
    "limited": "turned away",
    "cancelled": "withdrawn with its call",
    "broken": "lost to a fault of the gateway",
}


def line(decision: Decision) -> str:
    """Say what was asked, who answered, how long it took, and which setting decided.

    For instance: ``sampling from 'demo' answered by llm (local SmolLM2, 0.4 s) — level
    organization, config/gateway.yaml:12 sampling.default_sampling_strategy``.
    """
    verb = _VERBS[decision.outcome].format(source=decision.source)
    details = ", ".join(part for part in (_model(decision), f"{decision.seconds:.1f} s") if part)
    text = f"{decision.kind} from '{decision.server}' {verb} ({details})"
    fallen = [_fallen(leg) for leg in decision.legs if leg.source != decision.source and leg.reason]
    if fallen and decision.error is None:
        text += f" after {'; '.join(fallen)}"
    if decision.error is not None:
        text += f": {decision.error}"
    return text if decision.level is None else f"{text} — level {decision.level}, {decision.path}"


def _model(decision: Decision) -> str:
    leg = decision.legs[-1] if decision.legs and decision.source == decision.legs[-1].source else None
    if leg is None or leg.model is None:
        return ""
    return f"{leg.provider} {leg.model}" if leg.provider else leg.model


def _fallen(leg: Leg) -> str:
    return f"{leg.source}: {leg.reason}"
