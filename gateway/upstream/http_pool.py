"""The connections to one origin: opened, kept for a moment, handed out again.

The most recently used goes first, so that the others can go. A proxy that the environment names
(`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`) is gone through.
"""

from __future__ import annotations

import asyncio
import base64
import bisect
import functools
import os
import socket
import ssl
import urllib.request
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast
from urllib.parse import unquote_to_bytes

import aiohappyeyeballs
import httpx2

from gateway.upstream.http1 import HttpConnection
from gateway.upstream.response import Broken

_CONNECT_TIMEOUT: Final = 10.0
_MOST_IDLE: Final = 256
_KEEPALIVE: Final = 4.0
"""Seconds an idle connection is kept: less than the 5 after which common servers close theirs."""
_NEARLY: Final = 0.05
_STAGGER: Final = 0.25
"""Seconds before the next address of a name is tried beside the first (RFC 8305)."""
_MAX_PROXY_HEAD: Final = 16 * 1024
_SHOWN: Final = 200
"""Characters of a proxy's answer that are shown in an error."""


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
        """Raises NotConnected if the environment names a proxy that can be none."""
        self.origin = origin
        self._proxy = proxy_for(origin)
        self._at = origin if self._proxy is None else Origin.of(self._proxy)
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
        while self._idle:
            # One that its server has just closed is lost only once the event loop comes round.
            if (connection := self._idle.pop()).usable:
                return connection
        return None

    async def connect(self) -> HttpConnection:
        """Return a new connection.

        Raises:
            NotConnected: with the reason.
        """
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                connection = await self._connect()
        except OSError as error:
            words = in_words(error)
            if isinstance(error, TimeoutError) and not error.errno:
                words = f"no connection within {_CONNECT_TIMEOUT:g} s"
            through = "" if self._proxy is None else f"through the proxy {self._proxy.host}: "
            raise NotConnected(through + words) from error
        except ValueError as error:
            raise NotConnected(f"its host can be no name: {error}") from error
        if self._closed or not connection.usable:
            connection.abort()
            raise NotConnected("the connection was closed at once")
        self._open.add(connection)
        return connection

    def close(self) -> None:
        """Close every connection, whatever it carries."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._idle.clear()
        for connection in list(self._open):
            connection.abort()

    async def _connect(self) -> HttpConnection:
        connection = HttpConnection(self.keep, self._lost)
        if "https" in (self.origin.scheme, self._at.scheme):
            tls()  # may fail, which is better done before there is a socket
        sock = await _socket(self._at)
        if self._proxy is None or self.origin.scheme == "http":
            await _carry(connection, sock, self._at)
        else:
            await _through(self._proxy, await _carry(_Tunnel(), sock, self._at), self.origin, connection)
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
        self._sweep = None
        # Those used last are at the end. Timers are not exact: what is nearly due goes too.
        due = loop.time() - _KEEPALIVE + _NEARLY
        expired = bisect.bisect_right(self._idle, due, key=lambda each: each.idle_since)
        old, self._idle = self._idle[:expired], self._idle[expired:]
        for connection in old:
            connection.abort()
        if self._idle:
            self._sweep = loop.call_at(self._idle[0].idle_since + _KEEPALIVE, self._expire)


def proxy_for(origin: Origin) -> httpx2.URL | None:
    """Return the address of the proxy that the environment names for an origin.

    Raises:
        NotConnected: it cannot be one.
    """
    proxies = urllib.request.getproxies()
    if not proxies or urllib.request.proxy_bypass(f"{origin.host}:{origin.port}"):
        return None
    named = proxies.get(origin.scheme) or proxies.get("all")
    if not named:
        return None
    try:
        url = httpx2.URL(named if "://" in named else f"http://{named}")
        Origin.of(url)
    except (httpx2.InvalidURL, NotConnected) as error:
        # It may hold a password, so it is not shown.
        raise NotConnected(
            f"the proxy that the environment names for {origin.scheme} (in {origin.scheme.upper()}_PROXY or "
            "ALL_PROXY) does not begin with http:// or https:// and a host"
        ) from error
    return url


@functools.cache
def tls() -> ssl.SSLContext:
    """Return the one TLS context of this process: loading the authorities takes 25 ms.

    Raises:
        NotConnected: those that the environment names cannot be loaded.
    """
    try:
        context = httpx2.create_ssl_context()
    except OSError as error:
        raise NotConnected(
            f"the certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be loaded: {in_words(error)}"
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def in_words(error: BaseException) -> str:
    """Return the most telling words of an error of the system."""
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return getattr(error, "verify_message", "") or f"TLS failed: {reason}"
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        # Event loops put words and addresses of their own into `strerror`.
        return os.strerror(error.errno)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ConnectionResetError):
        return str(error) or "the connection was closed at once"
    return str(error) or type(error).__name__


def basic(userinfo: bytes) -> str:
    """Return the value of an Authorization header for `user:password` as it stands in an address."""
    return "Basic " + base64.b64encode(unquote_to_bytes(userinfo)).decode()


async def _socket(origin: Origin) -> socket.socket:
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    found = cast("Any", infos)
    return await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=_STAGGER, loop=loop)  # pyright: ignore[reportUnknownMemberType]


_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)


async def _carry(protocol: _Protocol, sock: socket.socket, at: Origin) -> tuple[asyncio.Transport, _Protocol]:
    """Have a socket carry a protocol, with TLS if that is what is spoken there.

    A transport closes its socket, also when it fails to begin.
    """
    secured = at.scheme == "https"
    return await asyncio.get_running_loop().create_connection(
        lambda: protocol,
        sock=sock,
        ssl=tls() if secured else None,
        server_hostname=at.host if secured else None,
    )


class _Tunnel(asyncio.Protocol):
    """Reads a proxy's answer to CONNECT: its first line, and what came after its head."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[str, bytes]] = asyncio.get_running_loop().create_future()
        self._data = b""

    def data_received(self, data: bytes) -> None:
        if self.answer.done():
            return
        self._data += data
        head, end, rest = self._data.partition(b"\r\n\r\n")
        while end and _status(head).startswith("1"):
            self._data = rest
            head, end, rest = rest.partition(b"\r\n\r\n")
        if end:
            self.answer.set_result((head.split(b"\r\n", 1)[0].decode("latin-1"), rest))
        elif len(self._data) > _MAX_PROXY_HEAD:
            self.answer.set_exception(Broken("its answer is too long"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.answer.done():
            self.answer.set_exception(Broken("it closed the connection"))


async def _through(
    proxy: httpx2.URL,
    carried: tuple[asyncio.Transport, _Tunnel],
    origin: Origin,
    connection: HttpConnection,
) -> None:
    """Have a proxy connect to a TLS origin (RFC 9110, 9.3.6), and begin TLS on what it connected."""
    transport, tunnel = carried
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    request = f"CONNECT {host}:{origin.port} HTTP/1.1\r\nHost: {host}:{origin.port}\r\n"
    if proxy.userinfo:
        request += f"Proxy-Authorization: {basic(proxy.userinfo)}\r\n"
    try:
        transport.write(request.encode() + b"\r\n")
        line, rest = await tunnel.answer
        if not _status(line.encode("latin-1")).startswith("2"):
            hint = "; HTTPS_PROXY may hold a user and a password before the host" if " 407 " in line else ""
            raise NotConnected(f"the proxy {proxy.host} answered CONNECT with '{line[:_SHOWN]}'{hint}")
        if rest:
            raise NotConnected(f"the proxy {proxy.host} said more than its answer to CONNECT")
        inner = await asyncio.get_running_loop().start_tls(
            transport, connection, tls(), server_hostname=origin.host
        )
        assert inner is not None
    except Broken as error:
        transport.abort()
        raise NotConnected(f"the proxy {proxy.host}: {error}") from error
    except BaseException:
        transport.abort()
        raise
    connection.connection_made(inner)


def _status(head: bytes) -> str:
    """Return the status of an answer to CONNECT; nothing if it is not HTTP/1."""
    words = head.split(b"\r\n", 1)[0].split(b" ", 2)
    return words[1].decode("latin-1") if len(words) > 1 and words[0].startswith(b"HTTP/1.") else ""
