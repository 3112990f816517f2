"""`magictunnel_handled`: the gateway's LLM, and nobody else."""

from __future__ import annotations

from gateway.answers.model import Answer, Deferred
from gateway.answers.strategies.port import Legs


class LlmOnly:
    """The LLM answers or nobody does."""

    async def run(self, legs: Legs) -> Answer | Deferred:
        """See `StrategyRun.run`."""
        return await legs.ask("llm")
