"""LLM legs that go on while a client thinks whose request is over meanwhile.

`parallel` may have asked a client that answers by a retry of a call of which nothing is left
here. Its LLM leg runs on, and if it succeeds before the retry comes, its answer is the
earlier one. Bounded in number and time; a retry that reaches another gateway finds nothing,
and the client's answer counts.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from gateway.answers.model import Answer, Deferred, Leg, LegEnded
from gateway.policy.model import Outcome

Running = asyncio.Task[Answer | Deferred]
logger = logging.getLogger(__name__)

MOST: Final = 1000
"""Legs that run on, or whose answers wait; beyond them the oldest gives way (`docs/bounds.md`)."""
_AGAIN: Final = 60.0
"""Seconds for which an answer that was fetched is kept for a retry that comes twice."""
_ENDING: Final = 10.0
"""Seconds that cancelled legs have when the gateway stops."""
WITHDRAWN: Final = "withdrawn: the call ended, or another answer came first"


@dataclass(slots=True)
class _Left:
    """A leg that was left running: `legs` is where it writes its end, `question` what it is about."""

    task: Running
    legs: list[Leg]
    question: str
    began: float
    timer: asyncio.TimerHandle


class Racing:
    """The legs that run on, by the name that travels with the question's note.

    `seconds` is how long a client may take to retry: as long as the state it carries is valid.
    """

    def __init__(self, most: int = MOST, seconds: float = 3600.0) -> None:
        self._most = most
        self._seconds = seconds
        self._left: OrderedDict[str, _Left] = OrderedDict()
        self._ending: set[Running] = set()

    def __len__(self) -> int:
        return len(self._left)

    def __repr__(self) -> str:
        done = sum(left.task.done() for left in self._left.values())
        return f"<Racing {len(self._left) - done} running, {done} answered, {len(self._ending)} ending>"

    def leave(self, leg: Running, legs: list[Leg], question: str) -> str:
        """Keep a leg running and return its name; the oldest gives way where there are too many."""
        while len(self._left) >= self._most:
            self._drop(next(iter(self._left)))
        name = secrets.token_hex(8)
        timer = asyncio.get_running_loop().call_later(self._seconds, self._drop, name)
        self._left[name] = _Left(leg, legs, question, time.monotonic(), timer)
        return name

    def find(self, name: str) -> Running | None:
        """Return a leg that was left, None if there is none of that name (any more)."""
        left = self._left.get(name)
        return None if left is None else left.task

    def take(self, name: str, question: str) -> Running | None:
        """Give a leg back to its question, which is put anew; one about another question ends."""
        left = self._forget(name)
        if left is None or left.question == question:
            return None if left is None else left.task
        self.end(left.task)
        return None

    def finish(self, name: str) -> tuple[Answer | None, Leg | None]:
        """Return the answer of a leg that has succeeded, and the record of how it ended; end one that runs.

        What it came to stays for a while, for a retry that comes twice: both get the same.
        """
        left = self._left.get(name)
        if left is None:
            return None, None
        if not left.task.done():
            self._drop(name)
            return None, Leg("llm", Outcome.CANCELLED, time.monotonic() - left.began, WITHDRAWN)
        left.timer.cancel()
        left.timer = asyncio.get_running_loop().call_later(_AGAIN, self._drop, name)
        record = next((leg for leg in reversed(left.legs) if leg.source == "llm"), None)
        answer = left.task.result() if succeeded(left.task) else None
        return answer if isinstance(answer, Answer) else None, record

    def end(self, leg: Running) -> None:
        """Cancel a leg, and hold on to it until it has ended."""
        if not leg.done():
            self._ending.add(leg)
            leg.add_done_callback(self._ending.discard)
            leg.cancel()

    async def aclose(self) -> None:
        """End every leg."""
        for name in list(self._left):
            self._drop(name)
        if self._ending:
            await asyncio.wait(self._ending, timeout=_ENDING)

    def _drop(self, name: str) -> None:
        left = self._forget(name)
        if left is not None:
            self.end(left.task)

    def _forget(self, name: str) -> _Left | None:
        left = self._left.pop(name, None)
        if left is not None:
            left.timer.cancel()
        return left


def observed(leg: Running) -> Running:
    """Have a leg's end looked at, whether or not the strategy needs it: a defect must not pass unseen."""
    leg.add_done_callback(_look_at)
    return leg


def _look_at(leg: Running) -> None:
    error = None if leg.cancelled() else leg.exception()
    if error is not None and not isinstance(error, LegEnded):
        logger.error("a leg failed: %s: %s", type(error).__name__, error, exc_info=error)


def succeeded(leg: Running) -> bool:
    """Whether a leg has given an answer."""
    return leg.done() and not leg.cancelled() and leg.exception() is None
