"""Log levels (RFC 5424, as MCP logging uses them)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_RANK: Final = {level: rank for rank, level in enumerate(LEVELS)}


LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"
"""Where a request of 2026-07-28 says which log messages it wants."""


def with_level(params: dict[str, Any], level: str) -> dict[str, Any]:
    """Return params that ask for a session's level, as a server of 2026-07-28 wants to be asked."""
    meta: Any = params.get("_meta")
    kept = cast("dict[str, Any]", meta) if isinstance(meta, dict) else {}
    return {**params, "_meta": {LOG_LEVEL: level, **kept}}


def is_level(value: object) -> bool:
    """Whether a value names a level."""
    return isinstance(value, str) and value in _RANK


def level_of(params: dict[str, Any]) -> str | None:
    """Return the level that a request asks for in its `_meta`; None if it asks for no level there is."""
    meta: Any = params.get("_meta")
    level = cast("dict[str, Any]", meta).get(LOG_LEVEL) if isinstance(meta, dict) else None
    return level if is_level(level) else None


def lowest(levels: Iterable[str | None]) -> str | None:
    """Return the level that lets through what any of these does; None where nobody says."""
    return min((level for level in levels if level is not None), key=_RANK.__getitem__, default=None)


def passes(params: dict[str, Any], minimum: str | None) -> bool:
    """Whether a `notifications/message` is to be shown at `minimum` (None: every level)."""
    if minimum is None:
        return True
    return _RANK.get(str(params.get("level")), len(LEVELS)) >= _RANK.get(minimum, 0)
