"""Writes down what passes between an MCP client and a server, and compares it as JSON.

A tap stands where a server stood: in front of a URL (`http_tap`) or around a command
(`stdio_tap`). It changes nothing and keeps every message, both ways, on a `Tape`. A test taps a
direct connection, the gateway's front and the servers behind it, and says with `differences`
that what was received through the gateway is what was received directly, and that what the
servers were sent is the same.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway.wire import sse
from tests.support.clients import Mode
from tests.support.listening import free_port_socket

Json = dict[str, Any]
SCRIPT = Path(__file__).parent / "tap.py"
MODERN_ONLY = ("resultType", "ttlMs", "cacheScope")
CACHEABLE = {"tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"}
RESULT_STAMPS = ("io.modelcontextprotocol/serverInfo",)
"""What each party says of itself in a result's `_meta`."""
REQUEST_STAMPS = (
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
    "progressToken",
)
"""What each party says of itself in a request's `_meta`."""
_LARGEST = 1 << 26
_DROPPED = {
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "content-encoding",
    "accept-encoding",
}


@dataclass(frozen=True)
class Heard:
    """One message. `connection` tells apart what may use one id: a session, a process or a POST."""

    to: Literal["server", "client"]
    connection: str
    message: Json
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Exchange:
    """A request and its whole response message; None where none came."""

    request: Heard
    response: Json | None

    @property
    def params(self) -> Json:
        """The request's parameters without what the sender says of itself."""
        return unstamped(self.request.message.get("params") or {}, REQUEST_STAMPS)

    @property
    def result(self) -> Json:
        assert self.response is not None, f"never answered: {self.request.message}"
        assert "result" in self.response, self.response
        return self.response["result"]

    @property
    def outcome(self) -> Json:
        """The result, or the error as `{"error": …}`."""
        assert self.response is not None, f"never answered: {self.request.message}"
        return self.response.get("result") or {"error": self.response["error"]}


