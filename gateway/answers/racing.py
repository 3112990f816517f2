"""LLM legs that go on while a client thinks whose call is over meanwhile.

`parallel` may have asked a client that answers by a retry of a call of which nothing is left
here. Its LLM leg runs on, and if it succeeds before the retry comes, its answer is the
earlier one. Bounded in number and time; a retry that reaches another gateway finds nothing,
and the client's answer counts.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from typing import Final

from gateway.answers.model import Answer, Deferred

Running = asyncio.Task[Answer | Deferred]

_MOST: Final = 1000
_SECONDS: Final = 600.0


class Racing:
    """The legs that run on, by the name that travels with the question's note."""

    def __init__(self) -> None:
        self._running: OrderedDict[str, tuple[Running, asyncio.TimerHandle]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._running)

    def leave(self, leg: Running) -> str:
        """Keep a leg running and return its name; the oldest gives way where there are too many."""
        while len(self._running) >= _MOST:
            self._drop(next(iter(self._running)))
        name = secrets.token_hex(8)
        timer = asyncio.get_running_loop().call_later(_SECONDS, self._drop, name)
        self._running[name] = (leg, timer)
        return name

    def finish(self, name: str) -> Answer | None:
        """Return the answer of a leg that has succeeded, and end one that has not."""
        found = self._running.pop(name, None)
        if found is None:
            return None
        leg, timer = found
        timer.cancel()
        if leg.done() and not leg.cancelled() and leg.exception() is None:
            answer = leg.result()
            return None if isinstance(answer, Deferred) else answer
        leg.cancel()
        return None

    async def aclose(self) -> None:
        """End every leg."""
        legs = [leg for leg, _ in self._running.values()]
        for name in list(self._running):
            self._drop(name)
        await asyncio.gather(*legs, return_exceptions=True)

    def _drop(self, name: str) -> None:
        self.finish(name)
