"""`mcp-proxy` of PyPI: a bridge from HTTP to a stdio server, or from stdio to an HTTP server."""

from __future__ import annotations

from benchmarks.speed.gateways.others import Other
from benchmarks.speed.gateways.port import Behind, Launched, Site


class McpProxyPypi(Other):
    """HTTP in front, a stdio server behind; the other way round it has no HTTP endpoint."""

    name = "mcp-proxy (PyPI)"
    about = "PyPI mcp-proxy: HTTP before a stdio server"
    registry = "pypi"
    requirement = "mcp-proxy==0.13.0"
    lacks = (("http", "bridges HTTP to a stdio server only"),)

    async def launch(self, behind: Behind, site: Site) -> Launched:
        """Serve the stdio server over HTTP."""
        options = ["--port", site.port, "--pass-environment", "--log-level", "WARNING", "--"]
        process = self.run(site, "mcp-proxy", *options, *site.stdio)
        return Launched(f"http://127.0.0.1:{site.port}/mcp", process)
