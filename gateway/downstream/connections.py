"""What one TCP connection of a client may cost.

Bounds are on a request's head, on the time a request takes to arrive, and on how long a client may refuse
to take its response. Bodies are bounded where they are read (`gateway.downstream.exchange.read_body`).
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from gateway.config.resolved import Limits
from gateway.downstream.cycle import Cycle
from gateway.downstream.exchange import COMPLETE
from gateway.downstream.http1 import HttpConnection, Refused
from gateway.wire import jsonrpc

_AFTER_THE_APP: Final = 2.0
"""Seconds the application has to answer 408 itself once the time for a body is over."""
_LINGER: Final = 1.0
"""Seconds for which what comes after a refusal is dropped before the connection closes."""
_OVERHEAD: Final = 8
"""How many times the limit on a body its framing may come to: chunks of one byte take six."""
HOLD: Final = "backchannel.hold"
"""In a request's scope: seconds for which its connection is not read from after the response."""
_PHRASES: Final = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


def bounded_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Return the protocol class that uvicorn is to use (`http=`)."""

    class Bounded(BoundedProtocol):
        bounds = limits

    return Bounded


class BoundedProtocol(HttpConnection):
    """A connection that refuses or disconnects a client that goes beyond `bounds`."""

    bounds = Limits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._received = 0
        self._begun = False
        self._refused = False
        self._arrival: asyncio.TimerHandle | None = None
        self._patience: float | None = None
        self._clock = self._running = 0
        self._stall: asyncio.TimerHandle | None = None
        self._held: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether it carries something, or is about to, or is made to wait."""
        return super().busy or self._arrival is not None or self._held is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, or refuse it where there are too many."""
        super().connection_made(transport)
        if len(self._shared.connections) > self.bounds.max_connections:
            most = self.bounds.max_connections
            self.refuse(503, f"{most} connections are open (limits.max_connections); try later")
            return
        self._expect(self.bounds.request_timeout_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection's timers."""
        self._expect(None)
        self._watch(None)
        if self._held is not None:
            self._held.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; a head or a framing without end is refused before it is complete."""
        if self._refused or self.transport.is_closing():
            return
        self._begun = False
        super().data_received(data)
        if self._clock != self._running:
            self._expect(self._patience)
            self._running = self._clock
        if not self._begun:
            # All of this chunk belongs to a request that an earlier one began.
            self._received += len(data)
        if self._in_head and self._received > self.bounds.max_header_bytes:
            self.refuse(431, _head_too_large(self.bounds))
        elif self._received > self.bounds.max_body_bytes * _OVERHEAD + self.bounds.max_header_bytes:
            self.refuse(400, "the framing of the body has no end; see limits.max_body_bytes")

    def on_message_begin(self) -> None:
        """Begin to count a request."""
        super().on_message_begin()
        self._begun = self._in_head = True
        self._received = 0
        self._give(self.bounds.request_timeout_seconds)

    def on_headers_complete(self) -> None:
        """Hand the request to the application, whose own clock runs for the body."""
        size = sum([len(name) + len(value) for name, value in self.fields], len(self.target))
        if size > self.bounds.max_header_bytes:
            raise Refused(431, _head_too_large(self.bounds))
        self._check_count()
        self._in_head = False
        self._give(self.bounds.request_timeout_seconds + _AFTER_THE_APP)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop the clock: the request is here, with trailers, if it has any."""
        self._check_count()
        self._give(None)
        self._received = 0
        if self._arriving is not None:
            self._arriving.scope[COMPLETE] = True
        super().on_message_complete()

    def answered(self, cycle: Cycle) -> None:
        """Go on to the next request; one that comes at once after a refusal may have to wait."""
        super().answered(cycle)
        seconds = cycle.scope.get(HOLD)
        if seconds is not None and not self.transport.is_closing():
            self.pause()
            self._held = self.loop.call_later(seconds, self._read_on)

    def pause_writing(self) -> None:
        """Begin to watch whether the client takes anything."""
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Stop watching."""
        self._watch(None)
        super().resume_writing()

    def _read_on(self) -> None:
        """Read again from a client that was made to wait, and give it the usual time to say something."""
        self._held = None
        self.resume()
        self.rest()

    def _check_count(self) -> None:
        if len(self.fields) + self.trailers > self.bounds.max_headers:
            most = self.bounds.max_headers
            raise Refused(431, f"a request may have {most} header fields (limits.max_headers)")

    def _give(self, seconds: float | None) -> None:
        """Say how long the next part may take. The clock is set once what is at hand has been parsed:
        most requests come whole, and need none."""
        self._patience = seconds
        self._clock += 1

    def _expect(self, seconds: float | None) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
        self._arrival = None if seconds is None else self.loop.call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        if self._in_head:
            seconds = self.bounds.request_timeout_seconds
            self.refuse(408, f"no request within {seconds:g} s (limits.request_timeout_seconds)")
        else:
            self.transport.abort()

    def _watch(self, waiting: int | None) -> None:
        if self._stall is not None:
            self._stall.cancel()
        self._stall = None
        if waiting is not None:
            self._stall = self.loop.call_later(self.bounds.stalled_seconds, self._look, waiting)

    def _look(self, before: int) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting >= before:
            self.transport.abort()
        else:
            self._watch(waiting)

    def refuse(self, status: int, text: str) -> None:
        """Answer in the gateway's own words and close; in the middle of a response just close.

        What the client still sends is read and dropped for a moment: closing at once would make its
        system throw the answer away.
        """
        self._expect(None)
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        if self.current is not None:
            if self.current.begun:
                self.transport.close()
                return
            self.current.disconnect()
        body = jsonrpc.encode(jsonrpc.error(None, jsonrpc.INVALID_REQUEST, text))
        head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\n" % (status, _PHRASES[status])
        if status == 503:
            head += b"retry-after: 1\r\n"
        self.transport.write(head + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)
        self.transport.write_eof()
        self._arrival = self.loop.call_later(_LINGER, self.transport.close)


def _head_too_large(limits: Limits) -> str:
    return f"the request's head has more than {limits.max_header_bytes} bytes (limits.max_header_bytes)"
