"""What a client said it can be asked, as the gateway's fixed set of bits."""

from __future__ import annotations

from typing import Any, cast

from gateway.calls.model import Capability, Profile

_SUB: tuple[tuple[str, str, Capability], ...] = (
    ("sampling", "tools", "sampling.tools"),
    ("sampling", "context", "sampling.context"),
    ("elicitation", "form", "elicitation.form"),
    ("elicitation", "url", "elicitation.url"),
)


def profile_of(capabilities: object) -> Profile:
    """Read ClientCapabilities. An empty `elicitation` means form mode (2025-11-25, client/elicitation)."""
    if not isinstance(capabilities, dict):
        return frozenset()
    declared = cast("dict[str, Any]", capabilities)
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
    return frozenset(bits)
