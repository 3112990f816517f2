"""Header fields as parsers give them, as text."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(2048)
def name_of(raw: bytes) -> str:
    """Return a field's name in lower case. The same few come all the time."""
    return raw.decode("latin-1").lower()


def value_of(raw: bytes) -> str:
    """Return a field's value without the white space around it, which is not part of it (RFC 9110, 5.5)."""
    return raw.decode("latin-1").strip(" \t")
