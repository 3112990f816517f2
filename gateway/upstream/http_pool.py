"""The connections to one origin: opened, kept for a moment, handed out again.

The most recently used goes first, so that the others can go. A proxy that the environment names
(`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`) is gone through.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import os
import socket
import ssl
import urllib.request
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import unquote_to_bytes

import aiohappyeyeballs
import httpx2

from gateway.upstream.http1 import HttpConnection
from gateway.upstream.response import Broken

_CONNECT_TIMEOUT: Final = 10.0
_MOST_IDLE: Final = 256
_KEEPALIVE: Final = 4.0
"""Seconds an idle connection is kept: less than the 5 after which common servers close theirs."""
_STAGGER: Final = 0.25
"""Seconds before the next address of a name is tried beside the first (RFC 8305)."""
_MAX_PROXY_HEAD: Final = 16 * 1024


class NotConnected(Exception):
    """No connection could be made; the message is the reason, in words."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests go: `scheme` is http or https."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx2.URL) -> Origin:
        """Return the origin of an address; raises NotConnected if it has none."""
        if url.scheme not in ("http", "https") or not url.host:
            raise NotConnected("its URL does not begin with http:// or https:// and a host")
        return cls(url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80))


class HttpPool:
    """Connections to one origin."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        proxy = proxy_for(origin)
        self._proxy = None if proxy is None else httpx2.URL(proxy)
        self._idle: list[HttpConnection] = []
        self._open: set[HttpConnection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        counts = f"{len(self._open)} open, {len(self._idle)} idle"
        return f"<HttpPool {self.origin.host}:{self.origin.port}, {counts}>"

    @property
    def absolute(self) -> httpx2.URL | None:
        """The proxy to which requests name their whole address (RFC 9112, 3.2.2), if there is one."""
        return self._proxy if self.origin.scheme == "http" else None

    def idle(self) -> HttpConnection | None:
        """Return a connection that can carry an exchange now, if there is one."""
        return self._idle.pop() if self._idle else None

    async def connect(self) -> HttpConnection:
        """Return a new connection.

        Raises:
            NotConnected: with the reason.
        """
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                return await self._connect()
        except TimeoutError:
            raise NotConnected(f"no connection within {_CONNECT_TIMEOUT:g} s") from None
        except OSError as error:
            raise NotConnected(in_words(error)) from error

    def close(self) -> None:
        """Close every connection, whatever it carries."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._idle.clear()
        for connection in list(self._open):
            connection.abort()

    async def _connect(self) -> HttpConnection:
        loop = asyncio.get_running_loop()
        origin, proxy = self.origin, self._proxy
        at = Origin.of(proxy) if proxy is not None else origin
        secured = at.scheme == "https"
        sock = await _socket(at)
        connection = HttpConnection(self.keep, self._lost)
        if proxy is None or origin.scheme == "http":
            await loop.create_connection(
                lambda: connection,
                sock=sock,
                ssl=tls() if secured else None,
                server_hostname=at.host if secured else None,
            )
        else:
            await _through(proxy, sock, origin, connection)
        self._open.add(connection)
        return connection

    def keep(self, connection: HttpConnection) -> None:
        """Keep a connection that carries nothing for the next exchange."""
        if self._closed or len(self._idle) >= _MOST_IDLE:
            connection.abort()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_KEEPALIVE, self._expire)

    def _lost(self, connection: HttpConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        expired = [each for each in self._idle if loop.time() - each.idle_since >= _KEEPALIVE]
        self._idle = [each for each in self._idle if each not in expired]
        for connection in expired:
            connection.abort()
        self._sweep = None
        if self._idle:
            self._sweep = loop.call_later(
                max(0.1, self._idle[0].idle_since + _KEEPALIVE - loop.time()), self._expire
            )


def proxy_for(origin: Origin) -> str | None:
    """Return the address of the proxy that the environment names for an origin."""
    proxies = urllib.request.getproxies()
    if not proxies or urllib.request.proxy_bypass(f"{origin.host}:{origin.port}"):
        return None
    return proxies.get(origin.scheme) or proxies.get("all") or None


@functools.cache
def tls() -> ssl.SSLContext:
    """Return the one TLS context of this process: loading the authorities takes 25 ms."""
    return httpx2.create_ssl_context()


def in_words(error: BaseException) -> str:
    """Return the most telling words of an error of the system."""
    if isinstance(error, ssl.SSLError):
        return getattr(error, "verify_message", "") or error.reason or str(error)
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        # Event loops put words and addresses of their own into `strerror`.
        return os.strerror(error.errno)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def basic(userinfo: bytes) -> str:
    """Return the value of an Authorization header for `user:password` as it stands in an address."""
    return "Basic " + base64.b64encode(unquote_to_bytes(userinfo)).decode()


async def _socket(origin: Origin) -> socket.socket:
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    found = cast("Any", infos)
    return await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=_STAGGER, loop=loop)  # pyright: ignore[reportUnknownMemberType]


class _Tunnel(asyncio.Protocol):
    """Reads a proxy's answer to CONNECT."""

    def __init__(self) -> None:
        self.head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self.head.done():
            return
        if b"\r\n\r\n" in self._data:
            self.head.set_result(self._data)
        elif len(self._data) > _MAX_PROXY_HEAD:
            self.head.set_exception(Broken("its answer is too long"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.head.done():
            self.head.set_exception(Broken("it closed the connection"))


async def _through(
    proxy: httpx2.URL, sock: socket.socket, origin: Origin, connection: HttpConnection
) -> None:
    """Have a proxy connect to a TLS origin (RFC 9110, 9.3.6), and begin TLS on what it connected."""
    loop = asyncio.get_running_loop()
    secured = proxy.scheme == "https"
    transport, tunnel = await loop.create_connection(
        _Tunnel, sock=sock, ssl=tls() if secured else None, server_hostname=proxy.host if secured else None
    )
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    request = f"CONNECT {host}:{origin.port} HTTP/1.1\r\nHost: {host}:{origin.port}\r\n"
    if proxy.userinfo:
        request += f"Proxy-Authorization: {basic(proxy.userinfo)}\r\n"
    transport.write(request.encode() + b"\r\n")
    try:
        status = (await tunnel.head).split(b"\r\n", 1)[0].decode("latin-1")
    except Broken as error:
        raise NotConnected(f"the proxy {proxy.host}: {error}") from error
    if status.split(" ")[1:2] != ["200"]:
        transport.abort()
        raise NotConnected(f"the proxy {proxy.host} answered CONNECT with '{status}'")
    inner = await loop.start_tls(transport, connection, tls(), server_hostname=origin.host)
    assert inner is not None
    connection.connection_made(inner)
