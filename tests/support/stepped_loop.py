"""An event loop with a clock of its own, for what takes minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class SteppedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock moves only when told, or to the next timer when nothing else is left to do."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += seconds


def run(scenario: Callable[[SteppedLoop], Awaitable[None]]) -> None:
    """Run a scenario on a loop of its own."""
    loop = SteppedLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(scenario(loop), None))
    finally:
        loop.close()
