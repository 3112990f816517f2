"""What differs between the eras in a result, and nothing else."""

from __future__ import annotations

from typing import Any, Final, cast

from gateway.calls.model import Json

CACHEABLE: Final = frozenset(
    {
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "server/discover",
    }
)
SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"
_MODERN_ONLY: Final = ("resultType", "ttlMs", "cacheScope")


def for_handshake(result: Json) -> Json:
    """Strip what clients before 2026-07-28 do not know."""
    if not any(key in result for key in _MODERN_ONLY):
        return result
    return {key: value for key, value in result.items() if key not in _MODERN_ONLY}


def for_modern(method: str, result: Json, server_info: Json) -> Json:
    """Add what 2026-07-28 requires of every result: its type, caching hints, who answers."""
    answer: Json = {"resultType": "complete", **result}
    if method in CACHEABLE:
        answer.setdefault("ttlMs", 0)
        answer.setdefault("cacheScope", "private")
    meta: Any = answer.get("_meta")
    answer["_meta"] = {**(cast("Json", meta) if isinstance(meta, dict) else {}), SERVER_INFO: server_info}
    return answer
