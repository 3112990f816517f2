"""Server-Sent Events, written and read incrementally (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

KEEPALIVE = b": keep-alive\n\n"
"""A comment: holds a connection open and means nothing."""


_FIELD_ROOM = 64
"""Bytes that an unfinished line may have beyond the limit on data: the name of its field."""
_RETRY_DIGITS = 9
"""A longer pause is no pause that anybody meant, and Python refuses to read numbers without end."""


class EventTooLarge(ValueError):
    """One event is larger than the reader's limit."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event as dispatched: `data` without its final newline, `id` None when not given."""

    data: str
    name: str = "message"
    id: str | None = None
    retry: int | None = None


def event(data: bytes, *, name: str = "message", event_id: str | None = None) -> bytes:
    """Frame one line of data as an event."""
    head = b"" if event_id is None else b"id: " + event_id.encode() + b"\n"
    return head + b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


class Reader:
    """Turns chunks of bytes into events; holds at most `limit` bytes of data of an unfinished one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._partial = bytearray()
        self._started = False
        self._begin()

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that `chunk` completes, in order.

        Raises:
            EventTooLarge: an unfinished event has outgrown the limit.
        """
        if not self._started:
            self._started = True
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        for line in self._complete_lines(chunk):
            if line:
                self._take(line)
            elif (finished := self._dispatch()) is not None:
                yield finished
        self._check(len(self._partial) - _FIELD_ROOM)

    def _begin(self) -> None:
        # The data grows in one buffer: lines of a few bytes each would cost many times their size if kept.
        self._data: bytearray | None = None
        self._name = "message"
        self._id: str | None = None
        self._retry: int | None = None

    def _complete_lines(self, chunk: bytes) -> list[bytes]:
        if not self._partial.endswith(b"\r") and b"\n" not in chunk and b"\r" not in chunk:
            # The middle of a long line: splitting once at its end keeps large events linear.
            self._partial += chunk
            return []
        *lines, rest = _split(bytes(self._partial) + chunk)
        self._partial = bytearray(rest)
        return lines

    def _check(self, more: int) -> None:
        if len(self._data or b"") + more > self._limit:
            raise EventTooLarge(f"one event has more than {self._limit} bytes")

    def _take(self, line: bytes) -> None:
        """Read one field; comments and unknown fields are forgotten at once."""
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._check(len(value) + (self._data is not None))
            if self._data is None:
                self._data = bytearray()
            else:
                self._data += b"\n"
            self._data += value
        elif field == b"event":
            self._name = value.decode("utf-8", "replace") or "message"
        elif field == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif field == b"retry" and value.isdigit() and len(value) <= _RETRY_DIGITS:
            self._retry = int(value)

    def _dispatch(self) -> Event | None:
        data, name, event_id, retry = self._data, self._name, self._id, self._retry
        self._begin()
        if data is None and event_id is None and retry is None:
            return None
        return Event((data or b"").decode("utf-8", "replace"), name, event_id, retry)


def _split(buffer: bytes) -> list[bytes]:
    """Split at LF, CR and CRLF; a CR at the very end may be half of a CRLF and is kept back."""
    if b"\r" not in buffer:
        return buffer.split(b"\n")
    tail = b""
    if buffer.endswith(b"\r"):
        buffer, tail = buffer[:-1], b"\r"
    lines = buffer.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    lines[-1] += tail
    return lines
