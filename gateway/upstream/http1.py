"""HTTP/1.1 on one connection, by callbacks: no task and no queue between the socket and who reads.

The parser is httptools' (llhttp). What is left is small: one exchange at a time, bodies that are
either collected whole or read part by part with back-pressure, and an end for everything
(docs/decisions/0044).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools

from gateway.upstream.response import Broken, Response

_MAX_HEAD: Final = 100 * 1024
"""Bytes of a response's head; also of whatever else in it is no body."""
_LONG_HEAD: Final = f"the head of its response has more than {_MAX_HEAD} bytes"
_MAX_FIELDS: Final = 256
_FRAMED: Final = frozenset({"content-length", "transfer-encoding"})
"""Without one of these a body ends where the connection does (RFC 9112, 6.3)."""


class HttpConnection(asyncio.Protocol):
    """One connection: idle, or carrying one exchange.

    `on_idle` is called with it whenever it can carry the next one, `on_lost` once it is over.
    """

    __slots__ = (
        "_bare",
        "_fields",
        "_in_head",
        "_interim",
        "_on_idle",
        "_on_lost",
        "_parser",
        "_paused",
        "_response",
        "_reusable",
        "_transport",
        "idle_since",
    )

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
        self._reusable = False
        # How many bytes have come in a row that are no body: a head, trailers, extensions of chunks.
        self._bare = 0
        self._paused = False

    def __repr__(self) -> str:
        state = "closed" if self._transport is None else "idle" if self._response is None else "busy"
        return f"<HttpConnection {state}>"

    @property
    def usable(self) -> bool:
        """Whether it can carry an exchange now: it is idle, and neither side has closed it."""
        transport = self._transport
        return self._response is None and transport is not None and not transport.is_closing()

    def begin(self, method: str, request: bytes, on_head: Callable[[Response], None]) -> Response:
        """Send a request, as bytes; `on_head` gets the response when its head is there, or it has failed."""
        assert self._transport is not None, "a connection that was lost is not handed out"
        response = self._response = Response(self, method, on_head)
        self._bare = 0
        self._transport.write(request)
        return response

    def abort(self) -> None:
        """Close at once: what is open gets nothing more."""
        self.break_off("the exchange was cancelled")

    def break_off(self, reason: str) -> None:
        """Close at once, and tell what is open why."""
        response, self._response = self._response, None
        if self._transport is not None:
            self._transport.abort()
        if response is not None:
            response.fail(Broken(reason))

    def pause(self) -> None:
        """Take no more from the socket until `resume`."""
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        # uvloop's transports are none of asyncio's classes, though all that those are.
        self._transport = cast("asyncio.Transport", transport)

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
        response = self._response
        if response is None:
            # Nothing was asked: this server's next answer could not be told from it.
            self.abort()
            return
        self._bare += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # a defect of ours: the event loop reports it, and ends the connection
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.break_off(f"its response is not HTTP: {error}")
        if self._response is not response:
            self._release()
        elif self._bare > _MAX_HEAD:
            self.break_off(_LONG_HEAD)

    def eof_received(self) -> None:
        """Close when the server does, whatever it has not read of a request."""
        if self._transport is not None:
            self._transport.abort()

    # httptools

    def on_message_begin(self) -> None:
        """Begin a response, perhaps an interim one."""
        self._in_head = True
        if self._response is None:
            self._reusable = False  # it follows a response on its heels, and nobody asked for it

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field; those after the body are not used."""
        if self._in_head:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Pass the head on, unless it is one of 1xx, which the real one follows."""
        status = self._parser.get_status_code()
        fields, self._fields = self._fields, []
        self._interim = status < 200
        if self._interim:
            self._refuse_interim(status)
            return
        self._in_head = False
        # Some of what came with it may be a body.
        if self._bare > _MAX_HEAD and sum(map(_length, fields)) > _MAX_HEAD:
            self.break_off(_LONG_HEAD)
        elif len(fields) > _MAX_FIELDS:
            self.break_off(f"the head of its response has more than {_MAX_FIELDS} fields")
        self._bare = 0
        if self._response is not None:
            self._response.begin(status, fields)

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on."""
        self._bare = 0
        if self._response is not None:
            self._response.feed(body)

    def on_message_complete(self) -> None:
        """End the exchange; the connection is free once all that came has been parsed."""
        if self._interim:
            return
        self.resume()
        response, self._response = self._response, None
        if response is not None:
            self._reusable = self._parser.should_keep_alive() and not (
                # Its framing is not to be trusted twice (RFC 9112, 6.1).
                "transfer-encoding" in response.headers and self._parser.get_http_version() == "1.0"
            )
            response.finish()

    def _refuse_interim(self, status: int) -> None:
        if status == 101:
            self.break_off("it switched protocols, which nobody asked for")
        elif status < 100:
            self.break_off(f"its response is not HTTP: a status of {status}")

    def _release(self) -> None:
        """Be free for the next exchange, if the server has taken the last one whole and wants one."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size():
            transport.abort()
        elif self._reusable:
            self._on_idle(self)
        else:
            transport.close()


def _length(field: tuple[bytes, bytes]) -> int:
    return len(field[0]) + len(field[1]) + len(b": \r\n")


def _why(exc: Exception | None, response: Response) -> str:
    if exc is not None:
        words = exc.strerror if isinstance(exc, OSError) else None
        return words or str(exc) or type(exc).__name__
    if response.status:
        return "the server closed the connection in the middle of its response"
    return "the server disconnected without sending a response"
