"""One HTTP endpoint of a server: its connection pool, credentials, limits, and errors in words."""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import Final

import httpx2

from gateway.config.resolved import ServerConfig
from gateway.errors import CallError, ServerUnavailable
from gateway.upstream.handshake import as_object
from gateway.upstream.port import Json
from gateway.wire import jsonrpc, sse

EVENT_STREAM: Final = "text/event-stream"
JSON: Final = "application/json"
ACCEPT: Final = {"accept": f"{JSON}, {EVENT_STREAM}", "content-type": JSON}
"""The headers of every POST to an MCP endpoint."""
SESSION_ID: Final = "mcp-session-id"
LAST_EVENT_ID: Final = "last-event-id"
PROTOCOL_VERSION: Final = "mcp-protocol-version"

Cookies = httpx2.Cookies
"""One connection's cookies: what ties it to a replica must not tie others, or mix their sessions."""

_NO_CONNECTION = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.UnsupportedProtocol,
    httpx2.InvalidURL,
)
_MAX_REDIRECTS = 5
_ENCODINGS = frozenset({"identity", "gzip", "deflate", ""})
_SHOWN = 200
"""Characters of what a server gave that are shown in an error."""
_ERROR_BODY = 64 * 1024
_CONNECT_TIMEOUT = 10.0
_DRAIN = 1.0
_KEEPALIVE = 4.0
"""Seconds an idle connection is kept: less than the 5 after which common servers close theirs."""


