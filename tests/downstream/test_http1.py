"""HTTP/1.1 as the gateway serves it, byte by byte, with small applications behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from gateway.config.resolved import Limits
from gateway.downstream.connections import bounded_protocol
from gateway.downstream.cycle import App, Cycle
from tests.support.listening import free_port_socket

GET = b"GET /%b HTTP/1.1\r\nhost: here\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"


class Client:
    """One connection, as bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def heard(self, end: bytes) -> bytes:
        """Return what comes up to and with `end`."""
        async with asyncio.timeout(10):
            return await self.reader.readuntil(end)

    async def rest(self) -> bytes:
        """Return what comes until the server closes."""
        async with asyncio.timeout(10):
            return await self.reader.read()


@asynccontextmanager
async def client_of(app: App, keep_alive: int = 5, **limits: Any) -> AsyncIterator[Client]:
    """Serve an application on a real port, and connect to it."""
    listener = free_port_socket()
    settings = uvicorn.Config(
        app,
        log_config=None,
        lifespan="off",
        http=bounded_protocol(Limits(**limits)),
        date_header=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(settings)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        server.should_exit = True
        await serving


def answering(*parts: bytes, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> App:
    """Return an application that answers everything with the same body, in so many parts."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for number, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})

    return app


def sized(body: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"content-length", b"%d" % len(body)),)


async def mirror(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what was asked: method, path, query, names of headers, body."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    names = b",".join(name for name, _ in scope["headers"])
    parts = scope["method"].encode(), scope["path"].encode(), scope["query_string"], names, body
    said = b" ".join(parts)
    await send({"type": "http.response.start", "status": 200, "headers": sized(said)})
    await send({"type": "http.response.body", "body": said})


async def test_a_body_whose_length_is_not_said_comes_in_chunks() -> None:
    async with client_of(answering(b"one", b"two", b"")) as client:
        client.say(GET % b"")
        assert await client.heard(b"0\r\n\r\n") == (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        )


async def test_a_client_of_http_1_0_gets_no_chunks_but_the_end_of_the_connection() -> None:
    async with client_of(answering(b"one", b"two")) as client:
        client.say(b"GET / HTTP/1.0\r\n\r\n")
        assert await client.rest() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nonetwo"


@pytest.mark.parametrize(("status", "method"), [(204, b"GET"), (304, b"GET"), (200, b"HEAD")])
async def test_what_has_no_body_has_no_framing_of_one(status: int, method: bytes) -> None:
    async with client_of(answering(b"", status=status)) as client:
        client.say(GET.replace(b"GET", method) % b"")
        assert b"transfer-encoding" not in await client.heard(b"\r\n\r\n")
        client.say(GET.replace(b"GET", method) % b"")
        assert (await client.heard(b"\r\n\r\n")).startswith(b"HTTP/1.1 %d" % status)


async def test_a_head_says_the_length_of_the_body_that_it_leaves_out() -> None:
    async with client_of(answering(b"four", headers=sized(b"four"))) as client:
        client.say((GET.replace(b"GET", b"HEAD") % b"") + GET % b"")
        expected = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"
        assert await client.heard(b"four") == expected * 2 + b"four"


async def test_requests_in_a_row_are_answered_in_turn() -> None:
    first = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/a":
            await first.wait()
        await mirror(scope, receive, send)

    async with client_of(app) as client:
        client.say(GET % b"a" + GET % b"b" + GET % b"c")
        client.say(GET % b"d")
        first.set()
        said = await client.heard(b"GET /d  host ")
        assert [said.index(b"GET /" + name) for name in (b"a", b"b", b"c", b"d")] == sorted(
            said.index(b"GET /" + name) for name in (b"a", b"b", b"c", b"d")
        )


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        (b"/a%20b?q=%20", b"/a b q=%20"),
        (b"http://elsewhere.example/mcp?x", b"/mcp x"),
        (b"/" + b"l" * 400, b"/" + b"l" * 400 + b" "),
    ],
)
async def test_a_target_is_taken_apart(target: bytes, seen: bytes) -> None:
    async with client_of(mirror) as client:
        client.say(b"GET %b HTTP/1.1\r\nhost: here\r\n\r\n" % target)
        assert b"GET " + seen in await client.heard(b" host ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"CONNECT here:1 HTTP/1.1\r\nhost: here\r\n\r\n",
        b"no http at all\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
    ],
)
async def test_what_cannot_be_served_is_answered_and_ends_the_connection(request_bytes: bytes) -> None:
    async with client_of(mirror) as client:
        client.say(request_bytes)
        said = await client.rest()
        assert said.startswith(b"HTTP/1.1 400 Bad Request")
        assert b"connection: close" in said


async def test_trailers_are_no_headers() -> None:
    async with client_of(mirror) as client:
        client.say(CHUNKED + b"3\r\nabc\r\n0\r\nx-late: 1\r\n\r\n")
        assert (await client.heard(b"abc")).endswith(b"host,transfer-encoding abc")
        client.say(GET % b"next")
        assert b"/next  host " in await client.heard(b"host ")


async def test_a_client_that_waits_to_be_told_is_told_to_go_on() -> None:
    async with client_of(mirror) as client:
        client.say(b"POST / HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        assert await client.heard(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.say(b"abc")
        assert (await client.heard(b"abc")).startswith(b"HTTP/1.1 200 OK")


async def test_a_wish_for_another_protocol_is_not_granted_and_what_follows_it_is_not_read() -> None:
    async with client_of(mirror) as client:
        asked = b"GET / HTTP/1.1\r\nhost: here\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        client.say(asked + GET % b"smuggled")
        said = await client.rest()
        assert said.startswith(b"HTTP/1.1 200 OK")
        assert b"smuggled" not in said


async def failing(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("a defect")


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """Return without an answer."""


async def half(scope: Any, receive: Any, send: Any) -> None:
    """Say the head, and no more."""
    await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.mark.parametrize(
    "app",
    [
        failing,
        silent,
        half,
        answering(b"too much", headers=sized(b"little")),
        answering(b"little", headers=sized(b"too much")),
        answering(b"", headers=((b"x", b"injected\r\nset-cookie: a"),)),
        answering(b"", headers=((b"x y", b"no name"),)),
    ],
)
async def test_a_defect_costs_one_request_a_500_and_the_rest_of_it_nothing(app: App) -> None:
    async with client_of(app) as client:
        client.say(GET % b"")
        said = await client.rest()
        assert said.startswith(b"HTTP/1.1 500 Internal Server Error")
        assert said.endswith(b"Internal Server Error")


async def test_a_defect_in_the_middle_of_a_response_ends_the_connection() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await half(scope, receive, send)
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        raise ValueError("a defect")

    async with client_of(app) as client:
        client.say(GET % b"")
        assert (await client.rest()).endswith(b"begun\r\n")


async def test_a_head_without_a_body_yet_is_sent_with_the_first_part_even_an_empty_one() -> None:
    more = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await half(scope, receive, send)
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await more.wait()
        await send({"type": "http.response.body", "body": b"now", "more_body": False})

    async with client_of(app) as client:
        client.say(GET % b"")
        assert (await client.heard(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        more.set()
        assert await client.heard(b"0\r\n\r\n") == b"3\r\nnow\r\n0\r\n\r\n"


async def test_an_application_is_told_that_its_client_has_left() -> None:
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        told.set_result((await receive())["type"])

    async with client_of(app) as client:
        client.say(GET % b"")
        client.writer.close()
        async with asyncio.timeout(10):
            assert await told == "http.disconnect"


class GivenUp:
    """A connection that was aborted, of which its requests have not been told yet."""

    stalled = False
    default_headers = ()
    closed = 0

    @property
    def transport(self) -> Any:
        return self

    def is_closing(self) -> bool:
        return True

    def close(self) -> None:
        self.closed += 1

    def resume(self) -> None:
        raise AssertionError

    def write(self, data: bytes) -> None:
        raise RuntimeError(f"the transport is closed: {data!r}")


@pytest.mark.parametrize("app", [answering(b"too late"), silent, failing])
async def test_nothing_is_written_to_a_connection_that_was_given_up(app: App) -> None:
    wire: Any = GivenUp()
    cycle = Cycle(wire, {"method": "GET", "path": "/", "http_version": "1.1"}, keep_alive=True, expects=False)
    await cycle.run(app, set())
    assert wire.closed == 1


async def test_a_body_that_nobody_reads_is_not_taken_from_the_socket() -> None:
    read = asyncio.Event()
    size = 32 * 1024 * 1024

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read.wait()
        left, largest = size, 0
        while left:
            message = await receive()
            left -= len(message["body"])
            largest = max(largest, len(message["body"]))
        said = b"%d" % largest
        await send({"type": "http.response.start", "status": 200, "headers": sized(said)})
        await send({"type": "http.response.body", "body": said})

    async with client_of(app) as client:
        client.say(b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n" % size)
        client.say(b"x" * size)
        sending = asyncio.ensure_future(client.writer.drain())
        done, _ = await asyncio.wait((sending,), timeout=0.3)
        assert not done
        read.set()
        head = await client.heard(b"\r\n\r\n")
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        assert int(await client.reader.readexactly(length)) < 1024 * 1024


async def test_a_response_that_nobody_reads_waits_with_its_application() -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        headers = [(b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(512):
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            sent += 1
        await send({"type": "http.response.body", "body": b""})

    async with client_of(app) as client:
        client.say(GET % b"")
        await client.heard(b"\r\n\r\n")
        for _ in range(50):
            await asyncio.sleep(0)
        assert sent < 512
        assert (await client.rest()).endswith(b"\r\n0\r\n\r\n")
        assert sent == 512


async def test_a_connection_that_carries_nothing_is_closed_and_one_that_does_is_not() -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await mirror(scope, receive, send)

    async with client_of(app, keep_alive=1) as client:
        client.say(GET % b"")
        asyncio.get_running_loop().call_later(1.5, go_on.set)
        assert b"GET / " in await client.heard(b"host ")
        assert await client.rest() == b""
