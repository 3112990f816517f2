"""FastMCP's proxy (PyPI `fastmcp`), by its own command line."""

from __future__ import annotations

import json

from benchmarks.speed.gateways.others import Other
from benchmarks.speed.gateways.port import Behind, Launched, Site


class FastMcp(Other):
    """`fastmcp run URL`, which makes a proxy of a server's address or of a list of servers."""

    name = "FastMCP proxy"
    about = "PyPI fastmcp: `fastmcp run` with a server's address"
    registry = "pypi"
    requirement = "fastmcp==4.1.2"
    eras = ("handshake", "modern")

    async def launch(self, behind: Behind, site: Site) -> Launched:
        """Run the proxy of the address, or of a file that names the stdio server."""
        spec: object = site.upstream
        if behind.transport == "stdio":
            command, *arguments = site.stdio
            server = {"command": command, "args": arguments, "env": dict(site.stdio_env)}
            spec = site.folder / "mcp.json"
            spec.write_text(json.dumps({"mcpServers": {"bench": server}}))
        options = ["--transport", "http", "--port", site.port, "--no-banner", "--log-level", "WARNING"]
        process = self.run(site, "fastmcp", "run", spec, *options)
        return Launched(f"http://127.0.0.1:{site.port}/mcp", process)
