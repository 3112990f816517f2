"""No gateway at all: the load goes straight to the server."""

from __future__ import annotations

from benchmarks.speed.gateways.port import Behind, Gateway, Launched, Site


class Direct(Gateway):
    """What every other figure is compared to."""

    name = "direct"
    about = "no gateway: load and server alone"

    def version(self) -> str:
        """There is none."""
        return "-"

    def cannot(self, behind: Behind) -> str | None:
        """Nobody speaks HTTP to a stdio server."""
        if behind.transport == "stdio":
            return "a stdio server has no HTTP endpoint"
        return "measured for the gateway alone" if behind.special else None

    async def launch(self, behind: Behind, site: Site) -> Launched:
        """Start nothing."""
        return Launched(site.upstream, None)
