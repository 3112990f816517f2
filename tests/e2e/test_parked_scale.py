"""Many parked calls at once: what they cost, that each gets its own answer, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import random
import resource
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx2
import psutil
import pytest

from tests.support.command_line import Served, serving
from tests.support.modern_client import ModernClient, Round, modern_client
from tests.support.parked import answered, blue, until
from tests.support.parties import ELICITATION, SAMPLING
from tests.support.raw.peers import entry_of, raw_server
from tests.support.raw.stage import Show, Stage, staged

Json = dict[str, Any]
MANY = 1000
ABANDONED = 500
KEPT_OPEN = 32
"""Idle connections to a server that the gateway keeps for what comes next."""
MOST_BYTES = 96 * 1024
"""Memory that a parked call may cost, its own connection and session with the server included."""


async def ask(show: Show) -> Json:
    return answered(await show.ask(ELICITATION["method"], ELICITATION["params"]))


async def sample(show: Show) -> Json:
    return answered(await show.ask(SAMPLING["method"], SAMPLING["params"]))


async def many(work: Callable[[int], Awaitable[Any]], numbers: Sequence[int], at_once: int = 40) -> list[Any]:
    """Do something for each number, some at once; returns what came of it, in order."""
    room = asyncio.Semaphore(at_once)

    async def one(number: int) -> Any:
        async with room:
            return await work(number)

    return await asyncio.gather(*(one(number) for number in numbers))


class Gateway:
    """What can be seen of a gateway process from outside."""

    def __init__(self, served: Served) -> None:
        self.base = served.base
        self.process = psutil.Process(served.process.pid)

    async def counts(self) -> tuple[int, int]:
        """How many calls are parked, and how many the servers work on."""
        async with httpx2.AsyncClient(base_url=self.base) as http:
            calls = (await http.get("/api/calls")).json()
            servers = (await http.get("/api/servers")).json()["servers"]
        return calls["parked"], sum(server["calls"] for server in servers)

    async def has(self, counts: tuple[int, int], lanes: int, files: int) -> bool:
        """Whether so many calls are left, so many connections, and no more open files than that."""
        async with httpx2.AsyncClient(base_url=self.base) as http:
            (server,) = (await http.get("/api/servers")).json()["servers"]
        left = await self.counts() == counts and server["lanes"] == lanes
        return left and self.process.num_fds() <= files


@pytest.mark.alone
@pytest.mark.timeout(400)
async def test_a_thousand_calls_are_parked_each_gets_its_answer_and_nothing_stays(tmp_path, capsys) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    bounds = {"max_lanes": MANY + 1, "max_concurrent_questions": MANY + 1, "lane_idle_seconds": 1}
    stage = Stage(ask=ask, sample=sample)
    async with staged(stage) as url:
        config = {
            "sampling": {"default_sampling_strategy": "client_forwarded", "default_timeout_seconds": 5},
            "elicitation": {"default_timeout_seconds": 600},
            "limits": {"max_parked_calls": MANY + 1, "parked_result_seconds": 1},
            "logging": {"level": "warning"},
            "external_mcp": {"servers": [{"name": "s", "url": url, **bounds}]},
        }
        async with serving(tmp_path, config) as served, modern_client(served.base) as client:
            gateway = Gateway(served)
            await park(client, "s__ask", [-1])
            files, memory = gateway.process.num_fds() + KEPT_OPEN, gateway.process.memory_info().rss

            parked = await park(client, "s__ask", range(MANY - 1))
            assert await gateway.counts() == (MANY, MANY)
            each = (gateway.process.memory_info().rss - memory) / (MANY - 1)

            order = random.Random(7).sample(range(MANY - 1), MANY - 1)

            async def resume(number: int) -> int:
                last = await client.tool("s__ask", n=number).answer(parked[number], blue(n=number))
                return last.result["structuredContent"]["answer"]["content"]["n"]

            assert await many(resume, order) == order
            assert await gateway.counts() == (1, 1)

            await park(client, "s__sample", range(ABANDONED))
            await stage.until(lambda stage: stage.cancelled == ABANDONED, 120)
            await until(lambda: gateway.has((1, 1), 1, files), 120)
            assert stage.cancelled == ABANDONED
            assert len(stage.answers) == MANY - 1
            # Each connection but the two that still live was ended properly.
            await stage.until(lambda stage: stage.ended == len(stage.declared) - 2, 120)
    with capsys.disabled():
        print(f"\n{MANY} calls parked: {each / 1024:.1f} KiB each, with a connection to the server each")
    assert each < MOST_BYTES
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def park(client: ModernClient, tool: str, numbers: Sequence[int]) -> list[Round]:
    """Make calls that come to be parked, and return what each client was asked."""
    rounds = await many(lambda number: client.tool(tool, n=number).send(), numbers)
    assert all(each.requests for each in rounds)
    return rounds


async def test_as_many_calls_as_a_stdio_server_has_lanes_are_parked_and_the_next_is_told_busy(
    tmp_path,
) -> None:
    lanes, request = 4, {"requests": {"q": ELICITATION}}
    async with raw_server("stdio-handshake") as raw:
        server = entry_of("s", raw, max_lanes=lanes, timeout_seconds=4, lane_idle_seconds=0.5)
        config = {
            "elicitation": {"default_timeout_seconds": 60},
            "sampling": {"default_sampling_strategy": "client_forwarded", "default_timeout_seconds": 0.5},
            "external_mcp": {"servers": [server]},
        }
        async with serving(tmp_path, config) as served, modern_client(served.base) as client:
            gateway = Gateway(served)
            files, alone = gateway.process.num_fds() + 10, len(gateway.process.children(recursive=True))
            calls = [client.tool("s__ask", **request, n=number) for number in range(lanes)]
            parked = [await call.send() for call in calls]
            busy = await client.tool("s__ask", **request, n=lanes).send()
            assert "none of its 4 lanes (max_lanes) became free" in busy.error["message"]
            assert "max_lanes" in busy.error["message"]
            assert await gateway.counts() == (lanes, lanes)
            waiting = client.tool("s__ask", **request, n=lanes).begin()
            for number in (2, 0, 3, 1):
                last = await calls[number].answer(parked[number], blue(n=number))
                got = last.result["structuredContent"]["answers"]["q"]["result"]["content"]
                assert got["n"] == number
            assert (await waiting).requests
            abandoned: Json = {"requests": {"q": SAMPLING}}
            for number in range(lanes - 1):
                assert (await client.tool("s__ask", **abandoned, n=number).send()).requests
            await until(lambda: gateway.has((1, 1), 1, files), 120)
            # A lane is counted no more as soon as it is given up; its process has a moment to end.
            await until(lambda: len(gateway.process.children(recursive=True)) == alone + 1)
