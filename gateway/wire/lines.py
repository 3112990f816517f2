"""Newline-delimited messages, read incrementally (stdio transport, every revision)."""

from __future__ import annotations

from collections.abc import Iterator


class LineTooLong(ValueError):
    """One line is larger than the reader's limit."""


class Lines:
    """Turns chunks of bytes into lines; holds at most `limit` bytes of an unfinished one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._partial: list[bytes] = []
        self._size = 0

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
        self._size += len(piece)
        if self._size > self._limit:
            raise LineTooLong(f"one line has more than {self._limit} bytes")
        if piece:
            self._partial.append(piece)

    def _take(self) -> bytes:
        # Joined once, at its end, so that a long line costs linear time.
        line = b"".join(self._partial).strip(b"\r \t")
        self._partial, self._size = [], 0
        return line
