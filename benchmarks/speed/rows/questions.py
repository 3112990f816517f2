"""What a question costs: answered by the client against two plain calls, and by an LLM that takes no time.

Every sample is taken in turns with plain calls through the same gateway, on one connection.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from benchmarks.speed.driver import Handshake, Json, Modern, Pool
from benchmarks.speed.figures import Row, Samples
from benchmarks.speed.gateways.port import Behind, Era
from benchmarks.speed.gateways.registry import BACKCHANNEL
from benchmarks.speed.provider import KEY, Provider, providing
from benchmarks.speed.rows.clock import Work, interleaved
from benchmarks.speed.stand import Running, Stand

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
TOOLS = {"sampling": "ask", "elicitation": "ask_elicit"}
UNITS_OF_CLIENT = {"two plain calls": "ms", "the call that asks": "ms", "ratio": "x"}
UNITS_OF_LLM = {"plain call": "ms", "provider": "ms", "added": "ms"}


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
                works = (client.plain(), client.asking("ask"))
                await interleaved(works, 3)  # the provider's client is built at its first use
                for _ in range(stand.options.runs):
                    spent, asked_before = provider.spent, provider.requests
                    plain, asked = await interleaved(works, _rounds(stand))
                    own = (provider.spent - spent) / (provider.requests - asked_before)
                    samples.add(
                        BACKCHANNEL.name,
                        **{
                            "plain call": plain * 1000,
                            "provider": own * 1000,
                            "added": (asked - plain - own) * 1000,
                        },
                    )
                rows += samples.rows([BACKCHANNEL.name])
    return rows
