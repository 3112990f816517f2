"""Clients that break off, flood, crawl and never read, at a real gateway: others are served all the while."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.interop.faults.storm import SERVER, Count, settles_to, steady_calls
from tests.support.gateway import Running, running_gateway
from tests.support.raw.peers import entry_of, raw_server
from tests.support.raw_http import BOTH, call, exchange, http, initialize, modern

pytestmark = pytest.mark.extensive

Json = dict[str, Any]
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


@asynccontextmanager
async def gateway_of(folder: Path, **limits: Any) -> AsyncIterator[Running]:
    async with raw_server("stdio-handshake", script=SERVER) as bad, raw_server("stdio-handshake") as pipe:
        servers = [entry_of("bad", bad), entry_of("pipe", pipe)]
        async with running_gateway(
            folder, {"external_mcp": {"servers": servers}, "limits": limits}
        ) as gateway:
            yield gateway


@asynccontextmanager
async def connection(gateway: Running) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.base.rpartition(":")[2]))
    try:
        yield reader, writer
    finally:
        writer.close()


def post(body: bytes, length: int | None = None, **headers: str) -> bytes:
    """A whole POST, or one that promises `length` bytes."""
    given = {
        **BOTH,
        "host": "127.0.0.1",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    size = len(body) if length is None else length
    return f"POST /mcp HTTP/1.1\r\n{lines}content-length: {size}\r\n\r\n".encode() + body


async def refusal(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Read one response to the end of its connection; returns its status and its error's message."""
    whole = await asyncio.wait_for(reader.read(), 20)
    head, _, body = whole.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["message"]


def calls(gateway: Running) -> int:
    return sum(server.calls for server in gateway.gateway.servers())


def works(gateway: Running) -> bool:
    """Whether the call to the bad server still runs."""
    return any(server.calls for server in gateway.gateway.servers() if server.name == "bad")


def holds(gateway: Running, port: int) -> bool:
    """Whether the gateway still has its end of the connection from this port."""
    own = int(gateway.base.rpartition(":")[2])
    pairs = [(one.laddr.port, one.raddr.port) for one in psutil.Process().net_connections() if one.raddr]
    return (own, port) in pairs


