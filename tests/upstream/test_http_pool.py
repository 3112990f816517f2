"""Connections to servers: opened in every way there is, kept a moment, and closed however opening fails."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from gateway.upstream import http_pool
from gateway.upstream.http_pool import HttpPool, NotConnected, Origin
from gateway.upstream.response import Broken, Response
from tests.support import stepped_loop
from tests.support.raw.proxy import proxy
from tests.support.raw.wire import END, OK, Peer, wire

pytestmark = pytest.mark.usefixtures("no_proxies")
both_loops = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def http(port: int, host: str = "127.0.0.1", scheme: str = "http") -> HttpPool:
    return HttpPool(Origin(scheme, host, port))


async def ask(pool: HttpPool) -> bytes:
    connection = pool.idle() or await pool.connect()
    head: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    response = connection.begin("GET", REQUEST, head.set_result)
    if (await head).error is not None:
        raise response.error or AssertionError
    body = b""
    while part := await response.next():
        body += part
    return body


async def test_a_connection_is_used_again_and_the_last_one_first() -> None:
    async with wire(OK) as server:
        pool = http(server.port)
        first, second = await pool.connect(), await pool.connect()
        for connection in (first, second):
            pool.keep(connection)
        assert pool.idle() is second
        pool.keep(second)
        assert await ask(pool) == await ask(pool) == b"ok"
        assert (server.connections, pool.idle(), pool.idle(), pool.idle()) == (2, second, first, None)
        pool.close()


async def test_only_so_many_are_kept_and_closing_ends_what_is_kept_and_what_is_carried(monkeypatch) -> None:
    monkeypatch.setattr(http_pool, "_MOST_IDLE", 3)
    async with wire() as server:
        pool = http(server.port)
        connections = [await pool.connect() for _ in range(6)]
        answers: list[Response] = []
        carrying = connections.pop().begin("GET", REQUEST, answers.append)
        for connection in connections:
            pool.keep(connection)
        await server.until(lambda server: server.left == 2)
        assert repr(pool).endswith(f"{server.port}, 4 open, 3 idle>")
        pool.close()
        assert answers == [carrying]
        assert isinstance(carrying.error, Broken)
        await server.until(lambda server: server.left == 6)
        assert repr(pool).endswith("0 open, 0 idle>")


def test_an_idle_connection_is_closed_after_4_s_and_no_earlier() -> None:
    async def scenario(loop: stepped_loop.SteppedLoop) -> None:
        async with wire(OK) as server:
            pool = http(server.port)
            pool.keep(await pool.connect())
            loop.pass_time(3)
            pool.keep(await pool.connect())
            await asyncio.sleep(0)
            assert repr(pool).endswith("2 open, 2 idle>")
            loop.pass_time(1)
            await server.until(lambda server: server.left == 1)
            assert repr(pool).endswith("1 open, 1 idle>")
            assert await ask(pool) == b"ok"
            loop.pass_time(3.9)
            await asyncio.sleep(0)
            assert repr(pool).endswith("1 open, 1 idle>")
            loop.pass_time(0.1)
            await server.until(lambda server: server.left == 2)
            assert repr(pool).endswith("0 open, 0 idle>")

    stepped_loop.run(scenario)


@both_loops
@pytest.mark.usefixtures("sockets")
@pytest.mark.parametrize("last", [END, b"unasked"])
async def test_a_connection_that_its_server_closes_is_not_handed_out(last: bytes | str) -> None:
    async with wire(OK) as server:
        pool = http(server.port)
        assert await ask(pool) == b"ok"
        await server.peers[0].send(last)
        async with asyncio.timeout(5):
            while "1 idle" in repr(pool):
                # Whenever one is handed out it is not known to be closed.
                if (connection := pool.idle()) is not None:
                    assert connection.usable
                    pool.keep(connection)
                await asyncio.sleep(0)
        assert await ask(pool) == b"ok"
        assert server.connections == 2
        pool.close()


async def test_a_connection_that_opens_while_the_pool_closes_is_closed_too(sockets: None) -> None:
    async with wire(OK) as server:
        pool = http(server.port)
        connecting = asyncio.ensure_future(pool.connect())
        await asyncio.sleep(0)
        pool.close()
        with pytest.raises(NotConnected, match="closed at once"):
            await connecting
        await server.until(lambda server: server.left == server.connections)


def addresses(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Make every name stand for these addresses."""
    real = asyncio.get_running_loop().getaddrinfo

    async def getaddrinfo(host: str, port: int, **options: Any):
        if host in hosts:
            return await real(host, port, **options)
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, (each, port)) for each in hosts]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


@pytest.fixture
def deaf():
    """A port at which nothing is refused and nothing taken."""
    with socket.create_server(("127.0.0.2", 0), backlog=0) as listener:
        full = [socket.socket() for _ in range(4)]
        for each in full:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for each in full:
            each.close()


