"""Calls that take no task of their own: on a connection that is at hand, whatever answers them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.config.resolved import ServerConfig
from gateway.errors import CallError, ConnectionLost
from gateway.upstream.dial import dialer_for
from gateway.upstream.port import Connection
from tests.support.raw.httpd import Httpd, Reply, Request
from tests.support.raw.peers import HERE, PROFILE, Recorder, call
from tests.support.raw.session import OK, Session, response
from tests.support.raw.wire import END, RESET, Part, Peer, Wire, wire

pytestmark = [
    pytest.mark.usefixtures("no_proxies", "sockets"),
    pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"]),
]
MODERN = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "x", "version": "1"},
}


@asynccontextmanager
async def modern(*parts: Part, limit: int = 1 << 20) -> AsyncIterator[tuple[Wire, Connection]]:
    """Yield a connection whose next call is answered with `parts`."""

    async def play(peer: Peer) -> None:
        while True:
            request = await peer.request()
            server.requests.append(request)
            server.changed.set()
            message = json.loads(request.partition(b"\r\n\r\n")[2])
            if message["method"] == "server/discover":
                await peer.send(whole(message["id"], MODERN))
                continue
            for part in parts:
                await peer.send(
                    part.replace(b"ID", str(message["id"]).encode()) if isinstance(part, bytes) else part
                )

    async with wire(play=play) as server:
        config = ServerConfig("web", "http", HERE, url=f"http://127.0.0.1:{server.port}/mcp")
        connection = await dialer_for(config, max_message_bytes=limit).dial(PROFILE, Recorder().listener)
        try:
            yield server, connection
        finally:
            await connection.aclose()


def whole(request_id: object, result: object, *fields: str) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result}).encode()
    head = ["HTTP/1.1 200 OK", "Content-Type: application/json", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


RESULT = b'{"jsonrpc":"2.0","id":ID,"result":{"content":[]}}'
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
CHUNK = b"%x\r\n%b\r\n0\r\n\r\n" % (len(RESULT) - 1, RESULT)  # the id has one digit, or this is no chunk


@pytest.mark.parametrize(
    "fields", [b"", b"Set-Cookie: odd=\xe9\r\n", b"Set-Cookie: =;;\xff\r\n", b"X-Y: \xff\r\n" * 200]
)
async def test_a_call_on_a_connection_at_hand_is_answered_there(fields: bytes) -> None:
    async with modern(CHUNKED + fields + b"\r\n", CHUNK) as (server, connection):
        for _ in range(3):
            assert await call(connection, "t") == OK
        assert server.connections == 1


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([END], "without sending a response"),
        ([RESET], "onnection reset by peer"),
        ([b"HTTP/1.1 200"], None),
        ([CHUNKED + b"\r\n5\r\n{", END], "in the middle of its response"),
        ([b"garbage\r\n\r\n"], "its response is not HTTP"),
        ([CHUNKED + b"Transfer-Encoding: gzip\r\n\r\n"], "in transfer encoding 'chunked, gzip'"),
    ],
)
async def test_a_call_whose_connection_breaks_is_lost_in_words_and_the_next_has_another(
    parts: list[Part], words: str | None
) -> None:
    async with modern(*parts) as (server, connection):
        for number in (2, 3):
            calling = asyncio.ensure_future(call(connection, "t"))
            if words is None:
                await server.until(lambda server, number=number: len(server.requests) == number)
                await server.peers[-1].send(END)
            with pytest.raises(ConnectionLost, match=words or "without sending a response"):
                await calling
        assert server.connections == 2
        assert not connection.closed.is_set()


async def test_a_body_beyond_the_limit_ends_its_call_and_its_connection() -> None:
    async with modern(CHUNKED + b"\r\n400\r\n" + b"x" * 1024 + b"\r\n", limit=1000) as (server, connection):
        with pytest.raises(CallError, match=r"more than 1000 bytes; the limit is `limits.max_message_bytes`"):
            await call(connection, "t")
        await server.until(lambda server: server.left == 1)


@pytest.mark.parametrize("parts", [[], [CHUNKED], [CHUNKED + b"\r\n5\r\n{"], [CHUNKED + b"\r\n"]], ids=str)
async def test_a_cancelled_call_closes_its_connection_and_is_heard_of_no_more(parts: list[Part]) -> None:
    async with modern(*parts) as (server, connection):
        calling = asyncio.ensure_future(call(connection, "t"))
        await server.until(lambda server: len(server.requests) == 2)
        await server.left_by(calling)


async def test_a_redirected_call_is_answered_and_its_connection_used_again() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        await reply.send_json(response(request))

    server = Session(tool)

    async def redirecting(request: Request, reply: Reply) -> None:
        if request.path == "/mcp":
            await reply.send(307, b"over there", location="/mcp/")
        else:
            await server(request, reply)

    async with Httpd(redirecting) as httpd:
        config = ServerConfig("web", "http", HERE, url=f"{httpd.url}/mcp", era="handshake")
        connection = await dialer_for(config).dial(PROFILE, Recorder().listener)
        before = httpd.connections
        for _ in range(5):
            assert await call(connection, "t") == OK
        assert httpd.connections == before
        await connection.aclose()
