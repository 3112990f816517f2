"""What a test of faults measures: calls that run on beside them, and what is left afterwards."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from tests.support.gateway import Running
from tests.support.processes import descendants
from tests.support.raw_http import call, exchange, http, initialize

Json = dict[str, Any]
SERVER = Path(__file__).parent / "server.py"
SETTLE = 20.0


@dataclass(frozen=True, order=True)
class Count:
    """Processes below this one, tasks, descriptors, and what the gateway counts itself."""

    processes: int
    tasks: int
    descriptors: int
    lanes: int
    calls: int
    sessions: int

    @classmethod
    def now(cls, gateway: Running) -> Count:
        servers = gateway.gateway.servers()
        return cls(
            len(descendants()),
            len(asyncio.all_tasks()),
            len(os.listdir("/proc/self/fd")) - 1,
            sum(server.lanes for server in servers),
            sum(server.calls for server in servers),
            len(gateway.gateway._sessions),
        )

    @classmethod
    async def at_rest(cls, gateway: Running) -> Count:
        """Return the count once it has not changed for a while."""
        last, since = cls.now(gateway), time.monotonic()
        async with asyncio.timeout(SETTLE):
            while time.monotonic() - since < 0.5:
                await asyncio.sleep(0.05)
                if (count := cls.now(gateway)) != last:
                    last, since = count, time.monotonic()
        return last


async def settles_to(
    gateway: Running, before: Count, stir: Callable[[Running], Awaitable[None]] | None = None
) -> None:
    """Wait until no more of anything is there than before; `stir` brings back what may lie idle.

    Raises:
        AssertionError: there still is, after `SETTLE` seconds; says what.
    """
    try:
        async with asyncio.timeout(SETTLE):
            while True:
                if stir is not None:
                    await stir(gateway)
                now = await Count.at_rest(gateway)
                # Of pooled connections to servers fewer may be left, never more.
                if replace(now, descriptors=before.descriptors) == before >= now:
                    return
    except TimeoutError:
        now = Count.now(gateway)
        names = sorted(task.get_coro().__qualname__ for task in asyncio.all_tasks())  # type: ignore[union-attr]
        files = sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in _descriptors())
        sockets = psutil.Process().net_connections()
        raise AssertionError(f"{now} after, {before} before; {names}; {files}; {sockets}") from None


def _descriptors() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]


@dataclass
class Steady:
    """How other servers' calls fared: how many there were, and the seconds of the slowest."""

    calls: int = 0
    slowest: float = 0.0


@asynccontextmanager
async def steady_calls(gateway: Running, *servers: str) -> AsyncIterator[Steady]:
    """Call the echo tool of these servers again and again while the block runs; each call must succeed."""
    steady, over = Steady(), asyncio.Event()

    async def run(server: str) -> None:
        async with http(gateway) as client:
            session = await initialize(client)
            while not over.is_set():
                began = time.monotonic()
                request = {"json": call(f"{server}__echo", 1, n=steady.calls), "headers": session}
                (answer,) = await exchange(client, request)
                assert "structuredContent" in answer.get("result", {}), answer
                steady.slowest = max(steady.slowest, time.monotonic() - began)
                steady.calls += 1
                await asyncio.sleep(0.01)
            await client.delete("/mcp", headers=session)

    async with asyncio.TaskGroup() as tasks:
        for server in servers:
            tasks.create_task(run(server))
        try:
            yield steady
        finally:
            over.set()
    assert steady.calls > 0
