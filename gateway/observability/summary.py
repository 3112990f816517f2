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


_FREE = {"hit": "answer given again", "joined": "answer shared with an identical request"}


def line(decision: Decision) -> str:
    """Say what was asked, who answered, how long it took, and which setting decided.

    For instance: ``sampling from 'demo' answered by llm (local SmolLM2, $0.0004, 0.4 s) — level
    organization, config/gateway.yaml:12 sampling.default_sampling_strategy``. Providers that
    failed before the one that answered stand there with their codes.
    """
    verb = _VERBS[decision.outcome].format(source=decision.source)
    details = ", ".join([*_answer(decision), f"{decision.seconds:.1f} s"])
    text = f"{decision.kind} from '{decision.server}' {verb} ({details})"
    fallen = [_fallen(leg) for leg in decision.legs if leg.source != decision.source and leg.reason]
    if fallen and decision.error is None:
        text += f" after {'; '.join(fallen)}"
    if decision.error is not None:
        text += f": {decision.error}"
    return text if decision.level is None else f"{text} — level {decision.level}, {decision.path}"


def _answer(decision: Decision) -> list[str]:
    """Say which model answered, what it cost or how it was had for nothing, and who failed before."""
    leg = decision.legs[-1] if decision.legs and decision.source == decision.legs[-1].source else None
    if leg is None or leg.model is None:
        return []
    said = [f"{leg.provider} {leg.model}" if leg.provider else leg.model]
    if leg.cache is not None:
        said.append(_FREE[leg.cache])
    elif leg.cost_usd:
        said.append(f"${leg.cost_usd:.4f}")
    failed = [f"{one['provider']} {one['code']}" for one in leg.attempts if one.get("code")]
    return [*said, f"after {', '.join(failed)}"] if failed else said


def _fallen(leg: Leg) -> str:
    return f"{leg.source}: {leg.reason}"
