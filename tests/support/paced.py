"""A model and clients of both eras that answer when a test lets them, and one gateway between them.

So a test decides the order in which answers arrive, and sees at both sockets who was asked, who
was sent away, and when.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tests.llm.dialects import DIALECTS, KEY, Dialect
from tests.support.gateway import Running, running_gateway
from tests.support.handshake_client import HandshakeClient, handshake_client
from tests.support.modern_client import Asking, ModernClient, Round, modern_client
from tests.support.raw.by_strategy import ASKING_BOTH, STRATEGIES
from tests.support.raw.peers import entry_of, raw_server
from tests.support.scripted_http import Exchange, Request, answer, scripted_http

Json = dict[str, Any]
SCRIPT = Path(__file__).parent / "raw" / "by_strategy.py"
ALL_STRATEGIES = (*STRATEGIES, *ASKING_BOTH)
SERVERS = {"stdio": "stdio-handshake", "http": "http-handshake", "modern": "http-modern"}
EVERYTHING: Json = {"sampling": {}, "elicitation": {"form": {}, "url": {}}}
BY_NAME = {dialect.name: dialect for dialect in DIALECTS}
_FORM = {"openai": "response_format", "anthropic": "output_config", "ollama": "format"}


async def settle() -> None:
    """Let everything that can go on without a gate go on."""
    for _ in range(20):
        await asyncio.sleep(0)


@dataclass(eq=False)
class Heard:
    """One request that the model's service was sent. `left`: its connection was closed unanswered."""

    request: Request
    left: asyncio.Event = field(default_factory=asyncio.Event)
    answered: bool = False


@dataclass
class Model:
    """A service that speaks a dialect. `mode` says what becomes of each request.

    One that ``waits`` answers once `gate` is set. `marks` is what it says as a judge.
    """

    dialect: Dialect
    mode: Literal["answers", "fails", "waits"] = "answers"
    form: str = '{"colour": "llm blue"}'
    marks: str = "5 5"
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    heard: list[Heard] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def play(self, mode: Literal["answers", "fails", "waits"]) -> None:
        """Forget what was heard, and go on in a mode."""
        self.mode, self.gate, self.heard = mode, asyncio.Event(), []

    async def until_heard(self, count: int = 1) -> Heard:
        """Wait for a request, by its number."""
        async with asyncio.timeout(20):
            while len(self.heard) < count:
                self._news.clear()
                await self._news.wait()
        return self.heard[count - 1]

    async def step(self, exchange: Exchange) -> None:
        heard = Heard(exchange.request)
        self.heard.append(heard)
        self._news.set()
        if self.mode == "fails":
            await answer(self.dialect.error("invalid_api_key", "no such key"), status=401)(exchange)
            return
        if self.mode == "waits" and not await self._opened(exchange):
            heard.left.set()
            raise ConnectionResetError
        await answer(self.dialect.said(self._words(exchange.request)))(exchange)
        heard.answered = True

    async def _opened(self, exchange: Exchange) -> bool:
        """Wait for the gate; False if the gateway closed its connection before."""
        gone = asyncio.ensure_future(exchange.reader.read(1))
        opened = asyncio.ensure_future(self.gate.wait())
        try:
            await asyncio.wait((gone, opened), return_when=asyncio.FIRST_COMPLETED)
            return opened.done()
        finally:
            for task in (gone, opened):
                task.cancel()
            await asyncio.gather(gone, opened, return_exceptions=True)

    def _words(self, request: Request) -> str:
        if _FORM[self.dialect.name] in request.json:
            return self.form
        body = request.body.decode()
        if "Two assistants have answered" not in body:
            return "the LLM speaking"
        return self.marks if "two whole numbers" in body else "the LLM composing"


class Cell(NamedTuple):
    """Who asks whom, and under which strategy."""

    strategy: str
    kind: str
    client: str
    server: str

    @property
    def asks_in_results(self) -> bool:
        """Whether nothing waits at the gateway while the client is asked."""
        return self.client == "modern" and self.server == "modern"


class Playing:
    """A call whose client answers when told to."""

    shown: Json | None = None
    """The question as the client got it."""

    async def asked(self) -> Json:
        """Wait for the client's question."""
        raise NotImplementedError

    async def answer(self, reply: Json) -> None:
        """Answer the question: `{"result": …}` or `{"error": …}`; also one that was withdrawn."""
        raise NotImplementedError

    async def end(self) -> Json:
        """Wait for the call's response, as JSON-RPC."""
        raise NotImplementedError

    @property
    def withdrawn(self) -> bool:
        """Whether the client was told that its question is not open any more."""
        raise NotImplementedError


class HandshakePlaying(Playing):
    """A call of a session: its question comes on its stream."""

    def __init__(self, client: HandshakeClient, tool: str, arguments: Json) -> None:
        self._client = client
        self._came: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._told = len(client.told)
        client.behaviour = self._take
        self._task = asyncio.ensure_future(client.call(tool, arguments))

    def _take(self, question: Json) -> None:
        self.shown = question
        self._came.set_result(question)

    async def asked(self) -> Json:
        async with asyncio.timeout(20):
            return await asyncio.shield(self._came)

    async def answer(self, reply: Json) -> None:
        await self._client.answer(await self.asked(), reply)

    async def end(self) -> Json:
        async with asyncio.timeout(20):
            response, _ = await self._task
        return response

    async def close(self) -> None:
        """Break off."""
        self._task.cancel()
        await asyncio.wait((self._task,))

    @property
    def withdrawn(self) -> bool:
        told = [
            each for each in self._client.told[self._told :] if each["method"] == "notifications/cancelled"
        ]
        return self.shown is not None and any(
            each["params"]["requestId"] == self.shown["id"] for each in told
        )


