"""A whole gateway over servers that say what a test dictates, and clients that speak bare JSON to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.support.gateway import Running, running_gateway
from tests.support.raw.peers import SCRIPT, entry_of, raw_server
from tests.support.raw_http import META, exchange, http, initialize, modern

Json = dict[str, Any]
SAYING = SCRIPT.with_name("saying.py")
ANYTHING: Json = {"type": "object"}


@dataclass
class Told:
    """One server: its `kind`, what it `says` by method, and its `settings` in the gateway's file."""

    kind: str = "http-handshake"
    says: Json = field(default_factory=dict)
    settings: Json = field(default_factory=dict)


def tools(*names: str, **hints: Any) -> Json:
    """A `tools/list` of tools with these names, and the two that a test asks the server with."""
    every = [*names, *(name for name in ("say", "seen", "until") if name not in names)]
    return {"tools/list": {"tools": [{"name": name, "inputSchema": ANYTHING} for name in every], **hints}}


def offering(era: str, **capabilities: Any) -> Json:
    """What a server of an era says of its capabilities when it is connected."""
    method = "initialize" if era == "handshake" else "server/discover"
    return {method: {"capabilities": capabilities}}


@asynccontextmanager
async def merged(
    folder: Path, servers: Mapping[str, Told], environ: Mapping[str, str] | None = None, **config: Any
) -> AsyncIterator[Running]:
    """Yield a gateway over these servers, in this order."""
    async with AsyncExitStack() as stack:
        entries: list[Json] = []
        for name, told in servers.items():
            raw = await stack.enter_async_context(
                raw_server(told.kind, "--says", json.dumps(told.says), script=SAYING)
            )
            entries.append(entry_of(name, raw, **told.settings))
        whole = {"external_mcp": {"servers": entries}, **config}
        yield await stack.enter_async_context(running_gateway(folder, whole, environ))


class Peer:
    """One client. Each answer is the whole response message."""

    def __init__(
        self, client: httpx2.AsyncClient, headers: dict[str, str], capabilities: Json | None
    ) -> None:
        self.client = client
        self.headers = headers
        self._capabilities = capabilities or {}
        self._number = 0

    async def ask(self, method: str, **params: Any) -> Json:
        self._number += 1
        message = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        if "mcp-session-id" in self.headers:
            return (await exchange(self.client, {"json": message, "headers": self.headers}))[-1]
        named = {"mcp-name": params["uri"]} if "uri" in params else {}
        request = modern(message, **named, **self.headers)
        own = {META + "clientCapabilities": self._capabilities}
        envelope = request["json"]["params"]["_meta"]
        request["json"]["params"]["_meta"] = {**envelope, **params.get("_meta", {}), **own}
        return (await exchange(self.client, request))[-1]

    async def result(self, method: str, **params: Any) -> Json:
        response = await self.ask(method, **params)
        assert "result" in response, response
        return response["result"]

    async def call(self, name: str, **arguments: Any) -> Json:
        return await self.result("tools/call", name=name, arguments=arguments)

    async def names(self, method: str = "tools/list") -> list[str]:
        """The names of a whole list, but for those of the tools that a test asks the server with."""
        result = await self.result(method)
        entries = next(value for value in result.values() if isinstance(value, list))
        told = [entry.get("name") for entry in entries]
        return [name for name in told if not name.endswith(("__say", "__seen", "__until"))]

    async def say(self, server: str, says: Json, notify: str | None = None) -> None:
        await self.call(f"{server}__say", says=says, **({} if notify is None else {"notify": notify}))

    async def seen(self, server: str, method: str) -> list[Json]:
        """Every message of a method that a server was sent on this client's connection."""
        told = await self.call(f"{server}__seen")
        return [message for message in told["seen"] if message["method"] == method]


@asynccontextmanager
async def peer(
    gateway: Running, mode: str = "handshake", capabilities: Json | None = None, **headers: str
) -> AsyncIterator[Peer]:
    """Yield a client of an era; a handshake one has a session of its own."""
    async with http(gateway, **headers) as client:
        session = await initialize(client, capabilities) if mode == "handshake" else {}
        if session:
            ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            await client.post("/mcp", json=ready, headers=session)
        yield Peer(client, session, capabilities)
