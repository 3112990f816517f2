"""`mcp-hub` of npm: many servers behind one endpoint, whose clients speak the older HTTP+SSE."""

from __future__ import annotations

import json

from benchmarks.speed.gateways.others import Other
from benchmarks.speed.gateways.port import Behind, Launched, Site


class McpHub(Other):
    """Its endpoint has no Streamable HTTP, so nothing here can be sent to it."""

    name = "mcp-hub"
    about = "npm mcp-hub: many servers behind one HTTP+SSE endpoint"
    registry = "npm"
    requirement = "mcp-hub@4.2.1"

    def cannot(self, behind: Behind) -> str | None:
        """Its clients cannot speak Streamable HTTP."""
        return super().cannot(behind) or "its own endpoint speaks HTTP+SSE (2024-11-05) only"

    async def launch(self, behind: Behind, site: Site) -> Launched:
        """Write its configuration and start it."""
        path = site.folder / "hub.json"
        path.write_text(json.dumps({"mcpServers": {"bench": {"url": site.upstream}}}))
        process = self.run(site, "mcp-hub", "--port", site.port, "--config", path)
        return Launched(f"http://127.0.0.1:{site.port}/mcp", process)
