"""A small HTTP proxy: it forwards to the port it is told, of this machine for every host, and remembers."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.support.raw.wire import Peer, wire


@dataclass
class Proxy:
    """`asked` are the heads of its requests; `answer` is what it says to CONNECT instead of forwarding."""

    answer: bytes = b""
    after: bytes = b""
    asked: list[bytes] = field(default_factory=list)
    port: int = 0

    async def play(self, peer: Peer) -> None:
        head = await peer.request()
        self.asked.append(head)
        method, target, _ = head.decode().split(" ", 2)
        if self.answer:
            await peer.send(self.answer)
            await peer.reader.read()
            return
        there = urlsplit(f"//{target}" if method == "CONNECT" else target)
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
        if method == "CONNECT":
            await peer.send(b"HTTP/1.1 200 Connection Established\r\nX-Proxy: yes\r\n\r\n" + self.after)
        else:
            writer.write(head)
        try:
            await asyncio.gather(_copy(peer.reader, writer), _copy(reader, peer.writer))
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def proxy(
    answer: bytes = b"", after: bytes = b"", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Proxy]:
    built = Proxy(answer, after)
    async with wire(play=built.play, tls=tls) as server:
        built.port = server.port
        yield built
