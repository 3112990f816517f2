"""What a client said it can be asked, as the gateway's fixed set of bits."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from typing import Any, Final, Literal, cast

from cachetools import LRUCache

from gateway.calls.model import Capability, Extra, Profile
from gateway.wire import jsonrpc

logger = logging.getLogger(__name__)

_MOST_EXTRAS: Final = 32
"""Extensions of one client that are looked at."""
_LONGEST_EXTRA: Final = 16_384
"""Characters of one extension's settings."""

_NOTHING: Final[Profile] = frozenset()
_LONGEST_KNOWN: Final = 2048
_KNOWN: Final[LRUCache[bytes, Profile]] = LRUCache(256)

_SUB: tuple[tuple[str, str, Capability], ...] = (
    ("sampling", "tools", "sampling.tools"),
    ("sampling", "context", "sampling.context"),
    ("elicitation", "form", "elicitation.form"),
    ("elicitation", "url", "elicitation.url"),
)


def profile_of(capabilities: object) -> Profile:
    """Read ClientCapabilities. An empty `elicitation` means form mode (2025-11-25, client/elicitation).

    Modern clients send theirs with every request: what the same text meant before is remembered.
    """
    if not isinstance(capabilities, dict) or not capabilities:
        return _NOTHING
    declared = cast("dict[str, Any]", capabilities)
    text = jsonrpc.encode(declared)
    known = _KNOWN.get(text)
    if known is None:
        known = _read(declared)
        if len(text) <= _LONGEST_KNOWN:
            _KNOWN[text] = known
    return known


def _read(declared: dict[str, Any]) -> Profile:
    bits: set[Capability] = set()
    if isinstance(declared.get("sampling"), dict):
        bits.add("sampling")
    if isinstance(declared.get("roots"), dict):
        bits.add("roots")
    elicitation = declared.get("elicitation")
    if isinstance(elicitation, dict) and not cast("dict[str, Any]", elicitation).keys() & {"form", "url"}:
        bits.add("elicitation.form")
    for parent, name, bit in _SUB:
        value = declared.get(parent)
        if isinstance(value, dict) and name in value:
            bits.add(bit)
    return frozenset(bits).union(_extras(declared))


def _extras(declared: dict[str, Any]) -> Iterator[Extra]:
    """Yield what a client names beyond the protocol (2026-07-28, basic/versioning, Extension Negotiation).

    What is no object is not named; what exceeds the bounds is not passed on.
    """
    fields: tuple[Literal["extensions", "experimental"], ...] = ("extensions", "experimental")
    for field in fields:
        named = declared.get(field)
        if not isinstance(named, dict):
            continue
        for name, settings in itertools.islice(cast("dict[str, Any]", named).items(), _MOST_EXTRAS):
            text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
            if isinstance(settings, dict) and len(name) + len(text) <= _LONGEST_EXTRA:
                yield Extra(field, name, text)
            else:
                logger.debug("%s '%.60s' of a client is no object, or too long; not passed on", field, name)
