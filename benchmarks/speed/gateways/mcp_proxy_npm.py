"""`mcp-proxy` of npm: a bridge from HTTP to a stdio server."""

from __future__ import annotations

from benchmarks.speed.gateways.others import Other
from benchmarks.speed.gateways.port import Behind, Launched, Site


class McpProxyNpm(Other):
    """One process of the stdio server for all clients."""

    name = "mcp-proxy (npm)"
    about = "npm mcp-proxy: HTTP before a stdio server"
    registry = "npm"
    requirement = "mcp-proxy@6.7.19"
    eras = ("handshake", "modern")
    lacks = (("http", "bridges HTTP to a stdio server only"),)

    async def launch(self, behind: Behind, site: Site) -> Launched:
        """Serve the stdio server over Streamable HTTP."""
        options = ["--port", site.port, "--host", "127.0.0.1", "--server", "stream", "--"]
        process = self.run(site, "mcp-proxy", *options, *site.stdio)
        return Launched(f"http://127.0.0.1:{site.port}/mcp", process)
