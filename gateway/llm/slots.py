"""How many requests one provider has at once, and how many wait for a place, first come first served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from gateway.errors import ProviderError


class Slots:
    """Places at one provider: `limit` requests at once, and a queue of at most `max_queued`."""

    def __init__(self, name: str, limit: int = 10, max_queued: int = 100) -> None:
        self.limit = limit
        self.max_queued = max_queued
        self.taken = 0
        self.queued = 0
        self._name = name
        self._free = asyncio.Semaphore(limit)

    def __repr__(self) -> str:
        return f"<Slots {self._name}: {self.taken} of {self.limit} taken, {self.queued} wait>"

    @asynccontextmanager
    async def held(self, timeout: float) -> AsyncGenerator[None]:
        """Hold a place while the block runs; waits for one up to `timeout` seconds.

        Raises:
            ProviderError: E003, the queue is full or no place became free in time.
        """
        await self._acquire(timeout)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
            self._free.release()

    async def _acquire(self, timeout: float) -> None:
        if not self._free.locked():
            await self._free.acquire()  # at once
            return
        if self.queued >= self.max_queued:
            raise ProviderError(
                f"{self._name} was not asked: {self.taken} requests are in flight and {self.queued} wait "
                "(its settings max_concurrent and max_queued)",
                code="E003",
            )
        self.queued += 1
        try:
            async with asyncio.timeout(timeout):
                await self._free.acquire()
        except TimeoutError:
            raise ProviderError(
                f"{self._name} was not asked: none of its {self.limit} places became free within "
                f"{timeout:.3g} s (its setting max_concurrent)",
                code="E003",
            ) from None
        finally:
            self.queued -= 1
