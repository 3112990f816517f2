"""How the SDKs' requests reach a provider: on the connections that servers are reached on as well.

A request goes out in one write, and its response is collected by callbacks (docs/decisions/0047).
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Final

import httpx2

from gateway.upstream.http_pool import HttpPool, NotConnected, Origin, basic
from gateway.upstream.response import Broken, Response, TooLarge

MOST_BYTES: Final = 64 * 1024 * 1024
"""The most that a response's body may have, before its content encoding is taken off."""
_TOLD_OTHERWISE: Final = frozenset({"transfer-encoding", "set-cookie"})
"""The body is whole, and each cookie has a field of its own."""


@dataclass(frozen=True, slots=True)
class Sendable:
    """A request but for its body: where it goes, and its head as it goes over the wire."""

    request: httpx2.Request
    pool: HttpPool
    head: bytes


class Transport(httpx2.AsyncBaseTransport):
    """Carries whole requests and whole responses; streams of events are collected like other bodies.

    There is no limit on the time a response takes, only on connecting: who asks has one, and
    cancelling ends the exchange with its connection.
    """

    def __init__(self) -> None:
        self._pools: dict[Origin, HttpPool] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return its response, read.

        Raises:
            httpx2.ConnectError: no connection could be made.
            httpx2.LocalProtocolError: the request can be none of HTTP.
            httpx2.RemoteProtocolError: the exchange broke, or the response is too large or none of HTTP.
        """
        sendable = self.sendable(request)
        response, body = await self._exchange(sendable, sendable.head, await request.aread())
        return _response(response, body, request)

    def sendable(self, request: httpx2.Request, without: Container[str] = ()) -> Sendable:
        """Return a request as it is to be sent, without its body and the fields of these names.

        Raises:
            httpx2.ConnectError: its proxy is none.
            httpx2.LocalProtocolError: it can be none of HTTP.
        """
        try:
            pool = self._pool(Origin.of(request.url))
        except NotConnected as error:
            raise httpx2.ConnectError(str(error), request=request) from error
        fields = [field for field in request.headers.raw if field[0].lower().decode("latin-1") not in without]
        return Sendable(request, pool, _head(request, fields, pool))

    async def send(self, sendable: Sendable, content: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """Send a request that has no length yet; returns status, headers and body of the response, unpacked.

        Raises:
            httpx2.TransportError: as `handle_async_request`.
            httpx2.DecodingError: the body is not in the encoding that it says.
        """
        head = b"%bcontent-length: %d\r\n\r\n" % (sendable.head[:-2], len(content))
        response, body = await self._exchange(sendable, head, content)
        if "content-encoding" in response.headers:
            body = _response(response, body, sendable.request).content
        return response.status, response.headers, body

    async def _exchange(self, sendable: Sendable, head: bytes, content: bytes) -> tuple[Response, bytes]:
        request, pool = sendable.request, sendable.pool
        try:
            connection = pool.idle() or await pool.connect()
        except NotConnected as error:
            raise httpx2.ConnectError(str(error), request=request) from error
        arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def done(outcome: bytes | Exception) -> None:
            if arrived.done():
                return
            if isinstance(outcome, Exception):
                arrived.set_exception(outcome)
            else:
                arrived.set_result(outcome)

        def collect(response: Response) -> None:
            response.collect(MOST_BYTES, done)

        response = connection.begin(request.method, head + content, collect)
        try:
            return response, await arrived
        except Broken as error:
            raise httpx2.RemoteProtocolError(str(error), request=request) from error
        except TooLarge as error:
            words = f"its response has more than {MOST_BYTES} bytes"
            raise httpx2.RemoteProtocolError(words, request=request) from error
        except BaseException:
            response.cancel()
            raise

    async def aclose(self) -> None:
        """Close every connection."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()

    def _pool(self, origin: Origin) -> HttpPool:
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = HttpPool(origin)
        return pool


def _head(request: httpx2.Request, fields: list[tuple[bytes, bytes]], pool: HttpPool) -> bytes:
    """Return the head of a request as it goes over the wire (RFC 9112, 3)."""
    target = request.url.raw_path
    if (proxy := pool.absolute) is not None:
        target = b"%b://%b%b" % (request.url.raw_scheme, request.url.netloc, target)
        if proxy.userinfo:
            fields = [*fields, (b"proxy-authorization", basic(proxy.userinfo).encode())]
    head = b"".join([b"%b: %b\r\n" % field for field in fields])
    if head.count(b"\n") != len(fields) or head.count(b"\r") != len(fields) or b"\0" in head:
        raise httpx2.LocalProtocolError("a header holds a line break, which no header can carry")
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (request.method.encode(), target, head)


def _response(response: Response, body: bytes, request: httpx2.Request) -> httpx2.Response:
    fields = [(name, value) for name, value in response.headers.items() if name not in _TOLD_OTHERWISE]
    fields += [("set-cookie", value) for value in response.cookies]
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    return httpx2.Response(response.status, headers=headers, content=body, request=request)
