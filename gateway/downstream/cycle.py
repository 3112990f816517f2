"""One HTTP request and its response, as an ASGI application sees them: `receive` and `send`.

The head of a response is kept until the first part of its body, as the ASGI specification has it ("Response
Start"): both are one write, and so one packet, for which the client is woken once.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

_HIGH: Final = 64 * 1024
"""Bytes of a body that nobody has read yet beyond which no more is taken from the socket."""
_LARGE: Final = 64 * 1024
"""Bytes of a body that is not one packet anyway, and of which a copy would cost more than a system call."""
_NO_TOKEN: Final = re.compile(rb"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")
_NO_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}
_CHECKED_MOST: Final = 1024
_checked: set[tuple[bytes, bytes]] = set()
"""Header fields that are known to be sound: most responses have the same."""


LEAVING: Final = "backchannel.leaving"
"""In a request's scope: its `Leaving`."""


class Leaving:
    """Whether the client has left before its response was complete, and whom to tell: no task has to wait."""

    __slots__ = ("gone", "tell")

    def __init__(self) -> None:
        self.gone = False
        self.tell: Callable[[], None] | None = None


class Wire(Protocol):
    """The connection that carries the request."""

    @property
    def transport(self) -> asyncio.Transport:
        """The socket's."""
        ...

    @property
    def stalled(self) -> bool:
        """Whether the client takes no more for now."""
        ...

    @property
    def default_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """What every response has."""
        ...

    async def drain(self) -> None:
        """Wait until the client takes more, or has left."""
        ...

    def pause(self) -> None:
        """Take no more from the socket."""
        ...

    def resume(self) -> None:
        """Go on after `pause`."""
        ...

    def answered(self, cycle: Cycle) -> None:
        """Take word that the response is complete."""
        ...


class Cycle:
    """One request and its response.

    The connection gives it the body with `feed`, `finish` its end, and says with `disconnect` that the
    client has left.
    """

    __slots__ = (
        "_chunked",
        "_event",
        "_expects",
        "_head",
        "_leaving",
        "_left",
        "_news",
        "_parts",
        "_started",
        "_waiting",
        "_wire",
        "answered",
        "complete",
        "disconnected",
        "keep_alive",
        "scope",
        "task",
    )

    def __init__(self, wire: Wire, scope: Scope, *, keep_alive: bool, expects: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.answered = self.complete = self.disconnected = False
        self.task: asyncio.Task[None] | None = None
        self._wire = wire
        self._leaving = scope[LEAVING] = Leaving()
        self._expects = expects
        self._parts: list[bytes] = []
        self._waiting = 0
        self._news = False
        self._event: asyncio.Event | None = None
        self._head = b""
        self._started = self._chunked = False
        self._left: int | None = None

    def __repr__(self) -> str:
        state = "answered" if self.answered else "begun" if self.begun else "open"
        return f"<Cycle {self.scope['method']} {self.scope['path']}, {state}>"

    @property
    def begun(self) -> bool:
        """Whether something of the response has been sent."""
        return self._started and not self._head

    def feed(self, data: bytes) -> None:
        """Take a part of the body."""
        if self.answered:
            return
        self._parts.append(data)
        self._waiting += len(data)
        if self._waiting > _HIGH:
            self._wire.pause()
        self._tell()

    def finish(self) -> None:
        """Take the body's end."""
        self.complete = True
        if not self.answered:
            self._tell()

    def disconnect(self) -> None:
        """Take word that the client has left."""
        self.disconnected = not self.answered
        self._leaving.gone = self.disconnected
        self._tell()
        if self.disconnected and self._leaving.tell is not None:
            self._leaving.tell()

    async def run(self, app: App, tasks: set[asyncio.Task[Any]]) -> None:
        """Have the application answer, in a task among `tasks`, which it leaves at its end.

        Whatever the application does, the client gets a response or an end.
        """
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:  # the task boundary: a defect of ours costs this one request
            logger.exception("serving %r failed; this is a defect of the gateway", self)
        finally:
            tasks.discard(cast("asyncio.Task[Any]", self.task))
            self.task = None
            if not self.answered and not self.disconnected:
                self._end_anyhow()

    async def receive(self) -> dict[str, Any]:
        """Return the next part of the request, waiting for it; ASGI's `receive`."""
        wire = self._wire
        if self._expects and not wire.transport.is_closing():
            self._expects = False
            wire.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.disconnected and not self.answered:
            wire.resume()
            if not self._news:
                self._event = self._event or asyncio.Event()
                await self._event.wait()
            self._news = False
            if self._event is not None:
                self._event.clear()
        if self.disconnected or self.answered:
            return {"type": "http.disconnect"}
        parts, self._parts, self._waiting = self._parts, [], 0
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return {"type": "http.request", "body": body, "more_body": not self.complete}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take a part of the response; ASGI's `send`.

        Raises:
            RuntimeError: it cannot come now, or is not what HTTP allows.
        """
        if self._wire.stalled and not self.disconnected:
            await self._wire.drain()
        if self.disconnected or self._wire.transport.is_closing():
            return
        kind = message["type"]
        if kind == "http.response.body" and self._started and not self.answered:
            self._write(message.get("body", b""), more=message.get("more_body", False))
        elif kind == "http.response.start" and not self._started:
            self._start(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"'{kind}' cannot be sent now")

    def _tell(self) -> None:
        self._news = True
        if self._event is not None:
            self._event.set()

    def _start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        lines = [_STATUS_LINES[status]]
        self._chunked = closes = False
        self._left = None
        for name, value in (*self._wire.default_headers, *headers):
            if name == b"content-length":
                self._left = int(value)
            elif (name, value) not in _checked:
                _check(name, value)
            if name == b"connection" and b"close" in value.lower():
                closes, self.keep_alive = True, False
            lines += name, b": ", value, b"\r\n"
        if self._left is None and self.scope["method"] != "HEAD" and status not in (204, 304):
            # One of HTTP/1.0 ends where its connection does.
            self._chunked = self.scope["http_version"] == "1.1"
            if self._chunked:
                lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive and not closes:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)
        self._started, self._expects = True, False

    def _write(self, body: bytes, *, more: bool) -> None:
        data = self._framed(body, more=more)
        head, self._head = self._head, b""
        transport = self._wire.transport
        if head and len(data) > _LARGE:
            transport.write(head)
            transport.write(data)
        elif head or data:
            transport.write(head + data)
        if more:
            return
        self.answered = True
        self._tell()
        if not self.keep_alive:
            transport.close()
        self._wire.answered(self)

    def _framed(self, body: bytes, *, more: bool) -> bytes:
        if self.scope["method"] == "HEAD":
            return b""
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more else chunk + b"0\r\n\r\n"
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError(f"the body has {abs(self._left)} bytes too many or too few")
        return body

    def _end_anyhow(self) -> None:
        """Answer 500 if nothing was sent, else end the connection."""
        if self.begun or self._wire.transport.is_closing():
            self._wire.transport.close()
            return
        text = b"Internal Server Error"
        self._start(500, [(b"content-length", b"%d" % len(text)), (b"connection", b"close")])
        self._write(text, more=False)


def _check(name: bytes, value: bytes) -> None:
    """Refuse what would not be one header field (RFC 9110, 5.1 and 5.5)."""
    if _NO_TOKEN.search(name) or not name:
        raise RuntimeError(f"{name!r} is no name of a header field")
    if _NO_VALUE.search(value):
        raise RuntimeError(f"the header field {name!r} cannot have the value {value!r}")
    if len(_checked) < _CHECKED_MOST and len(value) < _CHECKED_MOST:
        _checked.add((name, value))
