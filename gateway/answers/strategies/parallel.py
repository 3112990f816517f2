"""`parallel`: both at once; the first success is the answer, and the other leg is cancelled.

Two things are not a race. An elicitation that has been put to the client is the client's to
decide, in this round or an earlier one, so the LLM may only win before the client is asked, or
after the client's leg failed.
And a client that answers by retrying its call costs a round trip to ask. In both cases the
LLM has a head start (`parallel_head_start_ms`), after which the client is asked while the
LLM goes on.
"""

from __future__ import annotations

import asyncio

from gateway.answers.model import Answer, Deferred, LegEnded
from gateway.answers.racing import succeeded
from gateway.answers.strategies.port import Legs, Running
from gateway.policy.outcomes import is_final


class Parallel:
    """The first success wins; what the client refuses before anything is delivered stays refused."""

    async def run(self, legs: Legs) -> Answer | Deferred:
        """See `StrategyRun.run`."""
        decides = legs.route.kind == "elicitation"
        early = not legs.asked if decides else legs.retries
        async with legs.running("llm") as llm:
            if early:
                await asyncio.wait((llm,), timeout=legs.route.both.head_start)
                if succeeded(llm):
                    return llm.result()
            async with legs.running("client") as client:
                await asyncio.wait((llm, client), return_when=asyncio.FIRST_COMPLETED)
                if not (decides or client.done()) and succeeded(llm):
                    return llm.result()
                return await _of_the_client(legs, client, llm)


async def _of_the_client(legs: Legs, client: Running, llm: Running) -> Answer | Deferred:
    """Take the client's word; the LLM's only where the client's leg failed."""
    try:
        answer = await client
    except LegEnded as ended:
        if is_final(ended.outcome):
            raise
        return await llm
    return legs.leave(llm, answer) if isinstance(answer, Deferred) else answer
