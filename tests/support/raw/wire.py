"""A server on a real loopback port that sends exact bytes, whether or not they are HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

END = "the server closes the connection"
RESET = "the server resets the connection"
Part = bytes | str
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Peer:
    """One connection, as the server has it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """Read one request; raises IncompleteReadError where there is none."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return head + await self.reader.readexactly(int(line.partition(b":")[2]))
        return head

    async def send(self, part: Part) -> None:
        """Send bytes, in a packet of their own if the system will have it so; or END, or RESET."""
        if part is END:
            self.writer.close()
        elif part is RESET:
            # Once what was sent is there; a reset takes what is still on its way with it.
            now = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
            self.writer.transport.abort()
        else:
            assert isinstance(part, bytes)
            self.writer.write(part)
            await self.writer.drain()
        await asyncio.sleep(0)


Play = Callable[[Peer], Awaitable[None]]


@dataclass
class Wire:
    """`requests` are as they came; `connections` and `left` count those opened and those over."""

    play: Play
    tls: ssl.SSLContext | None = None
    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    left: int = 0
    peers: list[Peer] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, true: Callable[[Wire], bool]) -> None:
        async with asyncio.timeout(10):
            while not true(self):
                self.changed.clear()
                await self.changed.wait()

    async def left_by(self, asking: asyncio.Future[Any]) -> None:
        """Cancel who waits for an answer, once what was sent of it is there; its connection must be left."""
        for _ in range(10):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled()
        await self.until(lambda server: server.left == 1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        peer = Peer(reader, writer)
        self.peers.append(peer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.play(peer)
        finally:
            self.left += 1
            self.changed.set()
            writer.transport.abort()


@asynccontextmanager
async def wire(
    *parts: Part, play: Play | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Wire]:
    """Answer every request with `parts`, or have `play` do with each connection what it likes."""

    async def answer(peer: Peer) -> None:
        while True:
            built.requests.append(await peer.request())
            built.changed.set()
            for part in parts:
                await peer.send(part)

    built = Wire(play or answer)
    tasks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(built.serve(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=tls)
    built.port = server.sockets[0].getsockname()[1]
    try:
        yield built
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
