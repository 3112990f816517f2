"""HTTP/1.1 towards servers, on real sockets: what a response may look like, and how an exchange may end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest

from gateway.upstream.http_pool import HttpPool, Origin
from gateway.upstream.response import Broken, Response, TooLarge
from tests.support.raw.wire import END, OK, RESET, Part, Peer, wire

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


def pool_of(port: int) -> HttpPool:
    return HttpPool(Origin("http", "127.0.0.1", port))


async def begun(pool: HttpPool, request: bytes = REQUEST) -> Response:
    """Send a request; return once the response's head is there, or raise its error."""
    connection = pool.idle() or await pool.connect()
    head: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    response = connection.begin("POST", request, head.set_result)
    assert await head is response
    if response.error is not None:
        raise response.error
    return response


async def read(response: Response) -> bytes:
    body = b""
    while part := await response.next():
        body += part
    return body


async def collected(pool: HttpPool, limit: int = 1 << 20) -> tuple[Response, bytes]:
    """What `read` does, for the callback's taste."""
    connection = pool.idle() or await pool.connect()
    done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def end(outcome: bytes | Exception) -> None:
        if isinstance(outcome, Exception):
            done.set_exception(outcome)
        else:
            done.set_result(outcome)

    def head(response: Response) -> None:
        if response.error is not None:
            end(response.error)
        else:
            response.collect(limit, end)

    response = connection.begin("POST", REQUEST, head)
    return response, await done


async def both(*parts: Part) -> tuple[int, bytes, bool]:
    """Return status, body and whether the connection is kept, which are the same in either taste."""
    async with wire(*parts) as server:
        pool = pool_of(server.port)
        response = await begun(pool)
        read_so = response.status, await read(response), await kept(pool)
        response, body = await collected(pool)
        assert (response.status, body, await kept(pool)) == read_so
        pool.close()
        await server.until(lambda server: server.left == server.connections)
    return read_so


async def kept(pool: HttpPool) -> bool:
    """Whether what was read leaves a connection behind that can be used, once the loop has caught up."""
    for _ in range(5):
        await asyncio.sleep(0)
    return "0 open" not in repr(pool)


