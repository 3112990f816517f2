"""A response of HTTP/1.1 as it arrives: its head, then its body, collected whole or read part by part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from io import BytesIO
from typing import Final, Protocol

from gateway.wire.headers import name_of, value_of

_HIGH: Final = 256 * 1024
"""Bytes of a body that wait to be read before no more is taken from the socket."""
_LARGE: Final = 256 * 1024
"""Bytes of a body beyond which it matters how often it is in memory."""
_AT_ONCE: Final = 4 * 1024 * 1024
"""Bytes of room made for a body before it has come, because its head says that it will."""
_DIGITS: Final = 18


class Broken(Exception):
    """The exchange failed; the message is the reason, in words."""


class TooLarge(Exception):
    """A body that was to be collected has more bytes than its limit."""


class Exchanging(Protocol):
    """The connection that a response comes on."""

    def abort(self) -> None:
        """Close at once."""
        ...

    def break_off(self, reason: str) -> None:
        """Close at once, and tell the response why."""
        ...

    def pause(self) -> None:
        """Take no more from the socket until `resume`."""
        ...

    def resume(self) -> None:
        """Go on after `pause`."""
        ...


class Response:
    """A response, filled as it arrives: first `status` and `headers`, then the body.

    `headers` are by lower-case name, several of one name joined by a comma; `cookies` are the
    values of `Set-Cookie`. The body is either given to the callback of `collect`, or read with
    `next`. `cancel` ends the exchange at any time; no callback is called after it.
    """

    __slots__ = (
        "_body",
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

    def __init__(self, connection: Exchanging, method: str, on_head: Callable[[Response], None]) -> None:
        self.method = method
        self.status = 0
        self.headers: dict[str, str] = {}
        self.cookies: list[str] = []
        self.complete = False
        self._connection: Exchanging | None = connection
        self._on_head: Callable[[Response], None] | None = on_head
        self._done: Callable[[bytes | Exception], None] | None = None
        self._limit = 0
        # What waits to be read is one part, mostly the only one, or all of them in one:
        # a list of parts could cost many times what it holds, if a server makes them small.
        self._body: bytes | BytesIO = b""
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
            self._end(self._take())
        elif self._error is not None:
            self._end(self._error)

    async def next(self) -> bytes:
        """Return what has come of the body since the last time; nothing at its end.

        Raises:
            Broken: the connection ended before it, or what came is not HTTP.
        """
        while not self._size:
            if self.complete:
                return b""
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = self._take()
        if self._connection is not None:
            self._connection.resume()
        return data

    def cancel(self) -> None:
        """End the exchange; the connection closes with it unless the response is complete."""
        self._on_head = self._done = None
        self._take()
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
        if "transfer-encoding" in headers and headers["transfer-encoding"].lower() != "chunked":
            # Nothing else was offered (RFC 9110, 10.1.4), and nothing else can be taken off.
            coding = headers["transfer-encoding"][:100]
            if self._connection is not None:
                self._connection.break_off(
                    f"its body is in transfer encoding '{coding}', which nobody asked for"
                )
            return
        on_head, self._on_head = self._on_head, None
        if on_head is not None:
            on_head(self)

    def feed(self, data: bytes) -> None:
        """Take a part of the body."""
        if not self._size:
            self._body = data
        elif isinstance(self._body, bytes):
            self._body = self._room(self._body)
            self._body.write(data)
        else:
            self._body.write(data)
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
        if self._done is not None and self._size > _LARGE:
            # Whoever decodes it should not do so on top of the last parts that came.
            asyncio.get_running_loop().call_soon(self._end, self._take())
        elif self._done is not None:
            self._end(self._take())
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

    def _room(self, first: bytes) -> BytesIO:
        """Begin to put parts together, in as much room as they will need if that is known."""
        room = BytesIO()
        length = self.headers.get("content-length", "")
        if self._done is not None and length.isdecimal() and len(length) < _DIGITS:
            room.seek(min(int(length), self._limit, _AT_ONCE) - 1)
            room.write(b"\0")
            room.seek(0)
        room.write(first)
        return room

    def _take(self) -> bytes:
        body, self._body, self._size = self._body, b"", 0
        if isinstance(body, bytes):
            return body
        body.truncate()
        # The buffer itself: a copy of what is large would be as large again.
        return body.getvalue()

    def _end(self, outcome: bytes | Exception) -> None:
        done, self._done = self._done, None
        if isinstance(outcome, TooLarge):
            self.cancel()
        if done is not None:
            done(outcome)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
