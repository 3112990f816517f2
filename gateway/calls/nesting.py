"""Calls that come of answering: how deep a question stands, and how many hang together.

To answer a question a client may call a tool through the gateway, and that tool may ask a question,
and so on. What ties them together travels in `_meta`: a question that goes to a client says how deep it
stands and which call it comes from, and a client, or another gateway, that calls something to answer it
puts both into that call's `_meta`. A client that leaves them out is held to what is in flight alone.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, cast

Json = dict[str, Any]

DEPTH: Final = "backchannel/depth"
"""Of a question: how many questions it takes to get to it, 1 for one of a call by itself. Of a call that
is made to answer a question: the depth of that question."""
ROOT: Final = "backchannel/root"
"""The call that all of it began with."""

_KEPT: Final = 4096
_LONGEST_NAME: Final = 64


def place_of(params: Mapping[str, Any]) -> tuple[int, str]:
    """Return the depth and the root that a call states; 0 and an empty name where it states none."""
    return (depth_of(params), root_of(params)) if "_meta" in params else (0, "")


def depth_of(params: Mapping[str, Any]) -> int:
    """Return the depth that a message states; 0 if it states none that can be one."""
    depth = _meta(params).get(DEPTH)
    return depth if isinstance(depth, int) and not isinstance(depth, bool) and depth > 0 else 0


def root_of(params: Mapping[str, Any]) -> str:
    """Return the root that a call states; empty where it states none."""
    root = _meta(params).get(ROOT)
    return root if isinstance(root, str) and len(root) <= _LONGEST_NAME else ""


def new_root() -> str:
    """Return a new name, which nobody can guess, for the root of a call that states none."""
    return secrets.token_hex(8)


def stamped(params: Json, depth: int, root: str) -> Json:
    """Return a copy of a question's params that states its depth and root."""
    return {**params, "_meta": {**_meta(params), DEPTH: depth, ROOT: root}}


class Tally:
    """Counts the questions of each root; of the roots the ones least recently counted are forgotten."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def count(self, root: str) -> int:
        """Count one more question and return how many there were."""
        total = self._counts.pop(root, 0) + 1
        self._counts[root] = total
        if len(self._counts) > _KEPT:
            self._counts.popitem(last=False)
        return total


def _meta(params: Mapping[str, Any]) -> Json:
    meta: object = params.get("_meta")
    return cast("Json", meta) if isinstance(meta, dict) else {}
