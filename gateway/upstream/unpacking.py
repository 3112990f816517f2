"""Unpacks bodies in `gzip` or `deflate` piece by piece: a small one may hold any number of bytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Final

_PIECE: Final = 64 * 1024
_ANY: Final = zlib.MAX_WBITS | 32
"""gzip, or deflate in its wrapping, whichever it turns out to be."""


class Unpacker:
    """Unpacks one body, whichever of the three forms it has that servers mean by those two names."""

    def __init__(self) -> None:
        self._begin = b""
        self._unpack: Any = None

    @property
    def complete(self) -> bool:
        """Whether what came so far is whole: something packed to its end, or nothing at all."""
        return not self._begin if self._unpack is None else self._unpack.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what a part of the body holds; what comes after its end is ignored.

        Raises:
            zlib.error: it is in none of these forms.
        """
        if self._unpack is None:
            data = self._begin + data
            if len(data) < 2:
                self._begin = data
                return
            self._unpack = zlib.decompressobj(_ANY if _is_wrapped(data) else -zlib.MAX_WBITS)
        while not self._unpack.eof:
            piece = self._unpack.decompress(data, _PIECE)
            if piece:
                yield piece
            if self._unpack.eof and self._unpack.unused_data[:2] == b"\x1f\x8b":
                # Several may follow one another (RFC 1952, 2.2).
                data, self._unpack = self._unpack.unused_data, zlib.decompressobj(_ANY)
                continue
            data = self._unpack.unconsumed_tail
            # A full piece may have more behind it, though everything was taken in.
            if not data and len(piece) < _PIECE:
                return


def _is_wrapped(begin: bytes) -> bool:
    """Whether it begins as gzip or zlib do (RFC 1952, 2.3; RFC 1950, 2.2), and not with bare deflate."""
    zlib_s = begin[0] & 0x8F == zlib.DEFLATED and int.from_bytes(begin[:2], "big") % 31 == 0
    return begin[:2] == b"\x1f\x8b" or zlib_s
