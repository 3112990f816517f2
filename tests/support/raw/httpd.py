"""A small HTTP/1.1 server on a real loopback port, for servers that behave in any way a test wants.

Standard library only, so that a process of it starts in no time. A handler gets the request
and a `Reply` to write to; what it does not write is not sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    """Which TCP connection brought it, counted from 1."""

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass
class Reply:
    """Writes one response; `left` is set when the client closes the connection meanwhile."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    left: asyncio.Event = field(default_factory=asyncio.Event)
    streaming: bool = False
    finished: bool = False

    async def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        named = {"content-length": str(len(body)), **{k.replace("_", "-"): v for k, v in headers.items()}}
        self._head(status, named)
        self.writer.write(body)
        self.finished = True
        await self.writer.drain()

    async def send_json(self, message: Any, status: int = 200, **headers: str) -> None:
        await self.send(status, json.dumps(message).encode(), content_type="application/json", **headers)

    async def stream(self, **headers: str) -> None:
        """Begin an event stream."""
        self._head(
            200,
            {
                "content-type": "text/event-stream",
                "transfer-encoding": "chunked",
                **{k.replace("_", "-"): v for k, v in headers.items()},
            },
        )
        self.streaming = True
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self.writer.drain()

    async def event(self, message: Any, event_id: str | None = None, name: str = "message") -> None:
        data = message if isinstance(message, str) else json.dumps(message)
        head = "" if event_id is None else f"id: {event_id}\n"
        await self.chunk(f"{head}event: {name}\ndata: {data}\n\n".encode())

    async def end(self) -> None:
        """End the event stream properly."""
        self.finished = True
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    def abort(self) -> None:
        """Break the connection off."""
        self.writer.transport.abort()

    def _head(self, status: int, headers: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} Status", *(f"{key}: {value}" for key, value in headers.items())]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())


Handler = Callable[[Request, Reply], Awaitable[None]]


class Httpd:
    """Serves `handler`; `requests` keeps what came, `connections` counts TCP connections."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests: list[Request] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Httpd:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        number = self.connections
        try:
            with contextlib.suppress(ConnectionError):
                while (request := await _read(reader, number)) is not None:
                    self.requests.append(request)
                    reply = Reply(reader, writer)
                    if not await self._respond(request, reply):
                        return
        finally:
            self._open.discard(task)
            writer.close()

    async def _respond(self, request: Request, reply: Reply) -> bool:
        """Run the handler while watching for the client to leave; False ends the connection."""
        watching = asyncio.ensure_future(_gone(reply))
        try:
            await self.handler(request, reply)
        except ConnectionError:
            return False
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return reply.finished and not reply.left.is_set()


async def _gone(reply: Reply) -> None:
    # The client sends nothing while it waits for a response, so a readable end means that it left.
    # `_buffer` is looked at rather than read, lest a pipelined request be swallowed.
    while not reply.reader.at_eof():
        if reply.reader._buffer:  # type: ignore[attr-defined]
            return
        await reply.reader._wait_for_data("gone")  # type: ignore[attr-defined]
    reply.left.set()


async def _read(reader: asyncio.StreamReader, number: int) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {}
    for line in lines:
        key, _, value = line.partition(":")
        if key:
            headers[key.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body, number)
