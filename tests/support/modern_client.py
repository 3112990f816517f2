"""A 2026-07-28 client that speaks bare JSON over HTTP: sends each round of a call as a test wants it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2

from tests.support.raw_http import BOTH, META, EventStream

Json = dict[str, Any]
VERSION = "2026-07-28"
EVERYTHING: Json = {
    "sampling": {"tools": {}, "context": {}},
    "elicitation": {"form": {}, "url": {}},
    "roots": {},
}


@dataclass(frozen=True)
class Round:
    """What one request came to: its response, and the notifications that its stream carried before."""

    response: Json
    notifications: list[Json]
    status: int

    @property
    def result(self) -> Json:
        assert "result" in self.response, self.response
        return self.response["result"]

    @property
    def error(self) -> Json:
        assert "error" in self.response, self.response
        return self.response["error"]

    @property
    def requests(self) -> Json:
        """The questions of this round by key; the response must be one that asks."""
        assert self.result["resultType"] == "input_required", self.response
        return self.result["inputRequests"]

    @property
    def key(self) -> str:
        """The key of the only question."""
        (key,) = self.requests
        return key

    @property
    def state(self) -> str:
        return self.result["requestState"]

    def told(self, method: str) -> list[Json]:
        """The params of the notifications of one method."""
        return [each["params"] for each in self.notifications if each["method"] == method]


@dataclass(frozen=True)
class Asking:
    """One call of a client, which may take several requests. `send` may be cancelled: its stream closes."""

    client: ModernClient
    method: str
    params: Json

    async def send(
        self,
        after: Round | str | None = None,
        answers: Mapping[str, Any] | None = None,
        **meta: Any,
    ) -> Round:
        """Send the request, as a retry if it comes `after` a round (or a state); `meta` goes into `_meta`."""
        more: Json = {}
        if after is not None:
            more["requestState"] = after if isinstance(after, str) else after.state
        if answers is not None:
            more["inputResponses"] = dict(answers)
        return await self.client.post(self.method, {**self.params, **more}, **meta)

    async def answer(self, after: Round, *answers: Json, **meta: Any) -> Round:
        """Retry with an answer to each question of a round, in their order."""
        return await self.send(after, dict(zip(after.requests, answers, strict=True)), **meta)

    def begin(self, *args: Any, **meta: Any) -> asyncio.Task[Round]:
        """Send in the background."""
        return asyncio.ensure_future(self.send(*args, **meta))

    def by(self, client: ModernClient) -> Asking:
        """Return the same call of another client."""
        return replace(self, client=client)


@dataclass
class ModernClient:
    """A client at `http`'s base address. `capabilities` are declared with every request."""

    http: httpx2.AsyncClient
    capabilities: Json = field(default_factory=lambda: EVERYTHING)
    name: str = "bare"
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def tool(self, name: str, **arguments: Any) -> Asking:
        """Return a call of a tool, not sent yet."""
        return Asking(self, "tools/call", {"name": name, "arguments": arguments})

    async def post(self, method: str, params: Json, **meta: Any) -> Round:
        """Send one request and return its response with everything that came before it."""
        envelope = {
            META + "protocolVersion": VERSION,
            META + "clientInfo": {"name": self.name, "version": "1"},
            META + "clientCapabilities": self.capabilities,
        }
        level = meta.pop("level", None)
        if level is not None:
            envelope[META + "logLevel"] = level
        message = {
            "jsonrpc": "2.0",
            "id": next(self._ids),
            "method": method,
            "params": {**params, "_meta": {**envelope, **meta}},
        }
        headers = {**BOTH, "mcp-protocol-version": VERSION, "mcp-method": method}
        if "name" in params:
            headers["mcp-name"] = params["name"]
        body = json.dumps(message)  # escapes what is not ASCII, lone surrogates too
        async with self.http.stream("POST", "/mcp", content=body, headers=headers) as response:
            if response.headers["content-type"] != "text/event-stream":
                return Round(json.loads(await response.aread()), [], response.status_code)
            stream, told = EventStream(response), list[Json]()
            while "method" in (said := await stream.message()):
                told.append(said)
            return Round(said, told, response.status_code)


@asynccontextmanager
async def modern_client(
    base: str,
    capabilities: Json | None = None,
    key: str | None = None,
    name: str = "bare",
    *,
    fresh: bool = False,
) -> AsyncIterator[ModernClient]:
    """Connect to a gateway's base address, with an API key if given.

    `fresh`: each request comes on a TCP connection of its own.
    """
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0 if fresh else 64)
    async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=60, limits=limits) as http:
        yield ModernClient(http, EVERYTHING if capabilities is None else capabilities, name)
