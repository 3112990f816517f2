"""`magictunnel_first`: the LLM, and the client when that leg failed or was unavailable."""

from __future__ import annotations

from gateway.answers.model import Answer, Deferred, LegEnded
from gateway.answers.strategies.port import Legs
from gateway.policy.outcomes import falls_back


class LlmFirst:
    """The client is only asked what the LLM could not answer."""

    async def run(self, legs: Legs) -> Answer | Deferred:
        """See `StrategyRun.run`."""
        try:
            return await legs.ask("llm")
        except LegEnded as ended:
            if not falls_back(ended.outcome):
                raise
        return await legs.ask("client")
