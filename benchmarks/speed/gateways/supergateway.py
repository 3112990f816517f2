"""`supergateway` of npm: a bridge from HTTP to a stdio server."""

from __future__ import annotations

import shlex

from benchmarks.speed.gateways.others import Other
from benchmarks.speed.gateways.port import Behind, Launched, Site


class Supergateway(Other):
    """Stateful, since without that it starts the server anew for each request."""

    name = "supergateway"
    about = "npm supergateway: HTTP before a stdio server, one process of it a session"
    registry = "npm"
    requirement = "supergateway@4.0.0"
    lacks = (("http", "bridges HTTP to a stdio server only"),)

    async def launch(self, behind: Behind, site: Site) -> Launched:
        """Serve the stdio server over Streamable HTTP with sessions."""
        options = [
            "--outputTransport",
            "streamableHttp",
            "--stateful",
            "--port",
            site.port,
            "--logLevel",
            "none",
        ]
        process = self.run(site, "supergateway", "--stdio", shlex.join(site.stdio), *options)
        return Launched(f"http://127.0.0.1:{site.port}/mcp", process)
