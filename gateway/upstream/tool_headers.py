"""The headers that mirror a modern request's body (2026-07-28, transports/streamable-http)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
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

_KEPT = 10_000
"""How many annotated tools are remembered; beyond it, the server's -32020 makes us list again."""


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

    def of(self, message: Json) -> dict[str, str]:
        """Return the headers for one request."""
        method: str = message["method"]
        params = as_object(message.get("params"))
        version = as_object(params.get("_meta")).get(PROTOCOL_VERSION, "")
        headers = {MCP_PROTOCOL_VERSION_HEADER: str(version), MCP_METHOD_HEADER: encode_header_value(method)}
        name = params.get(NAME_BEARING_METHODS.get(method, ""))
        if isinstance(name, str):
            headers[MCP_NAME_HEADER] = encode_header_value(name)
            arguments = params.get("arguments")
            if method == "tools/call" and isinstance(arguments, Mapping):
                annotated = self._annotated.get(name, {})
                headers.update(mcp_param_headers(annotated, cast("Mapping[str, Any]", arguments)))
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
