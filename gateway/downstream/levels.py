"""Log levels (RFC 5424, as MCP logging uses them)."""

from __future__ import annotations

from typing import Any, Final

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_RANK: Final = {level: rank for rank, level in enumerate(LEVELS)}


def is_level(value: object) -> bool:
    """Whether a value names a level."""
    return isinstance(value, str) and value in _RANK


def passes(params: dict[str, Any], minimum: str | None) -> bool:
    """Whether a `notifications/message` is to be shown at `minimum` (None: every level)."""
    if minimum is None:
        return True
    return _RANK.get(str(params.get("level")), len(LEVELS)) >= _RANK.get(minimum, 0)
