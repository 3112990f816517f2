"""The transport under the SDKs, through httpx2's client as they use it."""

from __future__ import annotations

import gzip

import httpx2
import pytest

from gateway.llm import transport
from tests.support.raw.proxy import proxy
from tests.support.raw.wire import OK, wire


def client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=transport.Transport(), timeout=None)


def response(body: bytes, *fields: bytes) -> bytes:
    lines = (b"HTTP/1.1 200 OK", *fields, b"content-length: %d" % len(body), b"", body)
    return b"\r\n".join(lines)


async def test_requests_one_after_another_share_a_connection() -> None:
    async with wire(OK) as server, client() as http:
        url = f"http://127.0.0.1:{server.port}/v1/chat?a=b"
        for _ in range(2):
            assert (await http.post(url, json={"a": 1})).content == b"ok"
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat?a=b HTTP/1.1\r\n")
    assert body == b'{"a":1}'
    assert len(server.requests) == 2
    assert server.connections == 1


async def test_an_answer_is_unpacked_and_its_fields_survive() -> None:
    packed = response(gzip.compress(b"words"), b"content-encoding: gzip", b"x-name: caf\xe9", b"x-two: a")
    async with wire(packed) as server, client() as http:
        answer = await http.get(f"http://127.0.0.1:{server.port}/")
    assert answer.content == b"words"
    assert answer.headers["x-two"] == "a"
    assert (b"x-name", b"caf\xe9") in answer.headers.raw


async def test_an_answer_beyond_the_limit_ends_the_exchange(monkeypatch) -> None:
    monkeypatch.setattr(transport, "MOST_BYTES", 10)
    async with wire(response(b"x" * 11)) as server, client() as http:
        with pytest.raises(httpx2.RemoteProtocolError, match="more than 10 bytes"):
            await http.get(f"http://127.0.0.1:{server.port}/")


async def test_a_header_that_would_be_two_is_not_sent() -> None:
    async with wire() as server, client() as http:
        with pytest.raises(httpx2.LocalProtocolError, match="line break"):
            await http.get(f"http://127.0.0.1:{server.port}/", headers={"authorization": "a\r\nx: y"})
    assert server.requests == []


async def test_a_proxy_is_given_the_whole_address(monkeypatch) -> None:
    async with wire(OK) as server, proxy() as between:
        monkeypatch.setenv("http_proxy", f"http://me:word@127.0.0.1:{between.port}")
        async with client() as http:
            assert (await http.get(f"http://127.0.0.1:{server.port}/v1")).content == b"ok"
    (head,) = between.asked
    assert head.startswith(b"GET http://127.0.0.1:%d/v1 HTTP/1.1\r\n" % server.port)
    assert b"proxy-authorization: basic bwu6d29yza==" in head.lower()
