"""Newline-delimited messages, read incrementally (stdio transport, every revision)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

_BATCH = 64
"""Messages taken in a row before others have their turn: a flood must not be all that runs."""


class LineTooLong(ValueError):
    """One line is larger than the reader's limit."""


class Lines:
    """Turns chunks of bytes into lines; holds at most `limit` bytes of an unfinished one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._partial = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the non-empty lines that `chunk` completes, without their ends, in order.

        Raises:
            LineTooLong: a line has outgrown the limit.
        """
        first, *rest = chunk.split(b"\n")
        self._hold(first)
        for piece in rest:
            line = self._take()
            if line:
                yield line
            self._hold(piece)

    def rest(self) -> bytes:
        """Return, and forget, what is held of an unfinished line: the stream has ended."""
        return self._take()

    def _hold(self, piece: bytes) -> None:
        # One buffer that grows: chunks of a few bytes each would cost many times their size if kept apart.
        self._partial += piece
        if len(self._partial) > self._limit:
            raise LineTooLong(f"one line has more than {self._limit} bytes")

    def _take(self) -> bytes:
        line = bytes(self._partial).strip(b"\r \t")
        self._partial = bytearray()
        return line


async def read_lines(read: Callable[[], Awaitable[bytes]], limit: int) -> AsyncIterator[bytes]:
    """Yield the non-empty lines of a stream, an unfinished last one too.

    `read` returns the next chunk, empty at the end. A chunk that is at hand already costs no
    wait, so the loop is yielded to every few lines.

    Raises:
        LineTooLong: a line has outgrown the limit; those before it were yielded.
        OSError: whatever `read` raises.
    """
    lines = Lines(limit)
    taken = 0
    while chunk := await read():
        for line in lines.feed(chunk):
            yield line
            taken += 1
            if taken % _BATCH == 0:
                await asyncio.sleep(0)
    if last := lines.rest():
        yield last
