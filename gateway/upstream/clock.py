"""Time as upstream uses it, so that tests can hold it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Protocol


class Clock(Protocol):
    """What the time is, and waiting for it to pass. All values are seconds."""

    def now(self) -> float:
        """Return the monotonic time: for distances only."""
        ...

    def wall(self) -> float:
        """Return the time since the Unix epoch: for people."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return the monotonic time."""
        return time.monotonic()

    def wall(self) -> float:
        """Return the time since the Unix epoch."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)


async def all_done(futures: Iterable[asyncio.Future[Any]], seconds: float, clock: Clock) -> bool:
    """Wait until every future is done, at most `seconds`; say whether they are.

    Never cancels what it waits for, and never raises what the futures raised.
    """
    pending: set[asyncio.Future[Any]] = {future for future in futures if not future.done()}
    if not pending or seconds <= 0:
        return not pending
    alarm: asyncio.Future[Any] = asyncio.ensure_future(clock.sleep(seconds))
    try:
        while pending and not alarm.done():
            await asyncio.wait({alarm, *pending}, return_when=asyncio.FIRST_COMPLETED)
            pending = {future for future in pending if not future.done()}
    finally:
        alarm.cancel()
    return not pending
