"""How many requests one provider has at once, and how many wait for a place, first come first served."""

from __future__ import annotations

import asyncio

from gateway.errors import ProviderError


class Held:
    """A place for as long as a block runs."""

    __slots__ = ("_slots", "_timeout")

    def __init__(self, slots: Slots, timeout: float) -> None:
        self._slots = slots
        self._timeout = timeout

    async def __aenter__(self) -> None:
        await self._slots.acquire(self._timeout)

    async def __aexit__(self, *ended: object) -> None:
        self._slots.release()


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

    def held(self, timeout: float) -> Held:
        """Hold a place while the ``async with`` block runs; waits for one up to `timeout` seconds.

        Raises:
            ProviderError: E003, the queue is full or no place became free in time.
        """
        return Held(self, timeout)

    def release(self) -> None:
        """Give a place back."""
        self.taken -= 1
        self._free.release()

    async def acquire(self, timeout: float) -> None:
        """Take a place; raises as `held`."""
        await self._acquire(timeout)
        self.taken += 1

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
