"""The mark on an answer that says who gave it and why: ``_meta["backchannel/routing"]``.

It goes to the server that asked, so it holds facts of this question only: no other
tenant's, no address or account of a provider, none of its words.

In the routing guide's field names "proxy" is the client and "local" the gateway's LLM. A
field is present only when it states a fact: the gateway never asks other servers for an
answer, so there is no ``external_servers_tried``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from gateway.answers.model import Decision, Leg, SourceName
from gateway.policy.model import Outcome, Strategy
from gateway.policy.outcomes import falls_back

Json = dict[str, Any]

KEY: Final = "backchannel/routing"

_MODE: Final[Mapping[str | None, str]] = {
    Strategy.LLM.value: "local_only",
    Strategy.CLIENT.value: "proxy_only",
    Strategy.LLM_FIRST.value: "local_first",
    Strategy.CLIENT_FIRST.value: "proxy_first",
    Strategy.PARALLEL.value: "parallel",
    Strategy.HYBRID.value: "hybrid",
}


def stamped(result: Json, decision: Decision, *, node: str) -> Json:
    """Return a copy of an answer with the routing metadata; everything else is as it was."""
    meta: object = result.get("_meta")
    kept = cast("Json", meta) if isinstance(meta, dict) else {}
    return {**result, "_meta": {**kept, KEY: routing(decision, node=node)}}


def routing(decision: Decision, *, node: str) -> Json:
    """Return the metadata of a decision whose legs have ended."""
    fallen = _fallen(decision)
    stamp: Json = {
        "strategy": decision.strategy,
        "level": decision.level,
        "path": decision.path,
        "source": decision.source,
        "legs": [_leg(leg) for leg in decision.legs],
        "hybrid_processing_mode": _mode(decision, fell_back=fallen is not None),
        "hybrid_timestamp": decision.at,
        "processing_server": node,
        "local_processing": decision.source in ("llm", "both"),
        "proxy_attempted": _was_asked(decision, "client"),
    }
    if decision.combined is not None:
        stamp |= decision.combined
    if decision.client:
        stamp["original_client_id"] = decision.client
    if fallen is not None:
        stamp["fallback_reason"] = fallen.reason
    return stamp


def _mode(decision: Decision, *, fell_back: bool) -> str:
    mode = _MODE[decision.strategy]
    return f"{mode}_fallback" if fell_back else mode


def _fallen(decision: Decision) -> Leg | None:
    """Return the leg after whose failure the answer came from the other."""
    failed = [leg for leg in decision.legs if leg.source != decision.source and falls_back(leg.outcome)]
    return failed[-1] if failed and decision.source != "both" else None


def _was_asked(decision: Decision, source: SourceName) -> bool:
    return any(leg.source == source and leg.outcome is not Outcome.UNAVAILABLE for leg in decision.legs)


def _leg(leg: Leg) -> Json:
    """Return what a server may know of a leg: `detail` and a provider's words stay here."""
    shown: Json = {
        "source": leg.source,
        "outcome": leg.outcome.value,
        "latency_ms": _milliseconds(leg.seconds),
    }
    tokens = {"input": leg.input_tokens, "output": leg.output_tokens}
    optional: Json = {
        "reason": leg.reason or None,
        "code": leg.code,
        "model": leg.model,
        "provider": leg.provider,
        "tokens": {name: count for name, count in tokens.items() if count is not None} or None,
        "attempts": [_attempt(attempt) for attempt in leg.attempts] or None,
        "cache": leg.cache,
        "technique": leg.technique,
        "confidence": leg.confidence,
    }
    return {**shown, **{name: value for name, value in optional.items() if value is not None}}


def _attempt(attempt: Json) -> Json:
    shown = {name: attempt[name] for name in ("provider", "model") if name in attempt}
    shown["latency_ms"] = _milliseconds(attempt.get("seconds", 0.0))
    return {**shown, "code": attempt["code"]} if attempt.get("code") else shown


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
