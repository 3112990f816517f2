"""`client_first`: the client, and the LLM when that leg failed or was unavailable.

What the client decided is final: a decline, a cancel and a rejection never reach the LLM.
"""

from __future__ import annotations

from gateway.answers.model import Answer, Deferred, LegEnded
from gateway.answers.strategies.port import Legs
from gateway.policy.outcomes import falls_back


class ClientFirst:
    """The LLM stands in for a client that could not answer, if the route allows it."""

    async def run(self, legs: Legs) -> Answer | Deferred:
        """See `StrategyRun.run`."""
        try:
            return await legs.ask("client")
        except LegEnded as ended:
            if not (legs.route.fallback_to_llm and falls_back(ended.outcome)):
                raise
        return await legs.ask("llm")
