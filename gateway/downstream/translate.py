"""What differs between the eras in a result or an error, and nothing else (`docs/protocol.md`).

Where both sides are of one era nothing is changed: what the server's revision does not define
is the server's own, whatever its name.
"""

from __future__ import annotations

import uuid
from typing import Any, Final, cast

from gateway.calls.model import Json
from gateway.downstream.methods import LISTS
from gateway.errors import PeerError, ResourceNotFound, UrlElicitationRequired
from gateway.wire import jsonrpc
from gateway.wire.eras import ModernResult

CACHEABLE: Final = frozenset({*LISTS, "resources/read", "server/discover"})
"""Methods whose results carry caching hints (2026-07-28, server/utilities/caching)."""
SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"
_HINTS: Final = ("ttlMs", "cacheScope")


def for_handshake(method: str, result: Json) -> Json:
    """Return a result as clients before 2026-07-28 know it.

    Lists are the gateway's own, so their caching hints are of 2026-07-28 always; a relayed
    result is changed only if its server is of that revision.
    """
    if method in LISTS:
        result = _without(result, _HINTS)
        return _with_object_schemas(result) if method == "tools/list" else result
    if not isinstance(result, ModernResult):
        return result
    hints = _HINTS if method in CACHEABLE else ()
    plain = _without(result, ("resultType", *hints))
    return _with_object_content(plain) if method == "tools/call" else plain


def with_id(method: str, params: Json) -> tuple[Json, str | None]:
    """Give a URL elicitation without an id one of ours, and return it: 2025-11-25 demands an id."""
    lacks = method == "elicitation/create" and params.get("mode") == "url" and "elicitationId" not in params
    if not lacks:
        return params, None
    minted = str(uuid.uuid4())
    return {**params, "elicitationId": minted}, minted


def for_modern(method: str, result: Json, server_info: Json) -> Json:
    """Add what 2026-07-28 requires of every result: its type, caching hints, who answers.

    What a handshake-era server has under these names is not what they mean here, and gives way.
    """
    answer: Json = {"resultType": "complete", **result}
    foreign = method not in LISTS and method != "server/discover" and not isinstance(result, ModernResult)
    if foreign:
        answer["resultType"] = "complete"
    if method in CACHEABLE and answer["resultType"] == "complete":
        own = {} if foreign else result
        answer["ttlMs"] = own.get("ttlMs", 0)
        answer["cacheScope"] = own.get("cacheScope", "private")
    meta: Any = answer.get("_meta")
    answer["_meta"] = {**(cast("Json", meta) if isinstance(meta, dict) else {}), SERVER_INFO: server_info}
    return answer


def error_for_modern(error: PeerError) -> PeerError:
    """Return a server's error without the codes that 2026-07-28 has retired (basic, Error Codes).

    A `UrlElicitationRequired` comes here only where nothing could be asked in its place.
    """
    if isinstance(error, ResourceNotFound):
        return PeerError(jsonrpc.INVALID_PARAMS, error.message, error.data)
    if isinstance(error, UrlElicitationRequired):
        return PeerError(jsonrpc.INTERNAL_ERROR, error.message, error.data)
    return error


def _without(result: Json, names: tuple[str, ...]) -> Json:
    if not any(name in result for name in names):
        return result
    return {key: value for key, value in result.items() if key not in names}


def _with_object_schemas(result: Json) -> Json:
    """Leave out each `outputSchema` that is not of an object: one would cost a client the whole list."""
    tools = cast("list[Json]", result["tools"])
    if all(_is_object_schema(tool) for tool in tools):
        return result
    plain = [tool if _is_object_schema(tool) else _without(tool, ("outputSchema",)) for tool in tools]
    return {**result, "tools": plain}


def _is_object_schema(tool: Json) -> bool:
    schema = tool.get("outputSchema", {"type": "object"})
    return isinstance(schema, dict) and cast("Json", schema).get("type") == "object"


def _with_object_content(result: Json) -> Json:
    """Give `structuredContent` that is no object as text, if the content does not say it already."""
    if "structuredContent" not in result or isinstance(result["structuredContent"], dict):
        return result
    value = result["structuredContent"]
    plain = _without(result, ("structuredContent",))
    listed: Any = result.get("content")
    content = cast("list[Any]", listed) if isinstance(listed, list) else []
    if any(_says(block, value) for block in content):
        return plain
    text = jsonrpc.encode(value).decode()
    return {**plain, "content": [*content, {"type": "text", "text": text}]}


def _says(block: Any, value: Any) -> bool:
    """Whether a content block is this value as JSON text, however it is spaced."""
    fields = cast("Json", block) if isinstance(block, dict) else {}
    text = fields.get("text")
    if fields.get("type") != "text" or not isinstance(text, str):
        return False
    try:
        said = jsonrpc.decode(text)
    except jsonrpc.Undecodable:
        return False
    # In Python 1 == True.
    return said == value and isinstance(said, bool) == isinstance(value, bool)
