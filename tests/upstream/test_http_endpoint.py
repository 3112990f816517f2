"""An endpoint's requests: what is sent where, what follows a redirect, what comes out of a body."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

import pytest

from gateway.config.resolved import ServerConfig
from gateway.errors import CallError
from gateway.upstream.addresses import Cookies
from gateway.upstream.http import Endpoint, TransportBroken, Unreachable
from gateway.upstream.response import Response
from tests.support.raw.httpd import Httpd, Reply, Request
from tests.support.raw.peers import HERE
from tests.support.raw.wire import OK, Part, Peer, wire

pytestmark = pytest.mark.usefixtures("no_proxies", "sockets")
MESSAGE = {"jsonrpc": "2.0", "method": "x"}
LIMIT = 1_000_000


class Used(Endpoint):
    """An endpoint that is used for as long as a block lasts."""

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(ServerConfig("web", "http", HERE, url=url, **settings), LIMIT)
        self.cookies = Cookies()

    async def __aenter__(self) -> Used:
        self.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()

    async def ask(self, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        """Return the status and the body of what answers."""
        message = MESSAGE if method == "POST" else None
        async with self.open(method, headers, message, cookies=self.cookies) as response:
            return response.status, await self.body(response)


# Header fields


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nX: y", "a\rX: y", "a\0", "a\ud800"])
async def test_a_header_that_would_be_more_than_one_is_refused_and_costs_no_connection(value: str) -> None:
    async with wire(OK) as server, Used(f"http://127.0.0.1:{server.port}/") as endpoint:
        for _ in range(2):  # with no connection at hand, and with one
            with pytest.raises(TransportBroken, match=r"a header holds .*, which no header can carry"):
                await endpoint.ask(**{"last-event-id": value})
            with pytest.raises(TransportBroken, match="a header holds"):
                if (
                    endpoint.begin({"mcp-session-id": value}, MESSAGE, endpoint.cookies, lambda _: None)
                    is None
                ):
                    await endpoint.ask("POST", **{"mcp-session-id": value})
            assert await endpoint.ask() == (200, b"ok")
        assert server.connections == 1
        assert len(server.requests) == 2


async def test_a_configured_header_that_would_be_more_than_one_is_refused() -> None:
    async with wire(OK) as server:
        async with Used(f"http://127.0.0.1:{server.port}/", headers={"A": "b\r\nC: d"}) as endpoint:
            with pytest.raises(TransportBroken, match="a header holds a line break"):
                await endpoint.ask()
        assert server.connections == 0


async def test_credentials_in_an_address_become_a_header_unless_there_is_one() -> None:
    async with wire(OK) as server:
        url = f"http://me:p%40ss@127.0.0.1:{server.port}/mcp?a=b#c"
        async with Used(url) as endpoint, Used(url, headers={"Authorization": "Bearer k"}) as other:
            await endpoint.ask()
            await other.ask()
        first, second = server.requests
        assert first.startswith(b"GET /mcp?a=b HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n" % server.port)
        assert b"authorization: Basic bWU6cEBzcw==\r\n" in first
        assert b"authorization: Bearer k\r\n" in second
        assert b"Basic" not in second


# Cookies


async def test_cookies_go_where_they_belong_for_as_long_as_they_last() -> None:
    set_cookies = [
        "all=1",
        "here=2; Path=/mcp",
        "elsewhere=3; Path=/other",
        "old=4; Max-Age=0",
        "past=5; Expires=Thu, 01 Jan 2015 00:00:00 GMT",
        "foreign=6; Domain=example.com",
        "secure=7; Secure",
        "odd=\xe9; Path=/; =; ;;",
    ]
    head = "".join(f"Set-Cookie: {value}\r\n" for value in set_cookies)
    answer = f"HTTP/1.1 200 OK\r\n{head}Content-Length: 0\r\n\r\n".encode("latin-1")
    async with wire(answer) as server, Used(f"http://127.0.0.1:{server.port}/mcp") as endpoint:
        await endpoint.ask()
        await endpoint.ask()
        first, second = server.requests
        assert b"cookie" not in first
        (line,) = [line for line in second.split(b"\r\n") if line.startswith(b"cookie: ")]
        named = {part.partition(b"=")[0].strip() for part in line.partition(b": ")[2].split(b";")}
        assert named == {b"all", b"here"}


# Redirects


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_where_it_keeps_the_method(status: int, method: str) -> None:
    async def serve(request: Request, reply: Reply) -> None:
        if request.path == "/mcp":
            await reply.send(status, b"over there", location="/there")
        else:
            await reply.send(200, request.method.encode() + request.body)

    follows = status in (307, 308) or method == "GET"
    async with Httpd(serve) as httpd, Used(f"{httpd.url}/mcp") as endpoint:
        answer = await endpoint.ask(method)
        body = b'{"jsonrpc":"2.0","method":"x"}' if method == "POST" else b""
        assert answer == ((200, method.encode() + body) if follows else (status, b"over there"))
        assert httpd.connections == 1


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/there",
        "http://localhost:{port}/there",
        "https://127.0.0.1:{port}/there",
        "http://127.0.0.1:1/there",
        "http://other@127.0.0.1:{port}/there",
        "//example.com/",
        "ftp://127.0.0.1/",
        "mailto:me@example.com",
        "http://[",
        "http://127.0.0.1:99999/",
    ],
)
async def test_a_redirect_elsewhere_is_not_followed_and_ends_with_words(location: str) -> None:
    async with wire() as server:
        there = location.format(port=server.port).encode("latin-1")
        answer = b"HTTP/1.1 307 Elsewhere\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % there

        async def play(peer: Peer) -> None:
            server.requests.append(await peer.request())
            await peer.send(answer)
            await peer.request()

        server.play = play
        async with Used(f"http://127.0.0.1:{server.port}/mcp") as endpoint:
            async with endpoint.open("POST", {}, MESSAGE, cookies=endpoint.cookies) as response:
                said, error = await endpoint.rejection(response)
        assert said is None
        assert "which is not followed; set it as the `url`" in error.reason
        assert len(server.requests) == 1


async def test_redirects_in_a_circle_end() -> None:
    async with wire(b"HTTP/1.1 307 Again\r\nLocation: /\r\nContent-Length: 0\r\n\r\n") as server:
        async with Used(f"http://127.0.0.1:{server.port}/") as endpoint:
            assert await endpoint.ask() == (307, b"")
        assert (len(server.requests), server.connections) == (6, 1)


async def test_http_may_become_https_on_their_own_ports_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def once(self: Endpoint, method: str, place: Any, *_: Any) -> Response:
        asked.append(str(place.url))
        response = Response(None, method, lambda _: None)  # pyright: ignore
        response.begin(301, [(b"Location", b"https://a.example/there")] if len(asked) == 1 else [])
        response.finish()
        return response

    monkeypatch.setattr(Endpoint, "_once", once)
    async with Used("http://a.example/here") as endpoint:
        await endpoint.ask()
    assert asked == ["http://a.example/here", "https://a.example/there"]


# Bodies


def packed(form: str, data: bytes) -> bytes:
    if form == "gzip":
        return gzip.compress(data)
    packer = zlib.compressobj(wbits=-15 if form == "raw deflate" else 15)
    return packer.compress(data) + packer.flush()


FORMS = {"gzip": b"gzip", "zlib": b"Deflate", "raw deflate": b"deflate"}


def encoded(form: str, *parts: bytes) -> list[Part]:
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part]
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % FORMS[form]
    return [head, *chunks, b"0\r\n\r\n"]


async def of(parts: list[Part]) -> bytes:
    async with wire(*parts) as server, Used(f"http://127.0.0.1:{server.port}/") as endpoint:
        return (await endpoint.ask())[1]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [0, 1, 100, 65_536, 300_000, LIMIT])
async def test_a_packed_body_is_unpacked_to_its_last_byte(form: str, size: int) -> None:
    data = bytes(range(256)) * (size // 512) + b"\0" * (size - size // 512 * 256)
    whole = packed(form, data)
    assert await of(encoded(form, whole)) == data
    assert await of(encoded(form, whole[:1], whole[1:2], whole[2:])) == data


async def test_an_event_in_a_packed_stream_comes_as_soon_as_it_is_there() -> None:
    packer = zlib.compressobj(wbits=31)
    got = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.request()
        first = packer.compress(b"data: " + b"\0" * 65_530 + b"\n\n") + packer.flush(zlib.Z_SYNC_FLUSH)
        head, chunk, _ = encoded("gzip", first)
        await peer.send(head)
        await peer.send(chunk)
        await got.wait()

    async with wire(play=play) as server, Used(f"http://127.0.0.1:{server.port}/") as endpoint:
        async with endpoint.open("GET", {}, cookies=endpoint.cookies) as response:

            def take(event: Any) -> bool:
                got.set()
                return True

            assert await endpoint.follow(response, take)


async def test_several_packed_parts_after_one_another_are_one_body() -> None:
    assert await of(encoded("gzip", packed("gzip", b"one, ") + packed("gzip", b"two"))) == b"one, two"


async def test_what_comes_after_a_packed_body_is_ignored() -> None:
    assert await of(encoded("gzip", packed("gzip", b"one") + b"garbage")) == b"one"


async def test_no_body_at_all_is_no_broken_one() -> None:
    assert await of(encoded("gzip")) == b""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", [1, -1])
async def test_a_packed_body_that_is_cut_short_is_told(form: str, cut: int) -> None:
    with pytest.raises(TransportBroken, match=f"in the middle of its {FORMS[form].decode().lower()}"):
        await of(encoded(form, packed(form, b"x" * 100)[:cut]))


async def test_a_packed_body_that_is_none_is_told() -> None:
    with pytest.raises(TransportBroken, match="its body is not gzip: "):
        await of(encoded("gzip", b"\xff" * 100))


@pytest.mark.parametrize("form", FORMS)
async def test_a_body_that_unpacks_to_any_size_is_stopped_at_the_limit_and_others_get_their_turn(
    form,
) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    going = asyncio.ensure_future(others())
    with pytest.raises(
        CallError, match=r"sent a body of more than 1000000 bytes; the limit is `limits.max_me"
    ):
        await of(encoded(form, packed(form, b"\0" * 30_000_000)))
    before = turns
    with pytest.raises(CallError, match="sent a body"):
        await of(encoded(form, packed(form, b"\0" * 30_000_000)))
    assert turns - before > LIMIT // 65_536
    going.cancel()
    await asyncio.wait({going})


async def test_an_encoding_that_nobody_asked_for_is_refused() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(CallError, match="content encoding 'gzip, gzip', and only gzip or deflate, once"):
        await of([head])


# Cancelling


@pytest.mark.parametrize("parts", [[], [OK[:30]], [OK[:-1]]], ids=["no head", "half a head", "half a body"])
async def test_a_cancelled_request_leaves_no_connection_and_no_task(parts: list[Part]) -> None:
    async def play(peer: Peer) -> None:
        server.requests.append(await peer.request())
        for part in parts:
            await peer.send(part)
        server.changed.set()
        await peer.request()

    async with wire(play=play) as server, Used(f"http://127.0.0.1:{server.port}/") as endpoint:
        asking = asyncio.ensure_future(endpoint.ask())
        await server.until(lambda server: bool(server.requests))
        await server.left_by(asking)


async def test_an_address_that_nothing_can_be_connected_to_says_so() -> None:
    async with Used("http://" + "a" * 64 + ".example/") as endpoint:
        with pytest.raises(Unreachable, match="cannot be reached: its host can be no name: "):
            await endpoint.ask()
