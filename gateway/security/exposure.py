"""A gateway that strangers can reach must ask who they are."""

from __future__ import annotations

from gateway.config.resolved import GatewayConfig
from gateway.errors import Problem
from gateway.security.origins import is_loopback


def exposure_problem(config: GatewayConfig) -> Problem | None:
    """Return what is wrong with listening beyond this machine without authentication, if it is so."""
    if is_loopback(config.http.host) or config.api_keys or config.http.insecure:
        return None
    return Problem(
        config.file,
        "http.host",
        f"listening on {config.http.host} lets other machines in, and no API key is configured",
        "add auth.keys, listen on 127.0.0.1, or say --insecure (http.insecure: true) on a trusted network",
    )
