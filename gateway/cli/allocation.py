"""How the process's allocator treats what is large: it goes back to the system when it is freed."""

from __future__ import annotations

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""Parameters of mallopt(3)."""
_LARGE: Final = 768 * 1024
"""Bytes of a block that the system gives and takes: each of its pages costs time when it is first used, so
what is smaller, and more frequent, is kept."""
_SPARE: Final = 512 * 1024
"""Bytes free at the heap's end that are kept: to give them back and ask for them again costs time."""


def give_back_what_was_large() -> None:
    """Tell glibc not to learn from the first large result to keep the room of all later ones.

    By itself it takes larger and larger blocks from the heap, where they leave holes: a result of 1 MB, which
    is a body, a text and a body again, would cost half as much more, and be kept. Other libraries have no
    such call, and need none.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, _LARGE)
    mallopt(_TRIM_THRESHOLD, _SPARE)
