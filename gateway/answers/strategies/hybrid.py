"""`hybrid`: both are asked, both are waited for, and of two answers one is made.

One answer alone is used alone. What the user refused is final: the LLM's answer is dropped.
"""

from __future__ import annotations

from gateway.answers.model import Answer, Deferred, LegEnded
from gateway.answers.strategies.port import Legs, Running
from gateway.policy.outcomes import is_final


class Hybrid:
    """Two answers are combined as the route says; see `gateway.answers.combine`."""

    async def run(self, legs: Legs) -> Answer | Deferred:
        """See `StrategyRun.run`."""
        async with legs.running("llm") as llm, legs.running("client") as client:
            try:
                theirs = await client
            except LegEnded as ended:
                if is_final(ended.outcome):
                    raise
                return await llm
            ours = await _answer(llm)
            if ours is None:
                return theirs
            if isinstance(theirs, Deferred):
                return legs.keep(ours, theirs)
            return await legs.combine(theirs, ours)


async def _answer(llm: Running) -> Answer | None:
    try:
        answer = await llm
    except LegEnded:
        return None
    return None if isinstance(answer, Deferred) else answer
