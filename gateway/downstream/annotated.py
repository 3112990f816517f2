"""Which tools want arguments mirrored into headers (2026-07-28, streamable-http, `x-mcp-header`)."""

from __future__ import annotations

from typing import Final

from mcp.shared.inbound import x_mcp_header_map

from gateway.calls.model import Json

_KEPT: Final = 4096


class Annotated:
    """Remembers of each entry of a listing whether its schema has annotations, since looking costs."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Json, bool]] = {}

    def has(self, tool: Json) -> bool:
        """Whether a tool's input schema names headers. The entry is taken not to change."""
        known = self._known.get(id(tool))
        if known is not None and known[0] is tool:
            return known[1]
        has = bool(x_mcp_header_map(tool.get("inputSchema")))
        if len(self._known) >= _KEPT:
            self._known.clear()
        # The entry is kept with it, so that no other can come to have its id.
        self._known[id(tool)] = tool, has
        return has
