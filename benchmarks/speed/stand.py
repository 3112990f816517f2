"""The stand everything is measured on: the server behind, gateways started, paused and taken turns with."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed import processes
from benchmarks.speed.driver import Broken, Handshake, Json, Modern, Pool, Refused
from benchmarks.speed.gateways.port import Behind, Gateway, Launched, NotInstalled, Site
from benchmarks.speed.processes import DidNotStart, Pinning, Process
from benchmarks.speed.upstream_tools import CORES_VARIABLE, NAMED, TOOLS_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
READY = 180.0
"""Seconds a gateway has to answer its first call."""
ANSWER = 10.0


@dataclass(frozen=True)
class Options:
    """How long and how often: `runs` of each measurement, `seconds` of each load."""

    runs: int = 5
    seconds: float = 3.0
    quick: bool = False


@dataclass
class Running:
    """A gateway that answered its first call, `started_in` seconds after it was started.

    `tools` maps the server's names of its tools to those the gateway shows.
    """

    gateway: Gateway
    behind: Behind
    launched: Launched
    tools: Mapping[str, str]
    started_in: float

    @property
    def name(self) -> str:
        """What the table calls it."""
        return self.gateway.name

    @property
    def process(self) -> Process | None:
        """Its process; None where the load goes straight to the server."""
        return self.launched.process

    def pool(self) -> Pool:
        """Connections to it, for the driver's clients."""
        return Pool(self.launched.url, self.launched.headers)

    async def client(self, pool: Pool, capabilities: Json | None = None) -> Modern | Handshake:
        """Return a client of its era, a session being opened where there are sessions."""
        return await _client(self.behind, pool, {} if capabilities is None else capabilities)