GOOD: dict[str, tuple[list[Part], tuple[int, bytes, bool]]] = {
    "a length": ([HEAD + b"Content-Length: 2\r\n\r\nok"], (200, b"ok", True)),
    "no body": ([HEAD + b"Content-Length: 0\r\n\r\n"], (200, b"", True)),
    "byte by byte": ([OK[i : i + 1] for i in range(len(OK))], (200, b"ok", True)),
    "chunks": ([CHUNKED, b"1\r\no\r\n", b"1\r\nk\r\n0\r\n\r\n"], (200, b"ok", True)),
    "extensions": ([CHUNKED + b'2;a=b;c="d"\r\nok\r\n0;e\r\n\r\n'], (200, b"ok", True)),
    "trailers": ([CHUNKED + b"2\r\nok\r\n0\r\nA: b\r\nC: d\r\n\r\n"], (200, b"ok", True)),
    "until the end": ([HEAD + b"\r\no", b"k", END], (200, b"ok", False)),
    "nothing until the end": ([HEAD + b"\r\n", END], (200, b"", False)),
    "100 and 103 before it": (
        [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", OK],
        (200, b"ok", True),
    ),
    "close": ([HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok"], (200, b"ok", False)),
    "1.0": ([b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"], (200, b"ok", False)),
    "1.0, kept": (
        [b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"],
        (200, b"ok", True),
    ),
    "1.0 with chunks, whose framing is not to be trusted again": (
        [
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"2\r\nok\r\n0\r\n\r\n",
        ],
        (200, b"ok", False),
    ),
    "204": ([b"HTTP/1.1 204 No Content\r\n\r\n"], (204, b"", True)),
    "204 that claims a body": ([b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n"], (204, b"", True)),
    "304": ([b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"], (304, b"", True)),
    "an offer to upgrade": (
        [HEAD + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok"],
        (200, b"ok", True),
    ),
    "a body beyond the head's limit": (
        [HEAD + b"Content-Length: 200000\r\n\r\n" + b"x" * 200_000],
        (200, b"x" * 200_000, True),
    ),
    # What follows is whole, and what nobody asked for: the next answer could not be told from it.
    "a second response": ([OK + OK], (200, b"ok", False)),
    "the begin of a second response": ([OK + b"H"], (200, b"ok", False)),
    "garbage after it": ([OK, b"garbage"], (200, b"ok", False)),
    "more after `close`": (
        [HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nokX"],
        (200, b"ok", False),
    ),
}


@pytest.mark.parametrize("name", GOOD)
async def test_a_response_is_read_to_its_end_and_no_further(name: str) -> None:
    parts, expected = GOOD[name]
    assert await both(*parts) == expected


NOT_HTTP = "its response is not HTTP: .+"
MIDDLE = "the server closed the connection in the middle of its response"
LONG = "the head of its response has more than 102400 bytes"
BAD: dict[str, tuple[list[Part], str]] = {
    "no HTTP": ([b"SSH-2.0-OpenSSH_9.6\r\n"], NOT_HTTP),
    "a request": ([b"GET / HTTP/1.1\r\n\r\n"], NOT_HTTP),
    "status 000": ([b"HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\n"], NOT_HTTP),
    "nothing": ([END], "the server disconnected without sending a response"),
    "a reset at once": ([RESET], "[Cc]onnection reset by peer"),
    "half a head": ([HEAD + b"Content-", END], "the server disconnected without sending a response"),
    "half a body": ([HEAD + b"Content-Length: 3\r\n\r\nok", END], MIDDLE),
    "half a chunk": ([CHUNKED + b"3\r\nok", END], MIDDLE),
    "no last chunk": ([CHUNKED + b"2\r\nok\r\n", END], MIDDLE),
    "a chunk that is longer": ([CHUNKED + b"1\r\nok\r\n0\r\n\r\n"], NOT_HTTP),
    "a chunk's size in words": ([CHUNKED + b"two\r\nok\r\n0\r\n\r\n"], NOT_HTTP),
    "a chunk's size beyond 64 bits": ([CHUNKED + b"1" * 17 + b"\r\n"], NOT_HTTP),
    "length and chunks": (
        [HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
        NOT_HTTP,
    ),
    "chunks and length": (
        [HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n"],
        NOT_HTTP,
    ),
    "a length after the chunks": ([CHUNKED + b"0\r\nContent-Length: 2\r\n\r\nok"], NOT_HTTP),
    "two lengths": ([HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"], NOT_HTTP),
    "a list of lengths": ([HEAD + b"Content-Length: 2, 2\r\n\r\nok"], NOT_HTTP),
    "a signed length": ([HEAD + b"Content-Length: +2\r\n\r\nok"], NOT_HTTP),
    "a folded field": ([HEAD + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n"], NOT_HTTP),
    "a space before the colon": ([HEAD + b"Content-Length : 0\r\n\r\n"], NOT_HTTP),
    "a space in a name": ([HEAD + b"Content Length: 0\r\n\r\n"], NOT_HTTP),
    "NUL in a value": ([HEAD + b"A: \0\r\nContent-Length: 0\r\n\r\n"], NOT_HTTP),
    "lines that end in LF": ([b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"], NOT_HTTP),
    "gzip in chunks": (
        [HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
        "its body is in transfer encoding 'gzip, chunked', which nobody asked for",
    ),
    "gzip until the end": ([HEAD + b"Transfer-Encoding: gzip\r\n\r\nok", END], "transfer encoding 'gzip'"),
    "chunks twice": (
        [HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
        "transfer encoding 'chunked, chunked'",
    ),
    "101": (
        [b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + OK],
        "it switched protocols, which nobody asked for",
    ),
    "101 to nothing": ([b"HTTP/1.1 101 Switching Protocols\r\n\r\n"], "it switched protocols"),
    "a head that is too long": ([HEAD + b"A: " + b"a" * 103_000 + b"\r\nContent-Length: 0\r\n\r\n"], LONG),
    "a head without end": ([HEAD + b"A: " + b"a" * 103_000], LONG),
    "interim responses without end": ([b"HTTP/1.1 100 Continue\r\n\r\n" * 5000], LONG),
    "too many fields": (
        [HEAD + b"a:\r\n" * 1000 + b"\r\n"],
        "the head of its response has more than 256 fields",
    ),
    "trailers without end": (
        [CHUNKED + b"2\r\nok\r\n0\r\nA: ", *[b"a" * 100_000] * 5],
        "more than 102400 bytes",
    ),
    "an extension without end": ([CHUNKED + b"2;a=", *[b"a" * 100_000] * 5], "more than 102400 bytes"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_response_that_is_broken_ends_in_words_and_its_connection_with_it(name: str) -> None:
    parts, words = BAD[name]
    async with wire(*parts) as server:
        pool = pool_of(server.port)
        with pytest.raises(Broken) as raised:
            await read(await begun(pool))
        assert re.search(words, str(raised.value)), raised.value
        with pytest.raises(Broken, match=words):
            await collected(pool)
        await server.until(lambda server: server.left == server.connections == 2)
        assert not await kept(pool)


async def test_what_came_before_the_break_can_be_read() -> None:
    sent = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"2\r\nok\r\n")
        await sent.wait()
        await peer.send(RESET)

    async with wire(play=play) as server:
        response = await begun(pool_of(server.port))
        assert await response.next() == b"ok"
        sent.set()
        with pytest.raises(Broken, match="onnection reset by peer"):
            await response.next()


async def test_headers_are_by_lower_case_name_and_repeated_ones_joined_but_for_cookies() -> None:
    head = HEAD + b"X-A: 1\r\nSet-Cookie: a=1, 2\r\nx-a:  2 \r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    async with wire(head) as server:
        response = await begun(pool_of(server.port))
        assert response.headers["x-a"] == "1, 2"
        assert response.cookies == ["a=1, 2", "b=2"]
        assert repr(response) == "<Response 200, complete, 0 bytes unread>"


@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_a_slow_reader_pauses_the_server_and_little_is_kept_meanwhile(framing: str) -> None:
    event = b"data: " + b"x" * 4090 + b"\r\n\r\n"
    each = b"%x\r\n%s\r\n" % (len(event), event) if framing == "chunked" else event
    head = CHUNKED if framing == "chunked" else HEAD + b"\r\n"
    sent = 0

    async def play(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(head)
        for _ in range(12_500):
            sent += len(event)
            await peer.send(each)
            server.changed.set()
        await peer.send(b"0\r\n\r\n" if framing == "chunked" else END)
        await peer.request()

    async with wire(play=play) as server:
        pool = pool_of(server.port)
        response = await begun(pool)
        got, most = 0, 0
        while True:
            before = -1
            while before != sent:  # the server gets no further
                before = sent
                for _ in range(20):
                    await asyncio.sleep(0)
            most = max(most, int(repr(response).split(", ")[2].split()[0]))
            for _ in range(100):
                if not (part := await response.next()):
                    break
                got += len(part)
            else:
                continue
            break
        assert got == 12_500 * len(event) > 50_000_000
        assert most <= 512 * 1024
        assert await kept(pool) == (framing == "chunked")
        pool.close()


async def test_a_body_in_many_small_parts_costs_what_it_weighs(loop_memory: Callable[[], int]) -> None:
    size = 400_000
    async with wire(CHUNKED, b"2\r\nab\r\n" * (size // 2), b"0\r\n\r\n") as server:
        pool = pool_of(server.port)
        before = loop_memory()
        _, body = await collected(pool, size)
        assert len(body) == size
        # The server's own copy, the body twice, and a read; not an object for each part.
        assert loop_memory() - before < 8 * size
        pool.close()


@pytest.fixture
def loop_memory():
    import tracemalloc

    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


async def test_a_body_beyond_its_limit_ends_the_connection() -> None:
    async with wire(CHUNKED, b"3\r\nabc\r\n", b"3\r\nabc\r\n") as server:
        pool = pool_of(server.port)
        with pytest.raises(TooLarge):
            await collected(pool, 5)
        await server.until(lambda server: server.left == 1)
        assert repr(pool).endswith("0 open, 0 idle>")


async def test_a_body_of_just_the_limit_is_no_larger() -> None:
    async with wire(CHUNKED, b"3\r\nabc\r\n", b"3\r\nabc\r\n0\r\n\r\n") as server:
        pool = pool_of(server.port)
        assert (await collected(pool, 6))[1] == b"abcabc"
        pool.close()


@pytest.mark.parametrize("parts", [[], [HEAD], [CHUNKED], [CHUNKED + b"1\r\nx\r\n"]], ids=str)
async def test_a_cancelled_exchange_closes_its_connection_and_calls_nobody(parts: list[Part]) -> None:
    called: list[object] = []

    async def play(peer: Peer) -> None:
        await peer.request()
        for part in parts:
            await peer.send(part)
        server.changed.set()
        server.requests.append(b"")
        await peer.request()

    def head(response: Response) -> None:
        response.collect(1000, called.append)

    async with wire(play=play) as server:
        pool = pool_of(server.port)
        connection = await pool.connect()
        response = connection.begin("POST", REQUEST, head)
        await server.until(lambda server: bool(server.requests))
        for _ in range(10):
            await asyncio.sleep(0)
        response.cancel()
        response.cancel()
        await server.until(lambda server: server.left == 1)
        assert called == []
        assert repr(pool).endswith("0 open, 0 idle>")


async def test_a_reader_that_is_cancelled_can_go_on_and_one_whose_exchange_is_cancelled_is_told() -> None:
    go = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await go.wait()
        await peer.send(b"2\r\nok\r\n")
        await peer.request()

    async with wire(play=play) as server:
        response = await begun(pool_of(server.port))
        reading = asyncio.ensure_future(response.next())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait({reading})
        go.set()
        assert await response.next() == b"ok"
        reading = asyncio.ensure_future(response.next())
        await asyncio.sleep(0)
        response.cancel()
        with pytest.raises(Broken, match="the exchange was cancelled"):
            await reading


async def test_an_answer_before_the_request_is_through_ends_the_connection_after_it() -> None:
    async def play(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await asyncio.Event().wait()

    async with wire(play=play) as server:
        pool = pool_of(server.port)
        body = b"x" * 20_000_000
        response = await begun(pool, b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert (response.status, await read(response)) == (413, b"no")
        assert not await kept(pool)


async def test_a_server_that_half_closes_while_it_reads_nothing_does_not_hold_the_exchange() -> None:
    async def play(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.write_eof()
        await asyncio.Event().wait()

    async with wire(play=play) as server:
        pool = pool_of(server.port)
        body = b"x" * 20_000_000
        with pytest.raises(Broken, match="the server disconnected without sending a response"):
            await begun(pool, b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert not await kept(pool)
