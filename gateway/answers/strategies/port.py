"""What every strategy is, and what it is given to work with."""

from __future__ import annotations

from typing import Protocol

from gateway.answers.model import Answer, Deferred, SourceName
from gateway.policy.model import Route


class Legs(Protocol):
    """The two answerers of one input request. Every `ask` is recorded as a leg."""

    @property
    def route(self) -> Route:
        """The route being executed."""
        ...

    async def ask(self, source: SourceName) -> Answer | Deferred:
        """Ask one answerer.

        Raises:
            LegEnded: for every ending that is not an answer.
        """
        ...


class StrategyRun(Protocol):
    """One way of combining the two answerers. It holds no state."""

    async def run(self, legs: Legs) -> Answer | Deferred:
        """Return the answer, or that it is deferred to the client's retry.

        Raises:
            LegEnded: a final outcome, or that of the last leg when no leg gave an answer.
        """
        ...
