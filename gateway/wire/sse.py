"""Server-Sent Events, written and read incrementally (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

KEEPALIVE = b": keep-alive\n\n"
"""A comment: holds a connection open and means nothing."""


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
    """Turns chunks of bytes into events; holds at most `limit` bytes of an unfinished one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines: list[bytes] = []
        self._held = 0
        self._partial: list[bytes] = []
        self._partial_size = 0
        self._started = False

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
                self._lines.append(line)
                self._held += len(line)
                self._check()
                continue
            finished = self._dispatch()
            if finished is not None:
                yield finished
        self._check()

    def _complete_lines(self, chunk: bytes) -> list[bytes]:
        held_return = bool(self._partial) and self._partial[-1].endswith(b"\r")
        if not held_return and b"\n" not in chunk and b"\r" not in chunk:
            # The middle of a long line: joining once at its end keeps large events linear.
            self._partial.append(chunk)
            self._partial_size += len(chunk)
            return []
        *lines, rest = _split(b"".join((*self._partial, chunk)))
        self._partial = [rest] if rest else []
        self._partial_size = len(rest)
        return lines

    def _check(self) -> None:
        if self._held + self._partial_size > self._limit:
            raise EventTooLarge(f"one event has more than {self._limit} bytes")

    def _dispatch(self) -> Event | None:
        lines, self._lines, self._held = self._lines, [], 0
        data: list[str] = []
        name, event_id, retry = "message", None, None
        for line in lines:
            field, _, value = line.decode("utf-8", "replace").partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field == "event":
                name = value or "message"
            elif field == "id" and "\0" not in value:
                event_id = value
            elif field == "retry" and value.isascii() and value.isdigit():
                retry = int(value)
        if not data and event_id is None and retry is None:
            return None
        return Event("\n".join(data), name, event_id, retry)


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