class TransportBroken(CallError):
    """The exchange over HTTP failed after it had begun; `reason` is in words."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"the connection to server '{server}' broke: {reason}")
        self.reason = reason


class Unreachable(ServerUnavailable):
    """No connection to the endpoint could be made at all."""


class Rejected(ServerUnavailable):
    """The server answered with an HTTP status that is not a success, and with no JSON-RPC error."""

    def __init__(self, server: str, reason: str, status: int) -> None:
        super().__init__(server, reason)
        self.status = status


class Endpoint:
    """The URL of one server, and a pool of connections that all who `use` it share.

    There is no limit on the time a response takes (calls have limits of their own), only on
    connecting. Redirects are followed within the origin alone, since headers hold credentials.
    `max_message_bytes` bounds one body and one event, `max_nesting` what is inside each other in one.
    """

    def __init__(
        self, config: ServerConfig, max_message_bytes: int, max_nesting: int = jsonrpc.MAX_NESTING
    ) -> None:
        self.config = config
        self.max_message_bytes = max_message_bytes
        self.max_nesting = max_nesting
        self._client: httpx2.AsyncClient | None = None
        self._users = 0

    def __repr__(self) -> str:
        return f"<Endpoint {self.shown}, {self._users} users>"

    @property
    def shown(self) -> str:
        """The address without what may be secret in it, for people."""
        return without_secrets(self.config.url)

    @property
    def url(self) -> httpx2.URL:
        """The configured address; raises Unreachable if it is none."""
        with self._in_words():
            return httpx2.URL(self.config.url)

    def acquire(self) -> None:
        """Keep the pool open until the matching `release`."""
        if self._client is None:
            self._client = httpx2.AsyncClient(
                headers=[*_encoded(self.config.headers), (b"accept-encoding", b"gzip, deflate")],
                verify=_tls(),
                timeout=httpx2.Timeout(None, connect=_CONNECT_TIMEOUT),
                limits=httpx2.Limits(max_keepalive_connections=32, keepalive_expiry=_KEEPALIVE),
                follow_redirects=False,
            )
            # Sessions share the pool, not their cookies: see `Cookies`.
            self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._users += 1

    async def release(self) -> None:
        """Let go of the pool; the last one closes it."""
        self._users -= 1
        if self._users == 0 and self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    @asynccontextmanager
    async def open(
        self,
        method: str,
        headers: Mapping[str, str],
        message: Json | None = None,
        *,
        cookies: Cookies,
        url: httpx2.URL | None = None,
    ) -> AsyncGenerator[httpx2.Response]:
        """Send one request and yield its response with the body still to be read.

        `cookies` are those of the connection; the response's are added to them.

        Raises:
            Unreachable: no connection could be made.
            TransportBroken: it failed after that.
        """
        assert self._client is not None, "acquire() comes first"
        content = None if message is None else jsonrpc.encode(message)
        with self._in_words():
            request = self._client.build_request(
                method, url or self.url, headers=_encoded(headers), content=content, cookies=cookies
            )
            response = await self._send(self._client, request)
            cookies.extract_cookies(response)
        try:
            self._check_encoding(response)
            yield response
        finally:
            with self._in_words():
                await response.aclose()

    async def body(self, response: httpx2.Response, limit: int | None = None) -> bytes:
        """Read a whole body; raises CallError if it is larger than `limit` bytes."""
        limit = limit or self.max_message_bytes
        chunks: list[bytes] = []
        size = 0
        async for chunk in self._chunks(response):
            size += len(chunk)
            if size > limit:
                raise self._too_large(f"a body of more than {limit} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    async def follow(self, response: httpx2.Response, take: Callable[[sse.Event], bool]) -> bool:
        """Give each event of a stream to `take` until it returns True; returns whether it did.

        What comes after that is read for a moment more and ignored, so that the connection
        can be used again. Raises CallError if an event is too large.
        """
        reader = sse.Reader(self.max_message_bytes)
        finished = False
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as grace, aclosing(self._chunks(response)) as chunks:
                async for chunk in chunks:
                    for event in () if finished else reader.feed(chunk):
                        if take(event):
                            finished = True
                            grace.reschedule(loop.time() + _DRAIN)
                            break
        except sse.EventTooLarge as error:
            raise self._too_large(str(error)) from error
        except (TimeoutError, TransportBroken):
            if not finished:
                raise
        return finished

    async def discard(self, response: httpx2.Response) -> None:
        """Read a body that says nothing, briefly, so that the connection can be used again."""
        try:
            async with asyncio.timeout(_DRAIN), aclosing(self._chunks(response)) as chunks:
                async for _ in chunks:
                    pass
        except (TimeoutError, TransportBroken):
            pass  # the connection is closed instead

    async def rejection(self, response: httpx2.Response) -> tuple[Json | None, Rejected]:
        """Read a response that is not a success.

        Returns the JSON-RPC error response in its body, if there is one, and the error that
        says what the status means and what to do.
        """
        try:
            body = await self.body(response, _ERROR_BODY)
            message = as_object(jsonrpc.decode(body, self.max_nesting))
        except (CallError, jsonrpc.Undecodable):
            message = {}
        said = message if isinstance(message.get("error"), dict) else None
        return said, Rejected(self.config.name, self._status_in_words(response), response.status_code)

    def _status_in_words(self, response: httpx2.Response) -> str:
        status = response.status_code
        asked = f"{response.request.method} {self.shown}"
        words = f"{asked} was answered with HTTP {status} {_phrase(status)}".strip()
        where = f"server '{self.config.name}' in {self.config.source}"
        if response.next_request is not None:
            target = without_secrets(str(response.next_request.url))[:_SHOWN]
            return (
                f"{words} to {target}, which is not followed; set it as the `url` of {where} if it is meant"
            )
        if status in (401, 403):
            return f"{words}; set `headers` (for example Authorization) of {where}"
        if status in (404, 405):
            return f"{words}; check the `url` of {where}, and its `type` (`http` or `sse`)"
        return words

    def _check_encoding(self, response: httpx2.Response) -> None:
        """Refuse what could unpack to any size: encodings nobody asked for, and one inside another."""
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in _ENCODINGS:
            raise CallError(
                f"server '{self.config.name}' answered with content encoding '{encoding[:_SHOWN]}', and only "
                "gzip or deflate, once, was asked for"
            )

    async def _send(self, client: httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Response:
        for _ in range(_MAX_REDIRECTS):
            response = await client.send(request, stream=True)
            following = response.next_request
            if following is None or not _stays(request, following):
                return response
            await response.aclose()
            request = following
        return await client.send(request, stream=True)

    async def _chunks(self, response: httpx2.Response) -> AsyncGenerator[bytes]:
        with self._in_words():
            async for chunk in response.aiter_bytes():
                yield chunk

    @contextmanager
    def _in_words(self) -> Generator[None]:
        try:
            yield
        except _NO_CONNECTION as error:
            reason = f"{self.shown} cannot be reached: {_reason(error)}"
            raise Unreachable(self.config.name, reason) from error
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise TransportBroken(self.config.name, _reason(error)) from error

    def _too_large(self, what: str) -> CallError:
        return CallError(f"server '{self.config.name}' sent {what}; the limit is `limits.max_message_bytes`")


def without_secrets(url: str) -> str:
    """Return an address without user, password, query and fragment."""
    scheme, separator, rest = url.partition("#")[0].partition("?")[0].rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def content_type(response: httpx2.Response) -> str:
    """Return the media type of a response without its parameters, in lower case."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def unexpected_type(server: str, method: str, response: httpx2.Response) -> CallError:
    """Return the error for a response that is neither of the two content types there are."""
    if response.status_code == HTTPStatus.ACCEPTED:
        return CallError(f"server '{server}' answered {method} with HTTP 202, which promises no response")
    return CallError(
        f"server '{server}' answered {method} with content type '{content_type(response)[:_SHOWN]}', "
        f"which is neither {JSON} nor {EVENT_STREAM}"
    )


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return the one TLS context of this process: loading the authorities takes 25 ms."""
    return httpx2.create_ssl_context()


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers as bytes: what a server gave us to send back need not be ASCII."""
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _reason(error: BaseException) -> str:
    """Return the most telling words of an error: those of the system, if they are there."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError) and cause.errno:
            # Event loops put words and addresses of their own into `strerror`.
            return os.strerror(cause.errno)
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def _stays(sent: httpx2.Request, following: httpx2.Request) -> bool:
    """Whether a redirect keeps method and origin (or upgrades http to https on the default ports)."""
    here, there = sent.url, following.url
    if following.method != sent.method or (there.userinfo and there.userinfo != here.userinfo):
        return False
    if (here.scheme, here.host, here.port) == (there.scheme, there.host, there.port):
        return True
    upgrade = (here.scheme, there.scheme, here.port, there.port) == ("http", "https", None, None)
    return upgrade and here.host == there.host
