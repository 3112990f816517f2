"""The processes of a soak: a gateway, servers of every kind that can be broken, an LLM that fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from benchmarks.soak.ledger import Fault, Ledger
from benchmarks.speed import processes
from benchmarks.speed.driver import Broken, Modern, Pool
from benchmarks.speed.processes import Process
from benchmarks.speed.provider import KEY, Provider, providing

ROOT = Path(__file__).resolve().parents[2]
STDIO = "benchmarks.speed.upstream_stdio"
TRANSPORTS = ("stdio", "handshake", "modern")
CLIENT_LIMIT = 3.0
"""Seconds a client has to answer; a call that is left parked is given up after them."""
RECOVERY = 30.0
"""Seconds after which a server that is back must be reachable through the gateway again."""
ALL = frozenset({"stdio", "handshake", "modern"})


@dataclass
class World:
    """What runs. Servers are named by transport; `<name>-llm` is the same behind another entry."""

    ledger: Ledger
    gateway: Process
    provider: Provider
    upstreams: dict[str, Process]
    folder: Path
    began: float = field(default_factory=time.perf_counter)
    outage: bool = False
    single: float = -10.0
    """When the LLM last failed a single request."""

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self.began

    def pool(self) -> Pool:
        """Connections to the gateway."""
        return Pool(f"http://127.0.0.1:{self.gateway.port}/mcp")

    async def api(self, path: str) -> Any:
        """Ask one of the operator's pages."""
        pool = self.pool()
        connection = await pool.send("GET", {}, path=path)
        try:
            return json.loads(await connection.body())
        finally:
            pool.close()

    async def kill_stdio(self) -> None:
        """Kill the processes of both servers over stdio with SIGKILL, and wait until they serve again."""
        began = self.now
        for child in psutil.Process(self.gateway.popen.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if STDIO in child.cmdline():
                    child.kill()
        await self.recovered("stdio", "the server's processes were killed", began)

    async def restart(self, era: str, pause: float) -> None:
        """Kill the HTTP server of an era, start it again on its port, and wait until it is reached."""
        began = self.now
        process = self.upstreams[era]
        process.popen.kill()
        await asyncio.to_thread(process.popen.wait)
        await asyncio.sleep(pause)
        self.upstreams[era] = await _upstream(self.folder, process.port)
        await self.recovered(era, "the server was killed and started again", began)

    async def fail_provider(self, seconds: float) -> None:
        """Have every request to the LLM fail for a while."""
        began, self.outage = self.now, True
        await asyncio.sleep(seconds)
        self.outage = False
        # Its circuits let one call at a time try again, and close when one has succeeded.
        deadline = self.now + RECOVERY
        pool = self.pool()
        while (state := await self._circuits()) != {"closed"} and self.now < deadline:
            for tool in ("ask", "ask_elicit"):
                with contextlib.suppress(Broken, OSError, TimeoutError):
                    async with asyncio.timeout(5):
                        await Modern(pool).call(f"modern-llm__{tool}", {})
            await asyncio.sleep(0.05)
        pool.close()
        if state != {"closed"}:
            self.ledger.left.append(f"a circuit was still {state} {RECOVERY:g} s after the LLM was back")
        self.ledger.faults.append(Fault("llm", "the LLM failed every request", began, self.now))

    async def _circuits(self) -> set[str]:
        """The states of the circuits of every provider."""
        told = await self.api("/api/llm")
        return {link["circuit"]["state"] for kind in ("sampling", "elicitation") for link in told[kind]}

    async def recovered(self, server: str, reason: str, began: float) -> None:
        """Wait until plain calls of both entries of a server succeed several times running."""
        pool = self.pool()
        client, good, deadline = Modern(pool), 0, self.now + RECOVERY
        while good < 6 and self.now < deadline:
            for entry in (server, f"{server}-llm"):
                try:
                    async with asyncio.timeout(5):
                        good = good + 1 if (await client.call(f"{entry}__echo", {})).ok else 0
                except (Broken, OSError, TimeoutError):
                    good = 0
            await asyncio.sleep(0.05)
        pool.close()
        if good < 6:
            self.ledger.left.append(f"server '{server}' was not reached {RECOVERY:g} s after it was back")
        self.ledger.faults.append(Fault(server, f"{server}: {reason}", began, self.now))


def _faulty(seed: int, world: list[World]) -> Any:
    """Fail some requests to the LLM, by their number, and all during an outage."""
    kinds = random.Random(f"{seed} faults")
    plan = [kinds.choice(("429", "500", "reset")) for _ in range(1009)]

    def fault(number: int) -> str | None:
        if not world or not (world[0].outage or number % 13 == 0):
            return None
        if not world[0].outage:
            # Far enough from the last one that no call has all its attempts fail by chance.
            if world[0].now - world[0].single < 3.0:
                return None
            world[0].single = world[0].now
        return plan[number % len(plan)]

    return fault


def configuration(port: int, ports: dict[str, int], provider: Provider) -> dict[str, Any]:
    """Two entries a server: one whose questions go to the client, one whose go to the LLM."""
    servers: list[dict[str, Any]] = []
    for transport in TRANSPORTS:
        if transport == "stdio":
            where: dict[str, Any] = {"command": sys.executable, "args": ["-m", STDIO]}
            where |= {"env": {"PYTHONPATH": str(ROOT)}, "isolation": "shared", "era": "handshake"}
        else:
            where = {"type": "http", "url": f"http://127.0.0.1:{ports[transport]}/mcp", "era": transport}
        for name, strategy in ((transport, "client_forwarded"), (f"{transport}-llm", "gateway_handled")):
            routed = {"sampling_strategy": strategy, "elicitation_strategy": strategy}
            bounds = {"max_lanes": 64, "max_concurrent_questions": 256, "lane_idle_seconds": 2}
            servers.append({"name": name, **where, **routed, **bounds})
    llm = provider.config(circuit_breaker={"failure_threshold": 20, "recovery_timeout": 1})
    limits = {"max_parked_calls": 4096, "max_parked_calls_per_client": 4096, "parked_result_seconds": 2}
    return {
        "http": {"host": "127.0.0.1", "port": port},
        "logging": {"level": "warning"},
        "limits": limits,
        "sampling": {"llm_config": llm, "default_timeout_seconds": CLIENT_LIMIT},
        "elicitation": {"llm_config": llm, "default_timeout_seconds": CLIENT_LIMIT},
        "external_mcp": {"servers": servers},
    }


async def _upstream(folder: Path, port: int) -> Process:
    process = processes.start(
        "upstream",
        [sys.executable, "-m", "benchmarks.speed.upstream", str(port)],
        cores=processes.pinning().load,
        log=folder / f"upstream-{port}.log",
        cwd=ROOT,
        port=port,
    )
    await processes.listening(process)
    return process


@contextlib.asynccontextmanager
async def running(folder: Path, seed: int, ledger: Ledger) -> AsyncGenerator[World]:
    """Start everything, and end it with the block."""
    ports = {era: processes.free_port() for era in ("handshake", "modern")}
    known: list[World] = []
    async with contextlib.AsyncExitStack() as stack:
        provider = await stack.enter_async_context(providing(_faulty(seed, known)))
        upstreams = {era: await _upstream(folder, port) for era, port in ports.items()}
        port = processes.free_port()
        path = folder / "gateway.yaml"
        with path.open("w") as file:
            YAML(typ="safe").dump(configuration(port, ports, provider), file)
        gateway = processes.start(
            "gateway",
            [Path(sys.executable).with_name("backchannel"), "serve", "--config", path],
            cores=processes.pinning().gateway,
            log=folder / "gateway.log",
            env={KEY: "sk-soak-0123456789"},
            cwd=folder,
            port=port,
        )
        world = World(ledger, gateway, provider, upstreams, folder)
        known.append(world)
        try:
            await processes.listening(gateway)
            for server in TRANSPORTS:
                await world.recovered(server, "starting", 0.0)
            ledger.faults.clear()
            yield world
        finally:
            await gateway.stop()
            for process in world.upstreams.values():
                await process.stop()