async def until(reached: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if reached():
                return
            await asyncio.sleep(0.01)


def reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("era", ["handshake", "modern"])
async def test_a_client_that_leaves_in_mid_call_leaves_nothing_behind(
    tmp_path: Path, era: str, how: str
) -> None:
    async with gateway_of(tmp_path) as gateway, http(gateway) as client:
        before = await Count.at_rest(gateway)
        session: dict[str, str] = await initialize(client) if era == "handshake" else {}
        message = call("bad__hang", 7)
        sent = modern(message) if era == "modern" else {"json": message, "headers": session}
        async with connection(gateway) as (_, writer):
            extra = {name.replace("-", "_"): value for name, value in sent["headers"].items()}
            writer.write(post(json.dumps(sent["json"]).encode(), **extra))
            await writer.drain()
            await until(lambda: calls(gateway) == 1)
            reset(writer) if how == "RST" else writer.close()
        if session:
            # In this era a broken stream is no cancellation; the end of the session is.
            await client.delete("/mcp", headers=session)
        await client.aclose()
        await until(lambda: calls(gateway) == 0)
        assert len(gateway.gateway._in_flight) == 0
        if era == "handshake":
            await settles_to(gateway, before)


@pytest.mark.timeout(120)
async def test_a_flood_to_a_client_that_does_not_read_costs_bounded_memory_and_keeps_the_result(
    tmp_path: Path,
) -> None:
    async with gateway_of(tmp_path) as gateway, http(gateway) as client:
        session = await initialize(client)
        params = {"level": "info", "data": "x" * 1000}
        flood = call("bad__flood", 1, count=100_000, method="notifications/message", params=params)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with unread(gateway, flood, session) as (reader, writer), steady_calls(gateway, "pipe"):
            await until(lambda: works(gateway))
            await until(lambda: not works(gateway))
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            got = await rest(reader)
        assert b'"text":"ok"' in got
        # The flood was 110 MB; what had been dropped of it never came.
        assert len(got) < 40_000_000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # kilobytes


async def test_a_client_that_takes_nothing_of_a_large_result_is_disconnected(tmp_path: Path) -> None:
    async with gateway_of(tmp_path, stalled_seconds=0.5) as gateway, http(gateway) as client:
        session = await initialize(client)
        large = call("bad__big", 1, bytes=40_000_000)
        async with unread(gateway, large, session) as (reader, writer):
            await until(lambda: works(gateway))
            await until(lambda: not works(gateway) and not gateway.gateway._in_flight)
            await until(lambda: not holds(gateway, writer.get_extra_info("sockname")[1]))
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len(await rest(reader)) < 40_000_000


@asynccontextmanager
async def unread(
    gateway: Running, message: Json, session: dict[str, str]
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Send a request on a connection of its own, and read nothing of the response."""
    async with connection(gateway) as (reader, writer):
        headers = {name.replace("-", "_"): value for name, value in session.items()}
        writer.write(post(json.dumps(message).encode(), connection="close", **headers))
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        yield reader, writer


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Read until the connection ends, in whatever way."""
    got = bytearray()
    with contextlib.suppress(ConnectionError):
        while chunk := await asyncio.wait_for(reader.read(1 << 16), 20):
            got += chunk
    return bytes(got)


async def test_bodies_that_crawl_heads_that_have_no_end_and_strangers_bytes_are_refused_by_name(
    tmp_path: Path,
) -> None:
    small = {"request_timeout_seconds": 0.5, "max_header_bytes": 2048, "max_headers": 20}
    async with gateway_of(tmp_path, max_body_bytes=10_000, **small) as gateway, steady_calls(gateway, "pipe"):
        cases = [
            (post(b"{", 100), 408, "limits.request_timeout_seconds"),
            (b"POST /mcp HT", 408, "limits.request_timeout_seconds"),
            (b"", 408, "limits.request_timeout_seconds"),
            (post(PING, x_big="x" * 3000), 431, "limits.max_header_bytes"),
            (b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\n\r\n", 431, "limits.max_header_bytes"),
            (b"GET / HTTP/1.1\r\nx: " + b"y" * 300_000, 431, "limits.max_header_bytes"),
            (post(PING, **{f"x{n}": "y" for n in range(20)}), 431, "limits.max_headers"),
            (b"\x16\x03\x01\x02\x00 this is no HTTP\r\n\r\n", 400, "Invalid HTTP request"),
        ]
        for sent, status, words in cases:
            async with connection(gateway) as (reader, writer):
                writer.write(sent)
                if status == 431 and len(sent) > 100_000:
                    await writer.drain()
                    writer.write(b"y" * 1000)
                said = await refusal(reader)
                assert said[0] == status, (sent[:40], said)
                assert words in said[1], (sent[:40], said)


async def test_a_chunked_body_without_end_is_refused_and_then_cut_off(tmp_path: Path) -> None:
    async with (
        gateway_of(tmp_path, max_body_bytes=10_000) as gateway,
        connection(gateway) as (reader, writer),
    ):
        head = b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        writer.write(head + b"transfer-encoding: chunked\r\n\r\n")
        with pytest.raises(ConnectionError):
            for _ in range(100_000):
                writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
                await asyncio.wait_for(writer.drain(), 20)
        del reader


@pytest.mark.timeout(120)
async def test_ten_thousand_pipelined_requests_are_all_answered_and_cost_nobody_else(tmp_path: Path) -> None:
    async with gateway_of(tmp_path) as gateway, steady_calls(gateway, "pipe") as steady:
        async with http(gateway) as client:
            session = await initialize(client)
        async with connection(gateway) as (reader, writer):
            headers = {name.replace("-", "_"): value for name, value in session.items()}
            one = post(PING, **headers)

            async def send() -> None:
                for _ in range(100):
                    writer.write(one * 100)
                    await writer.drain()

            sending, answered = asyncio.create_task(send()), 0
            while answered < 10_000:
                answered += (await asyncio.wait_for(reader.readuntil(b'"result":{}}'), 20)).count(
                    b"HTTP/1.1 200"
                )
            await sending
        assert steady.slowest < 10


@pytest.mark.timeout(120)
async def test_a_thousand_sessions_come_and_go_and_their_streams_are_opened_again_and_again(
    tmp_path: Path,
) -> None:
    async with gateway_of(tmp_path, max_sessions=1000) as gateway:
        before = await Count.at_rest(gateway)
        async with http(gateway) as client:
            sessions = [await initialize(client) for _ in range(1000)]
            hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}}
            full = await client.post("/mcp", json=hello)
            assert (full.status_code, "limits.max_sessions" in full.text) == (503, True)
            for _ in range(100):
                async with client.stream("GET", "/mcp", headers=sessions[0]) as stream:
                    assert stream.status_code == 200
            request = {"json": call("pipe__echo", 1, n=1), "headers": sessions[0]}
            assert "result" in (await exchange(client, request))[-1]
            for session in sessions:
                await client.delete("/mcp", headers=session)
        await settles_to(gateway, before)


async def test_connections_beyond_the_limit_are_told_so(tmp_path: Path) -> None:
    async with gateway_of(tmp_path, max_connections=2) as gateway:
        async with connection(gateway), connection(gateway), connection(gateway) as (reader, _):
            assert await refusal(reader) == (
                503,
                "2 connections are open (limits.max_connections); try later",
            )


async def test_deep_nesting_passes_at_its_limit_and_is_refused_by_name_beyond_it(tmp_path: Path) -> None:
    async with gateway_of(tmp_path, max_nesting=20) as gateway, http(gateway) as client:
        session = await initialize(client)

        def nested(levels: int) -> bytes:
            # The message, its params and the arguments are three levels themselves.
            inside = "[" * (levels - 3) + "]" * (levels - 3)
            return json.dumps(call("bad__ok", 1, x=0)).replace('"x": 0', f'"x": {inside}').encode()

        passed = await client.post("/mcp", content=nested(20), headers=session)
        assert passed.json()["result"]["content"] == [{"type": "text", "text": "ok"}]
        for levels in (21, 1000, 100_000):
            refused = await client.post("/mcp", content=nested(levels), headers=session)
            assert refused.status_code == 400
            assert "more than 20 levels deep (limits.max_nesting)" in refused.json()["error"]["message"]
