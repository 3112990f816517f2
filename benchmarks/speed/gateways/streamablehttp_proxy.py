"""`mcp-streamablehttp-proxy` of PyPI: a bridge from HTTP to a stdio server."""

from __future__ import annotations

from benchmarks.speed.gateways.others import Other
from benchmarks.speed.gateways.port import Behind, Launched, Site


class StreamableHttpProxy(Other):
    """One process of the stdio server a session."""

    name = "mcp-streamablehttp-proxy"
    about = "PyPI mcp-streamablehttp-proxy: HTTP before a stdio server, one process of it a session"
    registry = "pypi"
    requirement = "mcp-streamablehttp-proxy==0.2.0"
    lacks = (("http", "bridges HTTP to a stdio server only"),)

    async def launch(self, behind: Behind, site: Site) -> Launched:
        """Serve the stdio server over Streamable HTTP."""
        options = ["--port", site.port, "--log-level", "warning"]
        process = self.run(site, "mcp-streamablehttp-proxy", *options, *site.stdio)
        return Launched(f"http://127.0.0.1:{site.port}/mcp", process)
