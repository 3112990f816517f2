"""The proxies that the environment names, through real ones."""

from __future__ import annotations

import pytest

from gateway.config.resolved import ServerConfig
from gateway.errors import CallError
from gateway.upstream.addresses import Cookies
from gateway.upstream.http import Endpoint, Unreachable
from gateway.upstream.http_pool import NotConnected, Origin, proxy_for
from tests.support.raw.peers import HERE
from tests.support.raw.proxy import proxy
from tests.support.raw.wire import OK, wire

pytestmark = [
    pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"]),
    pytest.mark.usefixtures("no_proxies", "sockets"),
]


async def get(url: str) -> bytes:
    endpoint = Endpoint(ServerConfig("web", "http", HERE, url=url), 1000)
    endpoint.acquire()
    try:
        async with endpoint.open("GET", {}, cookies=Cookies()) as response:
            return await endpoint.body(response)
    finally:
        endpoint.release()


async def test_an_http_proxy_is_given_the_whole_address_and_its_own_credentials(monkeypatch) -> None:
    async with wire(OK) as server, proxy() as between:
        monkeypatch.setenv("HTTP_PROXY".lower(), f"http://me:p%40ss@127.0.0.1:{between.port}")
        assert await get(f"http://you:word@127.0.0.1:{server.port}/mcp?a=b") == b"ok"
    (head,) = between.asked
    first, *fields = head.lower().split(b"\r\n")
    assert first == b"get http://127.0.0.1:%d/mcp?a=b http/1.1" % server.port
    assert b"host: 127.0.0.1:%d" % server.port in fields
    assert b"proxy-authorization: basic bwu6cebzcw==" in fields
    assert b"authorization: basic ew91ondvcmq=" in fields


@pytest.mark.parametrize("secured", [False, True])
async def test_an_https_server_is_reached_through_a_tunnel(monkeypatch, signed, secured: bool) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(signed[0]))
    async with wire(OK, tls=signed[1]) as server, proxy(tls=signed[1] if secured else None) as between:
        scheme = "https" if secured else "http"
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://me:word@localhost:{between.port}")
        assert await get(f"https://localhost:{server.port}/mcp") == b"ok"
    (head,) = between.asked
    assert head.startswith(
        b"CONNECT localhost:%d HTTP/1.1\r\nHost: localhost:%d\r\n" % (server.port, server.port)
    )
    assert b"Proxy-Authorization: Basic bWU6d29yZA==\r\n" in head
    assert b"authorization" not in server.requests[0].lower()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno",
            "the proxy 127.0.0.1 answered CONNECT with 'HTTP/1.1 407 .*'; HTTPS_PROXY may hold a user",
        ),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "answered CONNECT with 'HTTP/1.1 502 Bad Gateway'$"),
        (b"SSH-2.0-x\r\n\r\n", "answered CONNECT with 'SSH-2.0-x'"),
        (b"HTTP/1.1 200 OK\r\n\r\nand more", "said more than its answer to CONNECT"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 4000, "the proxy 127.0.0.1: its answer is too long"),
        (b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 403 No\r\n\r\n", "CONNECT with 'HTTP/1.1 403 No'"),
    ],
)
async def test_a_proxy_that_refuses_is_named_with_what_it_said(
    monkeypatch, answer: bytes, words: str
) -> None:
    async with proxy(answer) as between:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{between.port}")
        with pytest.raises(Unreachable, match=words):
            await get("https://localhost:1/mcp")


async def test_a_certificate_beyond_a_proxy_is_checked_for_the_server_s_own_name(monkeypatch, signed) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(signed[0]))
    async with wire(OK, tls=signed[1]) as server, proxy() as between:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{between.port}")
        words = "through the proxy 127.0.0.1: .*mismatch, certificate is not valid for 'other.example'"
        with pytest.raises(Unreachable, match=words):
            await get(f"https://other.example:{server.port}/mcp")


async def test_a_proxy_that_is_not_there_is_not_mistaken_for_the_server(monkeypatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "127.0.0.1:1")
    with pytest.raises(
        Unreachable, match=r"localhost/mcp cannot be reached: through the proxy 127.0.0.1: Conn"
    ):
        await get("http://localhost/mcp")


async def test_hosts_that_no_proxy_names_are_reached_straight(monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY".lower(), "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "other.example,127.0.0.1,.inside.example")
    async with wire(OK) as server:
        assert await get(f"http://127.0.0.1:{server.port}/mcp") == b"ok"
    assert proxy_for(Origin("http", "a.inside.example", 80)) is None
    assert proxy_for(Origin("http", "outside.example", 80)) is not None
    assert proxy_for(Origin("https", "outside.example", 443)) is None


@pytest.mark.parametrize("named", ["socks5://me:secret@a:1", "http://", "ftp://secret"])
async def test_a_proxy_that_can_be_none_is_told_by_its_variable_and_without_its_secrets(
    monkeypatch, named: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", named)
    with pytest.raises(
        NotConnected, match=r"HTTPS_PROXY or ALL_PROXY.* does not begin with http://"
    ) as raised:
        proxy_for(Origin("https", "a.example", 443))
    assert "secret" not in str(raised.value)
    with pytest.raises(CallError, match="does not begin with http://"):
        await get("https://a.example/")
