"""One HTTP endpoint of a server: its address, credentials and limits, and errors in words."""

from __future__ import annotations

import asyncio
import functools
import zlib
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin

import httpx2

from gateway import __version__
from gateway.config.resolved import ServerConfig
from gateway.errors import CallError, ServerUnavailable
from gateway.upstream.addresses import Cookies, Place, following, without_secrets
from gateway.upstream.fields import EVENT_STREAM, JSON, encoding_of, lines
from gateway.upstream.handshake import as_object
from gateway.upstream.http_pool import HttpPool, NotConnected, Origin, basic
from gateway.upstream.port import Json
from gateway.upstream.response import Broken, Response
from gateway.upstream.unpacking import Unpacker
from gateway.wire import jsonrpc, sse

ACCEPT: Final = {"accept": f"{JSON}, {EVENT_STREAM}", "content-type": JSON}
"""The headers of every POST to an MCP endpoint."""
SESSION_ID: Final = "mcp-session-id"
LAST_EVENT_ID: Final = "last-event-id"
PROTOCOL_VERSION: Final = "mcp-protocol-version"

_MAX_REDIRECTS = 5
_ENCODINGS = frozenset({"identity", "gzip", "deflate", ""})
_SHOWN = 200
"""Characters of what a server gave that are shown in an error."""
_ERROR_BODY = 64 * 1024
_DRAIN = 1.0
_OWN_HEADERS: Final = {
    "accept": "*/*",
    "accept-encoding": "gzip, deflate",
    "user-agent": f"backchannel/{__version__}",
}


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
    """The URL of one server, and connections that all who `use` it share.

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
        self._headers = _OWN_HEADERS | {name.lower(): value for name, value in config.headers.items()}
        self._here: Place | None = None
        self._pools: dict[Origin, HttpPool] = {}
        self._users = 0

    def __repr__(self) -> str:
        return f"<Endpoint {self.shown}, {self._users} users>"

    @property
    def shown(self) -> str:
        """The address without what may be secret in it, for people."""
        return without_secrets(self.config.url)

    @property
    def here(self) -> Place:
        """The configured address; raises Unreachable if it is none."""
        if self._here is None:
            with self._in_words():
                self._here = Place.of(httpx2.URL(self.config.url))
                if self._here.url.userinfo and "authorization" not in self._headers:
                    self._headers["authorization"] = basic(self._here.url.userinfo)
        return self._here

    def join(self, address: str) -> Place:
        """Return the place that an address, perhaps a relative one, names from here.

        Raises:
            Unreachable: it is none.
        """
        with self._in_words():
            return Place.of(self.here.url.join(address))

    def acquire(self) -> None:
        """Keep the connections until the matching `release`."""
        self._users += 1

    def release(self) -> None:
        """Let go of the connections; the last one closes them."""
        self._users -= 1
        if self._users == 0:
            pools, self._pools = self._pools, {}
            for pool in pools.values():
                pool.close()

    def begin(
        self, headers: Mapping[str, str], message: Json, cookies: Cookies, on_head: Callable[[Response], None]
    ) -> Response | None:
        """POST a message at once, where a connection is at hand; None where there is none.

        `headers` are those beyond `ACCEPT`, by lower-case name.

        `on_head` is called when the response's head is there, or it has failed (`Response.error`).
        Redirects, cookies and encodings are the caller's business: see `is_plain` and `keep`.
        """
        here = self.here
        pool = self._pools.get(here.origin)
        content = jsonrpc.encode(message)
        connection = None if pool is None else pool.idle()
        if pool is None or connection is None:
            return None
        try:
            if cookies or pool.absolute is not None or not self._headers.keys().isdisjoint(headers):
                request = self._request(pool, "POST", here, {**ACCEPT, **headers}, content, cookies)
            else:
                request = self._post + lines(headers, content)
        except Broken as error:
            pool.keep(connection)
            raise TransportBroken(self.config.name, str(error)) from error
        return connection.begin("POST", request, on_head)

    @functools.cached_property
    def _post(self) -> bytes:
        """What every POST begins with that adds to nothing but `ACCEPT`."""
        fields = {"host": self.here.host, **self._headers, **ACCEPT}
        return f"POST {self.here.target} HTTP/1.1\r\n".encode() + lines(fields, None)

    def keep(self, response: Response, cookies: Cookies) -> None:
        """Keep the cookies that a response to `begin` set."""
        if response.cookies:
            cookies.take(self.here, response.cookies)

    @asynccontextmanager
    async def open(
        self,
        method: str,
        headers: Mapping[str, str],
        message: Json | None = None,
        *,
        cookies: Cookies,
        place: Place | None = None,
    ) -> AsyncGenerator[Response]:
        """Send one request and yield its response with the body still to be read.

        `cookies` are those of the connection; the response's are added to them.

        Raises:
            Unreachable: no connection could be made.
            TransportBroken: it failed after that.
        """
        content = None if message is None else jsonrpc.encode(message)
        with self._in_words():
            response = await self._follow_redirects(method, place or self.here, headers, content, cookies)
        async with self.reading(response):
            yield response

    @asynccontextmanager
    async def reading(self, response: Response) -> AsyncGenerator[None]:
        """Read a response in the block; what is left of it afterwards ends its connection."""
        try:
            self._check_encoding(response)
            yield
        finally:
            response.cancel()

    async def body(self, response: Response, limit: int | None = None) -> bytes:
        """Read a whole body; raises CallError if it is larger than `limit` bytes."""
        limit = limit or self.max_message_bytes
        chunks: list[bytes] = []
        size = 0
        async with aclosing(self._chunks(response)) as parts:
            async for chunk in parts:
                size += len(chunk)
                if size > limit:
                    raise self.too_large(f"a body of more than {limit} bytes")
                chunks.append(chunk)
        return b"".join(chunks)

    async def follow(self, response: Response, take: Callable[[sse.Event], bool]) -> bool:
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
            raise self.too_large(str(error)) from error
        except (TimeoutError, TransportBroken):
            if not finished:
                raise
        return finished

    async def discard(self, response: Response) -> None:
        """Read a body that says nothing, briefly, so that the connection can be used again."""
        try:
            async with asyncio.timeout(_DRAIN), aclosing(self._chunks(response)) as chunks:
                async for _ in chunks:
                    pass
        except (TimeoutError, TransportBroken):
            pass  # the connection is closed instead

    async def rejection(self, response: Response) -> tuple[Json | None, Rejected]:
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
        return said, Rejected(self.config.name, self._status_in_words(response), response.status)

    def _status_in_words(self, response: Response) -> str:
        status = response.status
        asked = f"{response.method} {self.shown}"
        words = f"{asked} was answered with HTTP {status} {_phrase(status)}".strip()
        where = f"server '{self.config.name}' in {self.config.source}"
        if 300 <= status < 400 and (location := response.headers.get("location")):
            target = without_secrets(_joined(self.config.url, location))[:_SHOWN]
            return (
                f"{words} to {target}, which is not followed; set it as the `url` of {where} if it is meant"
            )
        if status in (401, 403):
            return f"{words}; set `headers` (for example Authorization) of {where}"
        if status in (404, 405):
            return f"{words}; check the `url` of {where}, and its `type` (`http` or `sse`)"
        return words

    def _check_encoding(self, response: Response) -> None:
        """Refuse what could unpack to any size: encodings nobody asked for, and one inside another."""
        encoding = encoding_of(response)
        if encoding not in _ENCODINGS:
            raise CallError(
                f"server '{self.config.name}' answered with content encoding '{encoding[:_SHOWN]}', and only "
                "gzip or deflate, once, was asked for"
            )

    async def _follow_redirects(
        self, method: str, place: Place, headers: Mapping[str, str], content: bytes | None, cookies: Cookies
    ) -> Response:
        for _ in range(_MAX_REDIRECTS):
            response = await self._once(method, place, headers, content, cookies)
            there = following(place, response)
            if there is None:
                return response
            try:
                await self.discard(response)
            finally:
                response.cancel()
            place = there
        return await self._once(method, place, headers, content, cookies)

    async def _once(
        self, method: str, place: Place, headers: Mapping[str, str], content: bytes | None, cookies: Cookies
    ) -> Response:
        pool = self._pools.get(place.origin)
        if pool is None:
            pool = self._pools[place.origin] = HttpPool(place.origin)
        request = self._request(pool, method, place, headers, content, cookies)
        connection = pool.idle() or await pool.connect()
        head: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def begun(_: Response) -> None:
            if not head.done():
                head.set_result(None)

        response = connection.begin(method, request, begun)
        try:
            await head
        except BaseException:
            response.cancel()
            raise
        if response.error is not None:
            raise response.error
        if response.cookies:
            cookies.take(place, response.cookies)
        return response

    def _request(
        self,
        pool: HttpPool,
        method: str,
        place: Place,
        headers: Mapping[str, str],
        content: bytes | None,
        cookies: Cookies,
    ) -> bytes:
        """Return a request as it goes over the wire (RFC 9112, 3)."""
        fields = {"host": place.host, **self._headers, **headers}
        target = place.target
        if (proxy := pool.absolute) is not None:
            target = f"{place.origin.scheme}://{place.host}{target}"
            if proxy.userinfo:
                fields["proxy-authorization"] = basic(proxy.userinfo)
        if (cookie := cookies.header(place)) is not None:
            fields["cookie"] = cookie
        head = f"{method} {target} HTTP/1.1\r\n".encode()
        if content is None:
            return head + lines(fields, None) + b"\r\n"
        return head + lines(fields, content)

    async def _chunks(self, response: Response) -> AsyncGenerator[bytes]:
        with self._in_words():
            encoding = encoding_of(response)
            if encoding in ("", "identity"):
                while chunk := await response.next():
                    yield chunk
                return
            unpacker = Unpacker()
            while chunk := await response.next():
                try:
                    for piece in unpacker.feed(chunk):
                        yield piece
                        await asyncio.sleep(0)  # there may be a thousand pieces in a chunk
                except zlib.error as error:
                    raise Broken(f"its body is not {encoding}: {error}") from error
            if not unpacker.complete:
                raise Broken(f"its body ends in the middle of its {encoding}")

    @contextmanager
    def _in_words(self) -> Generator[None]:
        try:
            yield
        except (NotConnected, httpx2.InvalidURL) as error:
            reason = f"{self.shown} cannot be reached: {error}"
            raise Unreachable(self.config.name, reason) from error
        except Broken as error:
            raise TransportBroken(self.config.name, str(error)) from error

    def too_large(self, what: str) -> CallError:
        """Return the error for more bytes than a message may have."""
        return CallError(f"server '{self.config.name}' sent {what}; the limit is `limits.max_message_bytes`")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return location  # none that could be joined


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