class ModernPlaying(Playing):
    """A call of a client that answers by retrying: its question comes in the result."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._round: Round | None = None
        self._task = asking.begin()

    async def asked(self) -> Json:
        async with asyncio.timeout(20):
            self._round = await asyncio.shield(self._task)
        (question,) = self._round.requests.values()
        self.shown = question
        return question

    async def answer(self, reply: Json) -> None:
        await self.asked()
        assert self._round is not None
        self._task = self._asking.begin(self._round, {self._round.key: reply["result"]})

    async def keep_silent(self) -> None:
        """Retry without an answer."""
        await self.asked()
        self._task = self._asking.begin(self._round, {})

    async def end(self) -> Json:
        async with asyncio.timeout(20):
            return (await self._task).response

    async def close(self) -> None:
        """Break off."""
        self._task.cancel()
        await asyncio.wait((self._task,))

    @property
    def withdrawn(self) -> bool:
        return False  # its era has no form to say so in


@dataclass
class House:
    """A gateway in front of one server of each kind, a paced model behind it and a client of each era."""

    gateway: Running
    model: Model
    handshake: HandshakeClient
    modern: ModernClient
    completed: list[bool] = field(default_factory=list)

    def call(self, cell: Cell, request: Json) -> Any:
        """Begin a call in which the server asks one thing."""
        kind = "form" if cell.kind == "elicitation" else cell.kind
        tool = f"{cell.server}__{cell.strategy}-{kind}"
        requests = {"q": request}
        if cell.client == "modern":
            return ModernPlaying(self.modern.tool(tool, requests=requests))
        return HandshakePlaying(self.handshake, tool, {"requests": requests})

    @property
    def latest(self) -> Json:
        """The latest decision."""
        return self.gateway.gateway.log.recent(1)[0]

    async def until_llm_is_done(self, count: int = 1) -> None:
        """Wait until the gateway has taken so many completions, and what follows has been done."""
        async with asyncio.timeout(20):
            while len(self.completed) < count:
                await asyncio.sleep(0.005)
        await settle()

    def forget(self, mode: Literal["answers", "fails", "waits"]) -> None:
        """Begin the next story."""
        self.model.play(mode)
        self.completed.clear()

    def watch(self) -> None:
        """Note each completion that the gateway has taken, whatever it was."""
        for chain in self.gateway.gateway.chains():
            complete = chain.complete

            async def noting(*args: Any, _complete: Any = complete) -> Any:
                try:
                    return await _complete(*args)
                finally:
                    self.completed.append(True)

            chain.complete = noting  # type: ignore[method-assign]


@asynccontextmanager
async def house(
    folder: Path,
    dialect: str = "openai",
    *,
    head_start_ms: int = 0,
    servers: tuple[str, ...] = tuple(SERVERS),
    limit: float = 60,
    key: str = KEY,
    **config: Any,
) -> AsyncIterator[House]:
    """Put up a house. Each party has `limit` seconds, `key` is the service's; `config` goes on top."""
    async with AsyncExitStack() as stack:
        model = Model(BY_NAME[dialect])
        service = await stack.enter_async_context(scripted_http(otherwise=model.step))
        entries: list[Json] = []
        for name in servers:
            raw = await stack.enter_async_context(raw_server(SERVERS[name], script=SCRIPT))
            entries.append(entry_of(name, raw, max_lanes=64, lane_idle_seconds=2))
        (folder / "capabilities").mkdir(exist_ok=True)
        (folder / "capabilities" / "tools.yaml").write_text(_routes(servers))
        base = f"{service.url}/v1" if dialect == "openai" else service.url
        llm = {"provider": dialect, "model": "a-model", "base_url": base, "api_key_env": "PROVIDER_KEY"}
        kind: Json = {
            "llm_config": {**llm, "timeout_seconds": limit},
            "default_timeout_seconds": limit,
            "parallel_head_start_ms": head_start_ms,
            "max_retry_attempts": 0,
        }
        written: Json = {
            "sampling": {**kind, **config.pop("sampling", {})},
            "elicitation": {**kind, **config.pop("elicitation", {})},
            "decisions": {"keep": 5000},
            "external_mcp": {"servers": entries},
            **config,
        }
        gateway = await stack.enter_async_context(running_gateway(folder, written, {"PROVIDER_KEY": key}))
        old = await stack.enter_async_context(handshake_client(gateway.base, EVERYTHING, lambda _: None))
        new = await stack.enter_async_context(modern_client(gateway.base, EVERYTHING))
        built = House(gateway, model, old, new)
        built.watch()
        yield built


def _routes(servers: tuple[str, ...]) -> str:
    lines = ["tools:"]
    for server in servers:
        for strategy in ALL_STRATEGIES:
            for shown, kind in (("sampling", "sampling"), ("form", "elicitation"), ("url", "elicitation")):
                name = f"{strategy}-{shown}"
                lines.append(f"  - {{name: {name}, server: {server}, {kind}_strategy: {strategy}}}")
    return "\n".join(lines) + "\n"
