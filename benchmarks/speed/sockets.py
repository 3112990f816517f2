"""HTTP/1.1 for the driver: connections that carry one request at a time, and a pool of them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import cast
from urllib.parse import urlsplit

import httptools

KEPT = 3.0
"""Seconds an idle connection is used again: servers close theirs after five, perhaps as a request comes."""


class Broken(Exception):
    """The connection ended before the response did."""


class Connection(asyncio.Protocol):
    """One TCP connection that carries one request at a time."""

    def __init__(self) -> None:
        self.closed = False
        self.idle_since = 0.0
        self.transport: asyncio.Transport | None = None
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.headers: dict[str, str] = {}
        self.chunks: deque[bytes] = deque()
        self.done = False
        self._headed = False
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._wake()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._headed = True

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        self.done = True

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _more(self) -> None:
        if self.closed:
            raise Broken("the connection was closed before the end of the response")
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    @property
    def begun(self) -> bool:
        """Whether a response has a head and no end yet."""
        return self._headed and not self.done and not self.closed

    @property
    def status(self) -> int:
        """The response's HTTP status."""
        return self._parser.get_status_code()

    async def send(self, data: bytes) -> None:
        """Send one whole request and wait for the head of its response."""
        self._reset()
        assert self.transport is not None
        if self.closed:
            raise Broken("the connection was closed")
        self.transport.write(data)
        while not self._headed:
            await self._more()

    async def body(self) -> bytes:
        """Read the rest of the response."""
        while not self.done:
            await self._more()
        return b"".join(self.chunks)

    async def events(self) -> AsyncIterator[tuple[str, bytes]]:
        """Yield the id and data of each event of a stream that has data, as they come."""
        rest = b""
        while True:
            while self.chunks:
                rest += self.chunks.popleft()
                *whole, rest = rest.replace(b"\r\n", b"\n").split(b"\n\n")
                for block in whole:
                    event_id, data = _event(block)
                    if data:
                        yield event_id, data
            if self.done:
                return
            await self._more()

    def pause(self) -> None:
        """Read nothing more until `resume`."""
        assert self.transport is not None
        self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        assert self.transport is not None
        self.transport.resume_reading()

    def abort(self) -> None:
        """Break the connection."""
        if self.transport is not None:
            self.transport.abort()
        self.closed = True


def _event(block: bytes) -> tuple[str, bytes]:
    event_id, data = "", b""
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            data += line[5:].lstrip(b" ")
        elif line.startswith(b"id:"):
            event_id = line[3:].strip().decode()
    return event_id, data


class Pool:
    """Connections to one origin, used again once their response is over. `path` is the MCP endpoint."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.host, self.port, self.path = parts.hostname, parts.port or 80, parts.path or "/"
        self.headers = dict(headers or {})
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()

    async def connect(self) -> Connection:
        """Open a connection of its own."""
        _, connection = await asyncio.get_running_loop().create_connection(Connection, self.host, self.port)
        self._all = {each for each in self._all if not each.closed}
        self._all.add(connection)
        return connection

    def encoded(
        self, method: str, headers: Mapping[str, str], body: bytes = b"", path: str | None = None
    ) -> bytes:
        """Return one whole HTTP request."""
        head = [f"{method} {path or self.path} HTTP/1.1", f"host: {self.host}:{self.port}"]
        head += [f"{name}: {value}" for name, value in {**self.headers, **headers}.items()]
        return "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode("latin-1") + body

    async def send(
        self, method: str, headers: Mapping[str, str], body: bytes = b"", path: str | None = None
    ) -> Connection:
        """Send a request on an idle connection, or a new one; returns once the response has a head."""
        data = self.encoded(method, headers, body, path)
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and time.monotonic() - connection.idle_since < KEPT:
                break
            connection.abort()
        else:
            connection = await self.connect()
        try:
            await connection.send(data)
        except BaseException:
            connection.abort()
            raise
        return connection

    def release(self, connection: Connection) -> None:
        """Take a connection back: to be used again if its response is over, else to be broken."""
        if connection.done and not connection.closed and connection.headers.get("connection") != "close":
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.abort()

    def pause(self) -> bool:
        """Stop reading where a response has begun; False if there is none."""
        begun = [each for each in self._all if each.begun]
        for connection in begun:
            connection.pause()
        return bool(begun)

    def resume(self) -> None:
        """Read on everywhere."""
        for connection in self._all:
            if not connection.closed:
                connection.resume()

    def close(self) -> None:
        """Break every connection."""
        for connection in self._all:
            connection.abort()
