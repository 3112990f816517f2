"""Which ending of a leg is an answer, which is final, and which falls back to the next leg.

========================================================  ====================
ending                                                    outcome
========================================================  ====================
an answer; elicitation ``accept``                         success
elicitation ``decline`` / ``cancel``                      declined / cancelled: final
JSON-RPC error -1 (the user rejected the request)         rejected: final
JSON-RPC error -32601; capability or channel missing      unavailable: next leg
a limit passed                                            timed_out: next leg
any other JSON-RPC error, a provider's error              failed: next leg
========================================================  ====================

What is final is passed to the server as the client said it, under every strategy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from gateway.policy.model import Outcome, Strategy

LegName = Literal["llm", "client"]

REJECTED_CODE = -1
METHOD_NOT_FOUND = -32601

_FINAL = frozenset({Outcome.DECLINED, Outcome.CANCELLED, Outcome.REJECTED})
_FALLS_BACK = frozenset({Outcome.UNAVAILABLE, Outcome.FAILED, Outcome.TIMED_OUT})
_LEGS: dict[Strategy, tuple[LegName, ...]] = {
    Strategy.LLM: ("llm",),
    Strategy.CLIENT: ("client",),
    Strategy.LLM_FIRST: ("llm", "client"),
    Strategy.CLIENT_FIRST: ("client", "llm"),
    Strategy.PARALLEL: ("llm", "client"),
    Strategy.HYBRID: ("llm", "client"),
}
_ACTIONS = {"accept": Outcome.SUCCESS, "decline": Outcome.DECLINED, "cancel": Outcome.CANCELLED}


def is_final(outcome: Outcome) -> bool:
    """Whether the client's own word ends the matter; no other leg may override it."""
    return outcome in _FINAL


def falls_back(outcome: Outcome) -> bool:
    """Whether the next leg of the strategy is tried."""
    return outcome in _FALLS_BACK


def legs(strategy: Strategy, *, fallback_to_llm: bool) -> tuple[LegName, ...]:
    """Return the answerers of a strategy in the order they are tried.

    `fallback_to_llm` governs the second leg of ``client_first`` and nothing else.
    """
    if strategy is Strategy.CLIENT_FIRST and not fallback_to_llm:
        return ("client",)
    return _LEGS[strategy]


def of_elicitation_action(action: object) -> Outcome:
    """Classify an `ElicitResult`'s action; a word the specification does not know is a failure."""
    return _ACTIONS.get(action, Outcome.FAILED) if isinstance(action, str) else Outcome.FAILED


def of_client_error(code: int) -> Outcome:
    """Classify a client's JSON-RPC error.

    A rejection is final for both kinds: a client that rejects an elicitation with -1
    speaks for a person just as one that declines it.
    """
    if code == REJECTED_CODE:
        return Outcome.REJECTED
    return Outcome.UNAVAILABLE if code == METHOD_NOT_FOUND else Outcome.FAILED


def is_retryable_status(status: int | None) -> bool:
    """Whether a provider's HTTP status may change on another try.

    None stands for no answer at all (network, time-out). Other 4xx fail for good.
    """
    return status is None or status in (408, 429) or status >= 500


def none_available(outcomes: Iterable[Outcome]) -> bool:
    """Whether not one leg could even be tried; an empty sequence counts as such."""
    return all(outcome is Outcome.UNAVAILABLE for outcome in outcomes)
