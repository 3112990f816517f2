"""What a modern request carries about itself (2026-07-28, basic), apart from the request."""

from __future__ import annotations

from typing import Any, Final, cast

from gateway.calls.model import Json

META: Final = "io.modelcontextprotocol/"
_ENVELOPE: Final = frozenset({META + "protocolVersion", META + "clientInfo", META + "clientCapabilities"})
_OF_A_RETRY: Final = frozenset({"requestState", "inputResponses", "_meta"})


def meta_of(params: Json) -> Json:
    """Return a request's `_meta`, empty where it has none."""
    meta: Any = params.get("_meta")
    return cast("Json", meta) if isinstance(meta, dict) else {}


def bare(params: Json) -> Json:
    """Take off what is between this client and us: the envelope, and what a retry carries."""
    rest = {key: value for key, value in params.items() if key not in _OF_A_RETRY}
    meta = {key: value for key, value in meta_of(params).items() if key not in _ENVELOPE}
    if meta:
        rest["_meta"] = meta
    return rest
