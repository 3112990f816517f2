"""An HTTP server on a real loopback port that answers as scripted and keeps every byte.

A script is a list of steps, one for each request in order of arrival. A request beyond the
script is answered with status 599 and noted in `unexpected`, so that a hidden retry shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request as it arrived; `raw` is all of its bytes, header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Exchange:
    """What a step works with."""

    request: Request
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: ScriptedHttp


Step = Callable[[Exchange], Awaitable[None]]


@dataclass
class ScriptedHttp:
    """`arrived` is set by each request, `client_left` when a client closes while it waits.

    `otherwise` takes every request beyond the script, where the test expects any number.
    """

    script: list[Step]
    otherwise: Step | None = None
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    unexpected: list[Request] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    client_left: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def last(self) -> Request:
        return self.requests[-1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                if self.script:
                    step = self.script.pop(0)
                elif self.otherwise is not None:
                    step = self.otherwise
                else:
                    self.unexpected.append(request)
                    step = answer({"error": "not in the script"}, status=599)
                self.arrived.set()
                await step(Exchange(request, reader, writer, self))
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, path, _ = first.split(" ", 2)
    return Request(method, path, headers, body, head + body)


@asynccontextmanager
async def scripted_http(*script: Step, otherwise: Step | None = None) -> AsyncIterator[ScriptedHttp]:
    """Serve the script on a free loopback port."""
    scripted = ScriptedHttp(list(script), otherwise)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await scripted._serve(reader, writer)
        tasks.discard(task)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    scripted.port = server.sockets[0].getsockname()[1]
    try:
        yield scripted
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _head(status: int, headers: Sequence[tuple[str, str]], length: int) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", f"content-length: {length}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(
    body: Any,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    content_type: str = "application/json",
) -> Step:
    """Answer; `body` is bytes, or becomes JSON."""

    async def step(exchange: Exchange) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = [("content-type", content_type), *(headers or {}).items()]
        exchange.writer.write(_head(status, fields, len(data)) + data)
        await exchange.writer.drain()

    return step


def truncated(body: Any) -> Step:
    """Promise the whole body, send half of it, and close."""

    async def step(exchange: Exchange) -> None:
        data = json.dumps(body).encode()
        exchange.writer.write(
            _head(200, [("content-type", "application/json")], len(data)) + data[: len(data) // 2]
        )
        await exchange.writer.drain()
        exchange.writer.close()

    return step


def reset() -> Step:
    """Break the connection with a TCP reset, without an answer."""

    async def step(exchange: Exchange) -> None:
        raw = exchange.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        exchange.writer.transport.abort()

    return step


def silence() -> Step:
    """Never answer; `client_left` is set when the client closes its connection."""

    async def step(exchange: Exchange) -> None:
        with contextlib.suppress(ConnectionError):
            while await exchange.reader.read(1024):
                pass
        exchange.server.client_left.set()

    return step


def unused_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
