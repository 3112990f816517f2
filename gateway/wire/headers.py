"""Header fields as parsers give them, as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_LONG: Final = 64
"""Bytes of a name beyond which it is none of those that come all the time, and is not remembered."""
_MOST: Final = 2048


class _Names(dict[bytes, str]):
    """Names in lower case, by how they came. The same few come all the time."""

    def __missing__(self, raw: bytes) -> str:
        name = raw.decode("latin-1").lower()
        if len(raw) <= _LONG:
            if len(self) >= _MOST:
                self.clear()
            self[raw] = name
        return name


name_of: Final[Callable[[bytes], str]] = _Names().__getitem__
"""Return a field's name in lower case."""


def value_of(raw: bytes) -> str:
    """Return a field's value without the white space around it, which is not part of it (RFC 9110, 5.5)."""
    return raw.decode("latin-1").strip(" \t")