@dataclass
class Stand:
    """Starts and ends everything. `players` are the gateways that take part, installed or not."""

    options: Options
    players: Sequence[Gateway]
    pinning: Pinning = field(default_factory=processes.pinning)
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="bench-")))
    _upstreams: dict[int, Process] = field(default_factory=dict[int, Process])
    _folders: int = 0
    _before: set[int] = field(default_factory=set[int])

    async def __aenter__(self) -> Stand:
        self._before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.pinning.load)
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._upstreams.values():
            await process.stop()
        os.sched_setaffinity(0, self._before)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def order(self) -> list[str]:
        """The names of the players, as the table has them."""
        return [player.name for player in self.players]

    def say(self, text: str) -> None:
        """Tell what is going on, on standard error."""
        print(f"speed: {text}", file=sys.stderr, flush=True)

    async def upstream(self, tools: int = 0) -> Process:
        """Return the HTTP server that lists this many tools; it is started once and lives on."""
        if tools not in self._upstreams:
            port = processes.free_port()
            process = processes.start(
                "upstream",
                [sys.executable, "-m", "benchmarks.speed.upstream", str(port)],
                cores=self.pinning.load,
                log=self.folder / f"upstream-{tools}.log",
                env=_tools(tools),
                cwd=ROOT,
                port=port,
            )
            self._upstreams[tools] = process
            await processes.listening(process)
        return self._upstreams[tools]

    @contextlib.asynccontextmanager
    async def running(self, gateway: Gateway, behind: Behind) -> AsyncGenerator[Running]:
        """Start a gateway, wait for its first answer, and end it with the block.

        Raises:
            NotInstalled: it is not on this machine.
            DidNotStart: it ended, or never answered a call.
        """
        gateway.version()
        site, started = await self._site(gateway, behind)
        try:
            launched = await gateway.launch(behind, site)
            tools = await _ready(launched, behind)
            began = launched.process.began if launched.process else time.perf_counter()
            yield Running(gateway, behind, launched, tools, time.perf_counter() - began)
        finally:
            for process in started:
                await process.stop()

    @contextlib.asynccontextmanager
    async def lineup(
        self, behind: Behind, refused: dict[str, str], only: Sequence[str] = ()
    ) -> AsyncGenerator[list[Running]]:
        """Start every player that can play, all paused but the one whose `turn` it is.

        Fills `refused` with the reasons of those that are not there, by name.
        """
        async with contextlib.AsyncExitStack() as stack:
            found: list[Running] = []
            for gateway in self.players:
                if only and gateway.name not in only:
                    continue
                reason = gateway.cannot(behind)
                if reason is None:
                    try:
                        running = await stack.enter_async_context(self.running(gateway, behind))
                    except (NotInstalled, DidNotStart) as error:
                        reason = str(error).splitlines()[0]
                        self.say(f"{gateway.name}: {error}")
                    else:
                        found.append(running)
                        if running.process:
                            running.process.pause()
                if reason is not None:
                    refused[gateway.name] = reason
            yield found

    @contextlib.contextmanager
    def turn(self, running: Running) -> Generator[Running]:
        """Let a gateway of a line-up run while the block lasts."""
        if running.process is None:
            yield running
            return
        running.process.resume()
        try:
            yield running
        finally:
            running.process.pause()

    async def _site(self, gateway: Gateway, behind: Behind) -> tuple[Site, list[Process]]:
        self._folders += 1
        folder = self.folder / f"{self._folders}-{gateway.name.replace(' ', '-').replace('/', '-')}"
        folder.mkdir()
        upstream = await self.upstream(behind.tools)
        port = processes.free_port()
        started: list[Process] = []

        def start(command: Sequence[Any], env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Process:
            process = processes.start(
                gateway.name,
                command,
                cores=self.pinning.gateway,
                log=folder / "log",
                env=env,
                cwd=cwd,
                port=port,
            )
            started.append(process)
            return process

        stdio = [sys.executable, "-m", processes.SERVER]
        cores = ",".join(str(core) for core in sorted(self.pinning.load))
        env = {**_tools(behind.tools), CORES_VARIABLE: cores, "PYTHONPATH": str(ROOT)}
        url = f"http://127.0.0.1:{upstream.port}/mcp"
        return Site(port, folder, url, upstream.port, stdio, env, start), started


def _tools(count: int) -> dict[str, str]:
    return {TOOLS_VARIABLE: str(count or len(NAMED))}


async def _client(behind: Behind, pool: Pool, capabilities: Json) -> Modern | Handshake:
    if behind.era == "modern":
        return Modern(pool, capabilities)
    return await Handshake(pool, capabilities).open()


async def _ready(launched: Launched, behind: Behind) -> Mapping[str, str]:
    """Wait until a call of `echo` succeeds, and return what the tools are called there."""
    deadline = time.perf_counter() + READY
    last: object = "nothing answered"
    while time.perf_counter() < deadline:
        process = launched.process
        if process is not None and process.popen.poll() is not None:
            raise DidNotStart(
                f"{process.name} ended with status {process.popen.returncode}:\n{process.last_words()}"
            )
        pool = Pool(launched.url, launched.headers)
        try:
            async with asyncio.timeout(ANSWER):
                return await _names(await _client(behind, pool, {}))
        except (OSError, Broken, Refused, AssertionError, LookupError, TimeoutError) as error:
            last = repr(error)
        finally:
            pool.close()
        await asyncio.sleep(0.01)
    words = launched.process.last_words() if launched.process else ""
    raise DidNotStart(f"never answered a call: {last}\n{words}")


async def _names(client: Modern | Handshake) -> Mapping[str, str]:
    shown: list[str] = []
    params: Json = {}
    while True:
        page = (await client.post("tools/list", params)).result
        shown += [tool["name"] for tool in page["tools"]]
        if (cursor := page.get("nextCursor")) is None:
            break
        params = {"cursor": cursor}
    names = {name: found for name in NAMED if (found := exposed(name, shown)) is not None}
    ended = await client.call(names["echo"], {"text": "ready", "count": 1})
    assert ended.ok, ended.message
    assert "ready" in str(ended.result), ended.message
    return names


def exposed(name: str, shown: Sequence[str]) -> str | None:
    """Find a server's tool among the names that a gateway shows, which may have put something before it."""
    spelled = {name, name.replace("_", "-")}
    found = [each for each in shown if each in spelled]
    found += [each for each in shown if any(each.endswith(end) for end in spelled)]
    return found[0] if found else None
