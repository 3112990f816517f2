"""What the writer of an unknown word probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word most like `word` (case and ``-``/``_`` aside), or None."""
    by_plain = {_plain(candidate): candidate for candidate in known}
    close = difflib.get_close_matches(_plain(word), by_plain, n=1, cutoff=0.6)
    return by_plain[close[0]] if close else None


def suggest(word: str, known: Iterable[str]) -> str:
    """Return a fix for an unknown word: the nearest known one, else the list of all."""
    words = sorted(known)
    close = nearest(word, words)
    if close is not None:
        return f"did you mean '{close}'?"
    return f"use one of: {', '.join(words)}" if words else "remove it"


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")
