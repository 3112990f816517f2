"""A response's head and its body in one packet: the HTTP server writes them one after the other."""

from __future__ import annotations

import asyncio
from typing import Any, Final

_HEAD: Final = b"HTTP/1.1 "
_LARGE: Final = 64 * 1024
"""Bytes of a body that is not one packet anyway, and of which a copy would cost more than a system call."""


class Corked:
    """A transport that keeps a response's head for what comes next: its body, or the end of this turn.

    Each write is a system call, and a packet, which the client is woken for.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, or keep a head."""
        if self._head:
            if len(data) > _LARGE:
                self._flush()
            else:
                data, self._head = self._head + data, b""
        elif data.startswith(_HEAD):
            self._head = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        """Write what is kept, and close."""
        self._flush()
        self._transport.close()

    def write_eof(self) -> None:
        """Write what is kept, and no more."""
        self._flush()
        self._transport.write_eof()

    def abort(self) -> None:
        """Close at once; what is kept is not written."""
        self._head = b""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it was closed, or is being."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._head:
            data, self._head = self._head, b""
            self._transport.write(data)
