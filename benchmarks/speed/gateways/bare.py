"""The bare proxy in Python (`benchmarks.speed.bare_proxy`): what the gateway is held to."""

from __future__ import annotations

import sys
from importlib.metadata import version

from benchmarks.speed.gateways.port import Behind, Gateway, Launched, Site


class Bare(Gateway):
    """Bytes in, bytes out, by the same HTTP libraries as the gateway."""

    name = "bare proxy"
    about = "raw ASGI and aiohttp on uvicorn, uvloop and httptools; looks at nothing"

    def version(self) -> str:
        """The versions of what it is made of."""
        return f"aiohttp {version('aiohttp')}, uvicorn {version('uvicorn')}"

    def cannot(self, behind: Behind) -> str | None:
        """It knows HTTP and nothing of MCP."""
        if behind.transport == "stdio":
            return "HTTP proxy: cannot start a stdio server"
        return "measured for the gateway alone" if behind.special else None

    async def launch(self, behind: Behind, site: Site) -> Launched:
        """Start it in this repository's own environment."""
        process = site.start([sys.executable, "-m", "benchmarks.speed.bare_proxy", site.port, site.upstream])
        return Launched(f"http://127.0.0.1:{site.port}/mcp", process)
