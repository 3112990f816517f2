"""Two hundred calls at once, and every question, log line and progress report finds its own client.

Each call's server logs, reports progress, asks, and logs again, all with the call's own token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import Json, Mode, Person, accepted, connect
from tests.support.gateway import Running, running_gateway
from tests.support.raw import peers
from tests.support.raw.peers import entry_of, raw_server

pytestmark = pytest.mark.extensive

SCRIPT = Path(peers.__file__).with_name("whose.py")
SERVERS = {
    "pipe": ("stdio-handshake", 4),
    "web": ("http-handshake", 3),
    "general": ("http-handshake", 3),
}
"""What each is, and how often each client calls it. `general` asks on its GET stream, naming no call."""
CLIENTS: list[tuple[Mode, str]] = [
    *[("handshake", "mcp")] * 12,
    *[("handshake", "sse")] * 4,
    *[("modern", "mcp")] * 4,
]
TOTAL = len(CLIENTS) * sum(calls for _, calls in SERVERS.values())


@dataclass
class Everybody:
    """Lets nobody answer before `enough` different questions were seen."""

    enough: int
    seen: set[str] = field(default_factory=set[str])
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    async def asked(self, token: str) -> None:
        self.seen.add(token)
        if len(self.seen) >= self.enough:
            self.ready.set()
        await self.ready.wait()


class One:
    """A client that tells its calls apart by their tokens."""

    def __init__(self, number: int, mode: Mode, everybody: Everybody) -> None:
        self.number, self.mode = number, mode
        self.own = {
            server: [f"{number}/{server}/{n}" for n in range(calls)] for server, (_, calls) in SERVERS.items()
        }
        self.person = Person(elicitation=self._answer)
        self.progress: dict[str, list[str | None]] = {}
        self._everybody = everybody

    async def _answer(self, params: Json) -> Json:
        token = told(params)
        await self._everybody.asked(token)
        return accepted(token=f"{token} by {self.number}")

    async def run(self, url: str) -> None:
        """Make all calls at once, and check what each of them came to."""
        async with (
            connect(url, self.person, self.mode, log_level="debug") as client,
            asyncio.TaskGroup() as all_,
        ):
            for server, tokens in self.own.items():
                for token in tokens:
                    all_.create_task(self._call(client, server, token))

    async def _call(self, client: Any, server: str, token: str) -> None:
        heard = self.progress[token] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            heard.append(message)

        result = await client.call_tool(f"{server}__whose", {"token": token}, progress_callback=on_progress)
        came = result.structured_content
        assert came["asked"] == token
        assert came["answer"]["result"]["content"] == {"token": f"{token} by {self.number}"}

    @property
    def questions(self) -> set[str]:
        return {told(params) for params in self.person.questions("elicitation/create")}

    def logged(self, server: str) -> set[str]:
        return {line["data"] for line in self.person.logged if f"/{server}/" in line["data"]}


def told(params: Json) -> str:
    """The token in a question, which the gateway labels with the server's name."""
    return params["message"].split()[-1]


@asynccontextmanager
async def gateway(folder: Path, isolation: Json, lanes: int) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        servers: list[Json] = []
        for name, (kind, _) in SERVERS.items():
            flags = ("--unrelated",) if name == "general" else ()
            raw = await stack.enter_async_context(raw_server(kind, *flags, script=SCRIPT))
            bounds = {"max_concurrent_questions": TOTAL, "max_lanes": lanes}
            servers.append(entry_of(name, raw, **bounds, isolation=isolation[name]))
        config = {
            "elicitation": {"default_elicitation_strategy": "client_forwarded"},
            "external_mcp": {"servers": servers},
        }
        yield await stack.enter_async_context(running_gateway(folder, config))


@pytest.mark.parametrize(
    ("isolation", "lanes"),
    [
        ({"pipe": "session", "web": "shared", "general": "session"}, 64),
        (dict.fromkeys(SERVERS, "shared"), 2),
    ],
    ids=["with lanes to spare", "with two lanes for all"],
)
async def test_every_client_sees_its_own_and_nothing_else(
    tmp_path: Path, isolation: Json, lanes: int
) -> None:
    # With lanes to spare all calls are open at once; with two, most of them wait for a lane.
    everybody = Everybody(TOTAL if lanes > 2 else 1)
    clients = [One(number, mode, everybody) for number, (mode, _) in enumerate(CLIENTS)]
    async with gateway(tmp_path, isolation, lanes) as running:
        async with asyncio.timeout(50), asyncio.TaskGroup() as tasks:
            for client, (_, path) in zip(clients, CLIENTS, strict=True):
                tasks.create_task(client.run(f"{running.base}/{path}"))
        assert len(await running.decisions()) >= TOTAL
    assert TOTAL == 200
    for client in clients:
        everything = {token for tokens in client.own.values() for token in tokens}
        assert client.questions == everything
        assert client.progress == {token: [token] for token in everything}
        for server, own in client.own.items():
            # A log line names no call. It is the caller's where the stream does, or where nobody else
            # ever used the connection; elsewhere it goes to the gateway's own log.
            named = server == "web" or (isolation[server] == "session" and client.mode == "handshake")
            assert client.logged(server) <= set(own)
            assert client.logged(server) == set(own) or not named
