"""What every strategy is, and what it is given to work with."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gateway.answers.model import Answer, Deferred, SourceName
from gateway.policy.model import Route

Running = asyncio.Task[Answer | Deferred]


class Legs(Protocol):
    """The two answerers of one input request. Every `ask` is recorded as a leg."""

    @property
    def route(self) -> Route:
        """The route being executed."""
        ...

    @property
    def asked(self) -> bool:
        """Whether this was put to the client before, whose retry came without an answer."""
        ...

    @property
    def retries(self) -> bool:
        """Whether asking this client costs a round trip: it is asked in a result, and answers by a retry."""
        ...

    async def ask(self, source: SourceName) -> Answer | Deferred:
        """Ask one answerer.

        Raises:
            LegEnded: for every ending that is not an answer.
        """
        ...

    def running(self, source: SourceName) -> AbstractAsyncContextManager[Running]:
        """Ask one answerer beside the block. What has not ended with the block is cancelled:
        a question withdrawn from the client, a request to a provider aborted."""
        ...

    def leave(self, llm: Running, deferred: Deferred) -> Deferred:
        """Let the LLM go on while the client thinks; its success, if earlier, wins on the retry."""
        ...

    def keep(self, llm: Answer, deferred: Deferred) -> Deferred:
        """Have the LLM's answer combined with the one that the client's retry brings."""
        ...

    async def combine(self, client: Answer, llm: Answer) -> Answer:
        """Make one answer of two; see `gateway.answers.combine`."""
        ...


class StrategyRun(Protocol):
    """One way of combining the two answerers. It holds no state."""

    async def run(self, legs: Legs) -> Answer | Deferred:
        """Return the answer, or that it is deferred to the client's retry.

        Raises:
            LegEnded: a final outcome, or that of the last leg when no leg gave an answer.
        """
        ...
