"""Whether a call costs the same however much else there is: tools, servers, sessions that do nothing.

Each pair of gateways takes turns within each run. The cost of a call is the processor time that the
gateway's process had for it; the latency is of one connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import statistics
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.speed.driver import Connection, Handshake, Modern, Pool
from benchmarks.speed.figures import Row, Samples
from benchmarks.speed.gateways.port import Behind
from benchmarks.speed.gateways.registry import BACKCHANNEL
from benchmarks.speed.rows.clock import cpu_seconds, seconds
from benchmarks.speed.stand import Running, Stand

CALLS = 1500
QUICK_CALLS = 300
BLOCKS = 5
"""Turns of each gateway within one run."""
SESSIONS = 2000
QUICK_SESSIONS = 2000
TOOLS = 1000
SERVERS = 50
UNITS = {"few: cost": "us", "many: cost": "us", "cost ratio": "x", "few: p50": "us", "many: p50": "us"}


@dataclass
class _Side:
    """One of the two that are compared, with what the calls of this run took."""

    running: Running
    client: Modern | Handshake
    cpu: float = 0.0
    calls: int = 0
    samples: list[float] | None = None

    async def block(self, calls: int) -> None:
        """Take a turn: make calls one after the other."""
        assert self.running.process is not None
        echo = self.running.tools["echo"]
        samples = [] if self.samples is None else self.samples
        for _ in range(20):  # a process that was paused is cold
            await seconds(lambda: self.client.call(echo, {"text": "warm", "count": 0}))
        before = cpu_seconds(self.running.process)
        for number in range(calls):
            samples.append(
                await seconds(lambda number=number: self.client.call(echo, {"text": "flat", "count": number}))
            )
        self.cpu += cpu_seconds(self.running.process) - before
        self.calls += calls
        self.samples = samples

    def reset(self) -> None:
        """Begin a run."""
        self.cpu, self.calls, self.samples = 0.0, 0, None

    @property
    def cost(self) -> float:
        """Microseconds of processor time a call."""
        return self.cpu / self.calls * 1e6

    @property
    def p50(self) -> float:
        """The median latency in microseconds."""
        assert self.samples is not None
        return statistics.median(self.samples) * 1e6


async def measure(stand: Stand) -> list[Row]:
    """Compare few with many of each."""
    return [*await tools(stand), *await servers(stand), *await sessions(stand)]


async def tools(stand: Stand) -> list[Row]:
    """One tool of a server against a thousand."""
    rows: list[Row] = []
    for era in ("handshake", "modern"):
        few, many = Behind(era, tools=1), Behind(era, tools=TOOLS)
        rows += await compare(stand, f"a call, 1 tool against {TOOLS:,}, {era}", few, many)
    return rows


async def servers(stand: Stand) -> list[Row]:
    """One configured server against fifty, which all are the same process behind."""
    rows: list[Row] = []
    for era in ("handshake", "modern"):
        few, many = Behind(era), Behind(era, servers=SERVERS)
        rows += await compare(stand, f"a call, 1 server against {SERVERS}, {era}", few, many)
    return rows


async def sessions(stand: Stand) -> list[Row]:
    """One session against two thousand more that do nothing, with their general streams open and without."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    rows: list[Row] = []
    for listening in (False, True):
        words = "with a GET stream each" if listening else "without GET streams"
        measurement = f"a call, 1 session against {SESSIONS:,} idle ones more {words}"
        behind = Behind("handshake")

        def load(
            running: Running, listening: bool = listening
        ) -> contextlib.AbstractAsyncContextManager[None]:
            return _idle(running, SESSIONS, listening)

        rows += await compare(stand, measurement, behind, behind, load=load)
    return rows


Load = Callable[[Running], contextlib.AbstractAsyncContextManager[None]]


async def compare(
    stand: Stand,
    measurement: str,
    few: Behind,
    many: Behind,
    capabilities: dict[str, Any] | None = None,
    load: Load | None = None,
) -> list[Row]:
    """Compare what a call costs before two backends; `load` is what the second has to bear beside it."""
    samples = Samples(measurement, UNITS)
    calls = QUICK_CALLS if stand.options.quick else CALLS
    async with AsyncExitStack() as stack:
        sides = [await _side(stand, stack, behind, capabilities) for behind in (few, many)]
        if load is not None:
            await stack.enter_async_context(load(sides[1].running))
        for side in sides:
            assert side.running.process is not None
            side.running.process.pause()
        for _ in range(stand.options.runs):
            await _run(stand, sides, calls // BLOCKS)
            small, big = sides
            samples.add(
                BACKCHANNEL.name,
                **{
                    "few: cost": small.cost,
                    "many: cost": big.cost,
                    "cost ratio": big.cost / small.cost,
                    "few: p50": small.p50,
                    "many: p50": big.p50,
                },
            )
        for side in sides:
            assert side.running.process is not None
            side.running.process.resume()
    return samples.rows([BACKCHANNEL.name])


async def _run(stand: Stand, sides: list[_Side], calls: int) -> None:
    for side in sides:
        side.reset()
    for block in range(BLOCKS):
        # Each goes first as often as the other.
        for side in sides if block % 2 else reversed(sides):
            with stand.turn(side.running):
                await side.block(calls)


async def _side(
    stand: Stand, stack: AsyncExitStack, behind: Behind, capabilities: dict[str, Any] | None
) -> _Side:
    running = await stack.enter_async_context(stand.running(BACKCHANNEL, behind))
    pool = running.pool()
    stack.callback(pool.close)
    return _Side(running, await running.client(pool, capabilities))


@contextlib.asynccontextmanager
async def _idle(running: Running, count: int, listening: bool) -> AsyncGenerator[None]:
    """Hold sessions open that have made a call each and make no more."""
    pool = running.pool()
    await idle_sessions(pool, count, listening)
    try:
        yield
    finally:
        pool.close()


async def idle_sessions(pool: Pool, count: int, listening: bool) -> list[tuple[Handshake, Connection | None]]:
    """Open sessions, a few at a time, each with its general stream if they are to listen."""
    room = asyncio.Semaphore(16)

    async def one() -> tuple[Handshake, Connection | None]:
        async with room:
            session = await Handshake(pool).open()
            return session, await session.listen() if listening else None

    return list(await asyncio.gather(*(one() for _ in range(count))))
