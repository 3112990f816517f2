"""The headers that mirror a modern request's body (2026-07-28, transports/streamable-http)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    NAME_BEARING_METHODS,
    encode_header_value,
    find_invalid_x_mcp_header,
    mcp_param_headers,
    x_mcp_header_map,
)

from gateway.upstream.handshake import as_object
from gateway.upstream.modern import PROTOCOL_VERSION
from gateway.upstream.port import Json

log = logging.getLogger(__name__)

_SHORT = 256
"""Characters of a name, or an address, for which the headers of a request are remembered."""
_KEPT = 10_000
"""How many annotated tools are remembered; beyond it, the server's -32020 makes us list again."""


def _plain(version: str, method: str, name: str | None) -> Mapping[str, str]:
    headers = {MCP_PROTOCOL_VERSION_HEADER: version, MCP_METHOD_HEADER: encode_header_value(method)}
    if name is not None:
        headers[MCP_NAME_HEADER] = encode_header_value(name)
    return headers


_remembered = lru_cache(4096)(_plain)


class ToolHeaders:
    """What one server's tools want mirrored, learnt from the listings that pass through."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._annotated: dict[str, dict[tuple[str, ...], str]] = {}

    def __repr__(self) -> str:
        return f"<ToolHeaders of {self._server}: {len(self._annotated)} annotated tools>"

    def learn(self, result: Json) -> Json:
        """Remember a `tools/list` result, and return it without the tools whose annotations are invalid.

        Leaving those out is what the specification demands of a client of this transport.
        """
        tools: Any = result.get("tools")
        if not isinstance(tools, list):
            return result
        entries = cast("list[Any]", tools)
        valid = [entry for entry in entries if self._learn_one(as_object(entry))]
        return result if len(valid) == len(entries) else {**result, "tools": valid}

    def of(self, message: Json) -> Mapping[str, str]:
        """Return the headers for one request."""
        method: str = message["method"]
        params = as_object(message.get("params"))
        version = str(as_object(params.get("_meta")).get(PROTOCOL_VERSION, ""))
        name = params.get(NAME_BEARING_METHODS.get(method, ""))
        named = name if isinstance(name, str) else None
        short = named is None or len(named) <= _SHORT
        headers = _remembered(version, method, named) if short else _plain(version, method, named)
        annotated = self._annotated.get(named) if named is not None and method == "tools/call" else None
        arguments = params.get("arguments")
        if annotated and isinstance(arguments, Mapping):
            return {**headers, **mcp_param_headers(annotated, cast("Mapping[str, Any]", arguments))}
        return headers

    def _learn_one(self, tool: Json) -> bool:
        name, schema = tool.get("name"), tool.get("inputSchema")
        if not isinstance(name, str):
            return True
        reason = find_invalid_x_mcp_header(schema)
        if reason is not None:
            log.warning("tool '%s' of server %s is left out: %s", name, self._server, reason)
            return False
        annotated = x_mcp_header_map(schema)
        if not annotated:
            self._annotated.pop(name, None)
        elif len(self._annotated) < _KEPT or name in self._annotated:
            self._annotated[name] = annotated
        return True
