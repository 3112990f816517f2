"""`mcp-foxxy-bridge` of PyPI: many servers behind one Streamable HTTP endpoint."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.speed.gateways.others import Other
from benchmarks.speed.gateways.port import Behind, Launched, Site


class FoxxyBridge(Other):
    """Its filter of tools that might write is off, since it filters all that it does not know."""

    name = "mcp-foxxy-bridge"
    about = "PyPI mcp-foxxy-bridge: many servers behind one endpoint"
    registry = "pypi"
    requirement = "mcp-foxxy-bridge==1.7.1"

    async def launch(self, behind: Behind, site: Site) -> Launched:
        """Write its configuration, which it rewrites, and start it with a home of its own."""
        server: dict[str, Any] = {"transport": "http", "url": site.upstream, "enabled": True}
        if behind.transport == "stdio":
            command, *arguments = site.stdio
            server = {"command": command, "args": arguments, "env": dict(site.stdio_env), "enabled": True}
        off = {"read_only_mode": False}
        bridge = {"host": "127.0.0.1", "port": site.port, **off, "security": off}
        path = site.folder / "bridge.json"
        path.write_text(json.dumps({"mcpServers": {"bench": server}, "bridge": bridge}))
        options = ["--config-file", path, "--port", site.port, "--host", "127.0.0.1"]
        home = {"HOME": str(site.folder)}
        process = self.run(site, "mcp-foxxy-bridge", "server", "start", *options, env=home)
        return Launched(f"http://127.0.0.1:{site.port}/mcp/", process)
