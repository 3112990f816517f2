"""From what a provider chain gives or raises to what a leg gives or raises."""

from __future__ import annotations

from typing import Any

from gateway import codes
from gateway.answers.model import Answer, LegEnded
from gateway.errors import ProviderError
from gateway.llm.port import Attempt, Completion
from gateway.policy.model import Outcome

Json = dict[str, Any]


def answer_of(completion: Completion, result: Json, *, earlier: tuple[Completion, ...] = ()) -> Answer:
    """Build the leg's answer; `earlier` completions of the same question add to its cost."""
    every = (*earlier, completion)
    return Answer(
        "llm",
        result,
        model=completion.model,
        provider=completion.provider,
        input_tokens=_total([one.usage.input_tokens for one in every]),
        output_tokens=_total([one.usage.output_tokens for one in every]),
        attempts=attempts_of(*every),
        logprob=completion.logprob,
        cost_usd=_cost(every),
        selection=None if completion.selection is None else dict(completion.selection),
        warnings=tuple(dict.fromkeys(warning for one in every for warning in one.warnings)),
    )


def leg_ended_by(error: ProviderError, *, earlier: tuple[Completion, ...] = ()) -> LegEnded:
    """Turn a chain's failure into a leg's.

    A provider's own words may name accounts, addresses and parts of keys, so the asking
    server is told the code's meaning, and the words stay in the record.
    """
    entry = codes.describe(error.code)
    timed_out = error.code == codes.TIMEOUT
    reason = "the LLM did not answer in time" if timed_out else f"the LLM failed: {entry.meaning}"
    tried = tuple(attempt.shown() for attempt in error.attempts if isinstance(attempt, Attempt))
    return LegEnded(
        Outcome.TIMED_OUT if timed_out else Outcome.FAILED,
        reason,
        code=entry.code,
        attempts=(*attempts_of(*earlier), *tried),
        detail=str(error),
    )


def attempts_of(*completions: Completion) -> tuple[Json, ...]:
    """Return every attempt behind some completions, in order."""
    return tuple(attempt.shown() for one in completions for attempt in one.attempts)


def text_of(completion: Completion) -> str:
    """Return the text blocks of a completion, joined."""
    content = completion.content
    blocks = content if isinstance(content, list) else [content]
    return "".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _cost(every: tuple[Completion, ...]) -> float | None:
    """Return what all of them cost; not known of one is not known of the sum."""
    costs = [one.cost_usd for one in every]
    return None if None in costs else sum(cost for cost in costs if cost is not None)