@both_loops
@pytest.mark.usefixtures("sockets")
@pytest.mark.parametrize("dead", ["127.0.0.2", "127.0.0.3"])
async def test_a_name_s_second_address_is_tried_when_the_first_is_dead_or_refuses(
    monkeypatch, deaf: int, dead: str
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.read()
        writer.close()

    monkeypatch.setattr(http_pool, "_STAGGER", 0.02)
    async with await asyncio.start_server(answer, "127.0.0.1", deaf):
        addresses(monkeypatch, dead, "127.0.0.1")
        pool = http(deaf, "two.example")
        assert await ask(pool) == b"ok"
        pool.close()
        await asyncio.sleep(0.01)


@both_loops
@pytest.mark.usefixtures("sockets")
async def test_a_server_that_does_not_take_a_connection_is_given_up(monkeypatch, deaf: int) -> None:
    monkeypatch.setattr(http_pool, "_CONNECT_TIMEOUT", 0.05)
    with pytest.raises(NotConnected, match=r"^no connection within 0.05 s$"):
        await http(deaf, "127.0.0.2").connect()


@both_loops
@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("127.0.0.1", "^Connection refused$"),
        ("a." * 40 + "x" * 64, "its host can be no name"),
        ("a..b", "its host can be no name|[Nn]ame or service"),
    ],
)
async def test_what_cannot_be_connected_to_is_said_in_words(host: str, words: str) -> None:
    with pytest.raises(NotConnected, match=words):
        await http(1, host).connect()


async def test_a_host_may_be_an_ipv6_address() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "::1", 0) as server:
        pool = http(server.sockets[0].getsockname()[1], "::1")
        assert await ask(pool) == b"ok"
        pool.close()
        await asyncio.sleep(0.01)


# TLS


@both_loops
@pytest.mark.usefixtures("sockets")
async def test_tls_trusts_the_authority_that_the_environment_names(monkeypatch, signed) -> None:
    authority, context = signed
    context.set_alpn_protocols(["h2", "http/1.1"])
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    async with wire(OK, tls=context) as server:
        pool = http(server.port, "localhost", "https")
        assert await ask(pool) == await ask(pool) == b"ok"
        chosen = server.peers[0].writer.get_extra_info("ssl_object").selected_alpn_protocol()
        assert (server.connections, chosen) == (1, "http/1.1")
        pool.close()


@both_loops
@pytest.mark.usefixtures("sockets")
@pytest.mark.parametrize(
    ("host", "authority", "words"),
    [
        ("localhost", None, "unable to get local issuer certificate"),
        ("127.0.0.2", "", "IP address mismatch, certificate is not valid for '127.0.0.2'"),
        ("other.example", "", "Hostname mismatch, certificate is not valid for 'other.example'"),
        ("localhost", "/nowhere", "SSL_CERT_FILE .* cannot be loaded: No such file or directory"),
    ],
)
async def test_a_certificate_that_is_not_to_be_trusted_is_named(
    monkeypatch, signed, host, authority, words
) -> None:
    if authority is not None:
        monkeypatch.setenv("SSL_CERT_FILE", authority or str(signed[0]))
    addresses(monkeypatch, "127.0.0.1")
    async with wire(OK, tls=signed[1]) as server:
        with pytest.raises(NotConnected, match=words):
            await http(server.port, host, "https").connect()


@both_loops
@pytest.mark.usefixtures("sockets")
@pytest.mark.parametrize(
    ("said", "words"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "TLS failed: "), (END, "the connection was closed at once")],
)
async def test_a_server_without_tls_is_told_from_one_with(said: bytes | str, words: str) -> None:
    async def play(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(said)

    async with wire(play=play) as server:
        with pytest.raises(NotConnected, match=words):
            await http(server.port, "127.0.0.1", "https").connect()


@both_loops
@pytest.mark.usefixtures("sockets")
async def test_a_handshake_without_end_is_given_up(monkeypatch) -> None:
    monkeypatch.setattr(http_pool, "_CONNECT_TIMEOUT", 0.05)
    http_pool.tls()  # which takes its time

    async def play(peer: Peer) -> None:
        await peer.reader.read()

    async with wire(play=play) as server:
        with pytest.raises(NotConnected, match=r"no connection within 0.05 s"):
            await http(server.port, "127.0.0.1", "https").connect()
        await server.until(lambda server: server.left == 1)


@both_loops
@pytest.mark.usefixtures("sockets")
@pytest.mark.parametrize("way", ["http", "https", "through a proxy"])
async def test_connecting_can_be_cancelled_at_every_step_and_leaves_nothing(monkeypatch, signed, way) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(signed[0]))
    scheme = "http" if way == "http" else "https"
    async with wire(OK, tls=signed[1] if scheme == "https" else None) as server, proxy() as between:
        if way == "through a proxy":
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{between.port}")
        steps, opened = 0, False
        while not opened:
            pool = http(server.port, "localhost", scheme)
            connecting = asyncio.ensure_future(pool.connect())
            for _ in range(steps):
                await asyncio.sleep(0 if steps % 2 else 0.0005)
            connecting.cancel()
            await asyncio.wait({connecting})
            opened = not connecting.cancelled() and await connecting is not None
            assert repr(pool).endswith("1 open, 0 idle>" if opened else "0 open, 0 idle>")
            pool.close()
            steps += 1
        assert steps > 2


@both_loops
@pytest.mark.usefixtures("sockets")
async def test_a_slow_reader_gets_all_of_a_body_over_tls_though_the_server_has_gone(
    monkeypatch, signed
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(signed[0]))
    size = 3_000_000

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        await peer.send(END)
        await peer.writer.wait_closed()

    async with wire(play=play, tls=signed[1]) as server:
        pool = http(server.port, "localhost", "https")
        connection = await pool.connect()
        head: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        response = connection.begin("GET", REQUEST, head.set_result)
        await head
        got = 0
        while part := await response.next():
            got += len(part)
            assert len(part) < 1_000_000
            await asyncio.sleep(0.001)
        assert got == size
        pool.close()