class Tape:
    """Every message that passed, in order. A stdio tap's are read from its file."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._heard: list[Heard] = []

    @property
    def heard(self) -> list[Heard]:
        if self.file is None:
            return self._heard
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [Heard(**json.loads(line)) for line in lines]

    def keep(self, heard: Heard) -> None:
        self._heard.append(heard)

    def since(self, count: int) -> Tape:
        """Return a tape of what was heard after the first `count` messages, up to now."""
        later = Tape()
        later._heard = self.heard[count:]
        return later

    def exchanges(self, method: str, of: Literal["client", "server"] = "client") -> list[Exchange]:
        """Return the requests of one method that a side made, each with its response."""
        heard = self.heard
        to = "server" if of == "client" else "client"
        return [
            Exchange(each, _response(each, heard[index:]))
            for index, each in enumerate(heard)
            if each.to == to and each.message.get("method") == method and "id" in each.message
        ]

    def notifications(self, method: str, to: Literal["client", "server"] = "client") -> list[Json]:
        """Return the parameters of every notification of one method, without the stamps."""
        return [
            unstamped(each.message.get("params") or {}, ("io.modelcontextprotocol/subscriptionId",))
            for each in self.heard
            if each.to == to and each.message.get("method") == method
        ]


def _response(request: Heard, later: Iterable[Heard]) -> Json | None:
    for each in later:
        same = each.connection == request.connection and each.to != request.to
        if same and "method" not in each.message and each.message.get("id") == request.message["id"]:
            return each.message
    return None


def unstamped(holder: Json, stamps: Iterable[str]) -> Json:
    """Return a result or parameters without these entries of `_meta`, nor a `_meta` that they leave empty."""
    meta = holder.get("_meta")
    if not isinstance(meta, dict):
        return holder
    kept = {key: value for key, value in meta.items() if key not in stamps}
    rest = {key: value for key, value in holder.items() if key != "_meta"}
    return {**rest, "_meta": kept} if kept else rest


def expected(method: str, direct: Json, *, client: Mode, server: Mode) -> Json:
    """Return what a client must receive for a result that `server` gave in its era.

    This is the whole of what the eras differ in: the type and the caching hints of 2026-07-28.
    """
    result = unstamped(direct, RESULT_STAMPS)
    if client == "handshake":
        return {key: value for key, value in result.items() if key not in MODERN_ONLY}
    if server == "handshake" and "error" not in result:
        hints = {"ttlMs": 0, "cacheScope": "private"} if method in CACHEABLE else {}
        return {"resultType": "complete", **hints, **result}
    return result


def received(outcome: Json) -> Json:
    """Return what a client received, ready to be compared."""
    return unstamped(outcome, RESULT_STAMPS)


def differences(expected: Any, got: Any) -> str:
    """Return where two JSON values differ, a line a place; empty means JSON-equal.

    Numbers are compared as written: `1`, `1.0` and `true` are three things.
    """
    return "\n".join(_differences(expected, got, "$"))


def _differences(expected: Any, got: Any, at: str) -> list[str]:
    if isinstance(expected, dict) and isinstance(got, dict):
        return [
            line for key in sorted({*expected, *got}) for line in _member(expected, got, key, f"{at}.{key}")
        ]
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = enumerate(zip(expected, got, strict=True))
        return [line for index, (a, b) in pairs for line in _differences(a, b, f"{at}[{index}]")]
    if type(expected) is type(got) and expected == got:
        return []
    return [f"{at}: expected {_short(expected)}, got {_short(got)}"]


def _member(expected: Json, got: Json, key: str, at: str) -> list[str]:
    if key not in got:
        return [f"{at}: missing, expected {_short(expected[key])}"]
    if key not in expected:
        return [f"{at}: not expected, got {_short(got[key])}"]
    return _differences(expected[key], got[key], at)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}…"


def stdio_tap(file: Path, *command: str) -> tuple[list[str], Tape]:
    """Return the command that runs `command` and keeps what passes in `file`, and the tape of it."""
    return [sys.executable, "-S", str(SCRIPT), str(file), *command], Tape(file)


@asynccontextmanager
async def http_tap(target: str) -> AsyncIterator[tuple[str, Tape]]:
    """Stand in front of the Streamable HTTP endpoint `target`; yields the tap's own URL and its tape."""
    tape = Tape()
    plain = {"accept-encoding": "identity"}
    async with httpx2.AsyncClient(headers=plain, timeout=httpx2.Timeout(30, read=None)) as client:
        tap = _HttpTap(target, client, tape)
        app = Starlette(routes=[Route("/mcp", tap.handle, methods=["GET", "POST", "DELETE"])])
        listener = free_port_socket()
        config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", tape
        finally:
            server.should_exit = True
            await serving
            listener.close()


class _HttpTap:
    def __init__(self, target: str, client: httpx2.AsyncClient, tape: Tape) -> None:
        self._target, self._client, self._tape = target, client, tape
        self._posts = 0

    async def handle(self, request: Request) -> Response:
        body = await request.body()
        headers = {name: value for name, value in request.headers.items() if name not in _DROPPED}
        self._posts += 1
        connection = headers.get("mcp-session-id", f"post-{self._posts}")
        if body:
            self._tape.keep(Heard("server", connection, json.loads(body), headers))
        outgoing = self._client.build_request(request.method, self._target, content=body, headers=headers)
        response = await self._client.send(outgoing, stream=True)
        kept = {name: value for name, value in response.headers.items() if name not in _DROPPED}
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            return StreamingResponse(self._events(response, connection), response.status_code, kept)
        content = await response.aread()
        await response.aclose()
        if response.headers.get("content-type", "").startswith("application/json"):
            self._tape.keep(Heard("client", connection, json.loads(content)))
        return Response(content, response.status_code, kept)

    async def _events(self, response: httpx2.Response, connection: str) -> AsyncIterator[bytes]:
        reader = sse.Reader(_LARGEST)
        try:
            async for chunk in response.aiter_raw():
                for event in reader.feed(chunk):
                    if event.data:
                        self._tape.keep(Heard("client", connection, json.loads(event.data)))
                yield chunk
        finally:
            await response.aclose()
