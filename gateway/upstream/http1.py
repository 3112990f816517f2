"""HTTP/1.1 on one connection, by callbacks: no task and no queue between the socket and who reads.

The parser is httptools' (llhttp). What is left is small: one exchange at a time, bodies that are
either collected whole or read chunk by chunk with back-pressure, and an end for everything
(docs/decisions/0044).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import httptools

from gateway.wire.headers import name_of, value_of

_MAX_HEAD: Final = 100 * 1024
"""Bytes of a response's head."""
_HIGH: Final = 256 * 1024
"""Bytes of a body that wait to be read before no more is taken from the socket."""
_FRAMED: Final = frozenset({"content-length", "transfer-encoding"})
"""Without one of these a body ends where the connection does (RFC 9112, 6.3)."""


class Broken(Exception):
    """The exchange failed; the message is the reason, in words."""


class TooLarge(Exception):
    """A body that was to be collected has more bytes than its limit."""


class Response:
    """A response, filled as it arrives: first `status` and `headers`, then the body.

    `headers` are by lower-case name, several of one name joined by a comma; `cookies` are the
    values of `Set-Cookie`. The body is either given to the callback of `collect`, or read with
    `next`. `cancel` ends the exchange at any time; no callback is called after it.
    """

    __slots__ = (
        "_chunks",
        "_connection",
        "_done",
        "_error",
        "_limit",
        "_on_head",
        "_size",
        "_waiter",
        "complete",
        "cookies",
        "headers",
        "method",
        "status",
    )

    def __init__(self, connection: HttpConnection, method: str, on_head: Callable[[Response], None]) -> None:
        self.method = method
        self.status = 0
        self.headers: dict[str, str] = {}
        self.cookies: list[str] = []
        self.complete = False
        self._connection: HttpConnection | None = connection
        self._on_head: Callable[[Response], None] | None = on_head
        self._done: Callable[[bytes | Exception], None] | None = None
        self._limit = 0
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._error: Broken | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        state = "complete" if self.complete else "open"
        return f"<Response {self.status or 'to come'}, {state}, {self._size} bytes unread>"

    @property
    def is_success(self) -> bool:
        """Whether the status is one of 2xx."""
        return 200 <= self.status < 300

    @property
    def error(self) -> Broken | None:
        """Why the exchange failed, if it has."""
        return self._error

    def collect(self, limit: int, done: Callable[[bytes | Exception], None]) -> None:
        """Give the whole body to `done` when it is there, or Broken, or TooLarge beyond `limit` bytes."""
        self._limit, self._done = limit, done
        if self._size > limit:
            self._end(TooLarge())
        elif self.complete:
            self._end(b"".join(self._chunks))
        elif self._error is not None:
            self._end(self._error)

    async def next(self) -> bytes:
        """Return the next part of the body; nothing at its end.

        Raises:
            Broken: the connection ended before it, or what came is not HTTP.
        """
        while not self._chunks:
            if self.complete:
                return b""
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        chunk = self._chunks.popleft()
        self._size -= len(chunk)
        if self._connection is not None and self._size <= _HIGH:
            self._connection.resume()
        return chunk

    def cancel(self) -> None:
        """End the exchange; the connection closes with it unless the response is complete."""
        self._on_head = self._done = None
        if self._connection is not None:
            self._connection.abort()

    def begin(self, status: int, fields: list[tuple[bytes, bytes]]) -> None:
        """Take the head."""
        self.status = status
        headers = self.headers
        for raw_name, raw_value in fields:
            name, value = name_of(raw_name), value_of(raw_value)
            if name == "set-cookie":
                self.cookies.append(value)
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        on_head, self._on_head = self._on_head, None
        if on_head is not None:
            on_head(self)

    def feed(self, data: bytes) -> None:
        """Take a part of the body."""
        self._chunks.append(data)
        self._size += len(data)
        if self._done is not None:
            if self._size > self._limit:
                self._end(TooLarge())
            return
        if self._size > _HIGH and self._connection is not None:
            self._connection.pause()
        self._wake()

    def finish(self) -> None:
        """Take the end of the body."""
        self.complete = True
        self._connection = None
        if self._done is not None:
            self._end(b"".join(self._chunks))
        self._wake()

    def fail(self, error: Broken) -> None:
        """Take word that the rest will not come."""
        self._error, self._connection = error, None
        on_head, self._on_head = self._on_head, None
        if on_head is not None:
            on_head(self)
        elif self._done is not None:
            self._end(error)
        self._wake()

    def _end(self, outcome: bytes | Exception) -> None:
        done, self._done = self._done, None
        self._chunks.clear()
        if isinstance(outcome, TooLarge):
            self.cancel()
        if done is not None:
            done(outcome)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class HttpConnection(asyncio.Protocol):
    """One connection: idle, or carrying one exchange.

    `on_idle` is called with it whenever it can carry the next one, `on_lost` once it is over.
    """

    def __init__(
        self, on_idle: Callable[[HttpConnection], None], on_lost: Callable[[HttpConnection], None]
    ) -> None:
        self.idle_since = 0.0
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._fields: list[tuple[bytes, bytes]] = []
        self._response: Response | None = None
        self._in_head = True
        self._interim = False
        self._head_size = 0
        self._paused = False

    def __repr__(self) -> str:
        state = "closed" if self._transport is None else "idle" if self._response is None else "busy"
        return f"<HttpConnection {state}>"

    @property
    def busy(self) -> bool:
        """Whether an exchange is open."""
        return self._response is not None

    def begin(self, method: str, request: bytes, on_head: Callable[[Response], None]) -> Response:
        """Send a request, as bytes; `on_head` gets the response when its head is there, or it has failed."""
        assert self._transport is not None, "a connection that was lost is not handed out"
        response = self._response = Response(self, method, on_head)
        self._head_size = 0
        self._transport.write(request)
        return response

    def abort(self) -> None:
        """Close at once: what is open gets nothing more."""
        response, self._response = self._response, None
        if self._transport is not None:
            self._transport.abort()
        if response is not None:
            response.fail(Broken("the exchange was cancelled"))

    def pause(self) -> None:
        """Take no more from the socket until `resume`."""
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of a class of their own

    def connection_lost(self, exc: Exception | None) -> None:
        """Give what was open its end."""
        self._transport = None
        response, self._response = self._response, None
        if response is not None:
            if response.status and exc is None and _FRAMED.isdisjoint(response.headers):
                response.finish()
            else:
                response.fail(Broken(_why(exc, response)))
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._response is None:
            # Nothing was asked: this server's next answer could not be told from it.
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # a defect of ours: the event loop reports it, and ends the connection
        except httptools.HttpParserUpgrade:
            self._break("it switched protocols, which nobody asked for")
        except httptools.HttpParserError as error:
            self._break(f"its response is not HTTP: {error}")
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > _MAX_HEAD:
                self._break(f"the head of its response has more than {_MAX_HEAD} bytes")

    def eof_received(self) -> None:
        """Close when the server does."""

    # httptools

    def on_message_begin(self) -> None:
        """Begin a response, perhaps an interim one."""
        self._fields = []
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field; those after the body are not used."""
        if self._in_head:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Pass the head on, unless it is one of 1xx, which the real one follows."""
        status = self._parser.get_status_code()
        self._interim = 100 <= status < 200
        if not self._interim:
            self._in_head = False
            if self._response is not None:
                self._response.begin(status, self._fields)

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on."""
        if self._response is not None:
            self._response.feed(body)

    def on_message_complete(self) -> None:
        """Be free for the next exchange, if the server wants one."""
        if self._interim:
            return
        self._in_head = True
        self.resume()
        response, self._response = self._response, None
        if self._transport is not None and not self._transport.is_closing():
            if response is not None and self._parser.should_keep_alive():
                self._on_idle(self)
            else:
                self._transport.close()
        if response is not None:
            response.finish()

    def _break(self, reason: str) -> None:
        response, self._response = self._response, None
        self.abort()
        if response is not None:
            response.fail(Broken(reason))


def _why(exc: Exception | None, response: Response) -> str:
    if exc is not None:
        words = exc.strerror if isinstance(exc, OSError) else None
        return words or str(exc) or type(exc).__name__
    if response.status:
        return "the server closed the connection in the middle of its response"
    return "the server disconnected without sending a response"
