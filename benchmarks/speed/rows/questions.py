"""What a question costs: answered by the client against two plain calls, and by an LLM that takes no time.

Every sample is taken in turns with plain calls through the same gateway, on one connection.

What an own LLM's answer costs is taken three ways in one run. **added**: the server says how long it
waited for the answer, from writing its question to having read the answer; less what the very same
HTTP request to the provider takes from the gateway's core without a gateway (`benchmarks/speed/asker.py`).
**at the client**: the call that asks less a plain call, less the provider again; it has in it the server's
asking and its second exchange with the gateway, which no gateway could spare. **processor**: what the
gateway's process computes for a call that asks more than for a plain one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from benchmarks.speed.driver import Handshake, Json, Modern, Pool
from benchmarks.speed.figures import Row, Samples
from benchmarks.speed.gateways.port import Behind, Era
from benchmarks.speed.gateways.registry import BACKCHANNEL
from benchmarks.speed.provider import KEY, Provider, providing
from benchmarks.speed.rows.clock import Work, cpu_seconds, interleaved, seconds
from benchmarks.speed.stand import ROOT, Running, Stand
from benchmarks.speed.upstream_tools import CORES_VARIABLE, WAITED

ERAS: tuple[Era, ...] = ("handshake", "modern")
ROUNDS = 200
QUICK_ROUNDS = 30
ANSWERS: dict[str, Json] = {
    "sampling/createMessage": {
        "role": "assistant",
        "content": {"type": "text", "text": "Paris"},
        "model": "driver",
        "stopReason": "endTurn",
    },
    "elicitation/create": {"action": "accept", "content": {"city": "Paris"}},
}
Ask = Callable[[], Awaitable[float]]
"""Asks the provider once; returns the seconds it took."""
WARMING = 10
TOOLS = {"sampling": "ask", "elicitation": "ask_elicit"}
UNITS_OF_CLIENT = {"two plain calls": "ms", "the call that asks": "ms", "ratio": "x"}
UNITS_OF_LLM = {
    "plain call": "ms",
    "the call that asks": "ms",
    "the server waits": "ms",
    "provider": "ms",
    "added": "ms",
    "at the client": "ms",
    "processor": "ms",
}


def answer(method: str, params: Json) -> Json:  # noqa: ARG001
    """Answer as a client does whose user is instant."""
    return ANSWERS[method]


def config(strategy: str, provider: Provider | None = None) -> Json:
    """Route both kinds one way, with a limit on parked calls that measuring does not reach."""
    kinds: Json = {
        kind: {f"default_{kind}_strategy": strategy, **_llm(provider)} for kind in ("sampling", "elicitation")
    }
    return {**kinds, "limits": {"max_parked_calls": 4096, "max_parked_calls_per_client": 4096}}


def _llm(provider: Provider | None) -> Json:
    return {} if provider is None else {"llm_config": provider.config()}


@dataclass
class _Client:
    """A client of one era before a running gateway."""

    client: Modern | Handshake
    running: Running

    def plain(self) -> Work:
        """Return an echo."""
        return lambda: self.client.call(self.running.tools["echo"], {"text": "plain", "count": 1})

    def asking(self, tool: str) -> Work:
        """Return a call that asks the client."""
        return lambda: self.client.call(self.running.tools[tool], {}, answer)


@contextlib.asynccontextmanager
async def _client(running: Running, era: Era) -> AsyncGenerator[_Client]:
    pool = running.pool()
    try:
        yield _Client(await opened(pool, era), running)
    finally:
        pool.close()


async def opened(pool: Pool, era: Era) -> Modern | Handshake:
    """Return a client of an era that can be asked everything."""
    return Modern(pool) if era == "modern" else await Handshake(pool).open()


async def measure(stand: Stand) -> list[Row]:
    """Measure questions to the client, in all four cells, and to the LLM."""
    return await _to_the_client(stand) + await _to_the_llm(stand)


def _rounds(stand: Stand) -> int:
    return QUICK_ROUNDS if stand.options.quick else ROUNDS


async def _to_the_client(stand: Stand) -> list[Row]:
    rows: list[Row] = []
    for server in ERAS:
        behind = Behind(server, config=config("client_forwarded"))
        async with stand.running(BACKCHANNEL, behind) as running:
            for era in ERAS:
                for kind, tool in TOOLS.items():
                    words = f"{kind} answered by the client, {era} client, {server} server"
                    samples = Samples(words, UNITS_OF_CLIENT)
                    async with _client(running, era) as client:
                        for _ in range(stand.options.runs):
                            works = (client.plain(), client.plain(), client.asking(tool))
                            one, two, asked = await interleaved(works, _rounds(stand))
                            samples.add(
                                BACKCHANNEL.name,
                                **{
                                    "two plain calls": (one + two) * 1000,
                                    "the call that asks": asked * 1000,
                                    "ratio": asked / (one + two),
                                },
                            )
                    rows += samples.rows([BACKCHANNEL.name])
    return rows


async def _to_the_llm(stand: Stand) -> list[Row]:
    os.environ.setdefault(KEY, "sk-bench-0123456789")
    rows: list[Row] = []
    async with providing() as provider:
        for server in ERAS:
            behind = Behind(server, config=config("gateway_handled", provider))
            async with stand.running(BACKCHANNEL, behind) as running, _client(running, server) as client:
                words = f"sampling answered by an instant provider, {server} client and server"
                samples = Samples(words, UNITS_OF_LLM)
                async with _asking(stand, provider) as ask:
                    # The first answers warm it up: the provider's client is built at its first use.
                    await _answered(client, ask, WARMING)
                    for _ in range(stand.options.runs):
                        taken = await _answered(client, ask, _rounds(stand))
                        samples.add(BACKCHANNEL.name, **{name: each * 1000 for name, each in taken.items()})
                rows += samples.rows([BACKCHANNEL.name])
    return rows


async def _answered(client: _Client, ask: Ask, rounds: int) -> dict[str, float]:
    """Take one run's figures, in seconds: medians, but for the processor's time, which is a mean."""
    process = client.running.process
    assert process is not None
    plain, asking = client.plain(), client.asking("ask")
    taken: dict[str, list[float]] = {"plain": [], "asks": [], "waits": [], "provider": []}
    computed = {"plain": 0.0, "asks": 0.0}
    for _ in range(rounds):
        before = cpu_seconds(process)
        taken["plain"].append(await seconds(plain))
        between = cpu_seconds(process)
        began = time.perf_counter()
        ended = await asking()
        taken["asks"].append(time.perf_counter() - began)
        computed["asks"] += cpu_seconds(process) - between
        computed["plain"] += between - before
        taken["waits"].append(ended.result["_meta"][WAITED])
        taken["provider"].append(await ask())
    middle = {name: statistics.median(each) for name, each in taken.items()}
    return {
        "plain call": middle["plain"],
        "the call that asks": middle["asks"],
        "the server waits": middle["waits"],
        "provider": middle["provider"],
        "added": middle["waits"] - middle["provider"],
        "at the client": middle["asks"] - middle["plain"] - middle["provider"],
        "processor": (computed["asks"] - computed["plain"]) / rounds,
    }


@contextlib.asynccontextmanager
async def _asking(stand: Stand, provider: Provider) -> AsyncGenerator[Ask]:
    """Give what sends the provider its last request once more, from the gateway's core without a gateway."""
    cores = ",".join(str(core) for core in sorted(stand.pinning.gateway))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.speed.asker", str(provider.port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, CORES_VARIABLE: cores},
        cwd=ROOT,
    )
    told, said = process.stdin, process.stdout
    assert told is not None
    assert said is not None
    pool = Pool(provider.url)
    headers = {"content-type": "application/json", "authorization": f"Bearer {os.environ[KEY]}"}

    async def ask() -> float:
        request = pool.encoded("POST", headers, provider.last, f"{pool.path}/chat/completions")
        told.write(request.hex().encode() + b"\n")
        return float(await said.readline())

    try:
        yield ask
    finally:
        told.close()
        await process.wait()
