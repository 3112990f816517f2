"""Header fields as parsers give them, as text."""

from __future__ import annotations

from functools import lru_cache

_LONG = 64
"""Bytes of a name beyond which it is none of those that come all the time, and is not remembered."""


def name_of(raw: bytes) -> str:
    """Return a field's name in lower case."""
    return raw.decode("latin-1").lower() if len(raw) > _LONG else _known(raw)


@lru_cache(2048)
def _known(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


def value_of(raw: bytes) -> str:
    """Return a field's value without the white space around it, which is not part of it (RFC 9110, 5.5)."""
    return raw.decode("latin-1").strip(" \t")
