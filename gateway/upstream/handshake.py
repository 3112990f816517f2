"""The handshake era's beginning: what we declare, and what a server may answer (2025-11-25, lifecycle)."""

from __future__ import annotations

import json
from typing import Any, Final, cast

import gateway
from gateway.calls.model import Extra, Profile
from gateway.errors import ServerUnavailable
from gateway.upstream.port import Hello, Json

HANDSHAKE_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Revisions that begin with `initialize`, oldest first."""

CLIENT_INFO: Final[Json] = {"name": "backchannel", "version": gateway.__version__}
"""How the gateway names itself to servers."""


def declared(profile: Profile) -> Json:
    """Return the client capabilities that say exactly what `profile` holds."""
    capabilities: Json = {}
    if "sampling" in profile:
        capabilities["sampling"] = _parts(profile, "sampling", ("tools", "context"))
    if elicitation := _parts(profile, "elicitation", ("form", "url")):
        capabilities["elicitation"] = elicitation
    if "roots" in profile:
        capabilities["roots"] = {}
    for extra in sorted((one for one in profile if isinstance(one, Extra)), key=str):
        capabilities.setdefault(extra.field, {})[extra.name] = json.loads(extra.settings)
    return capabilities


def initialize_params(profile: Profile) -> Json:
    """Return the parameters of `initialize`, offering the newest handshake revision."""
    capabilities = declared(profile)
    if "roots" in capabilities:
        # Promises no more than that a change would be announced, and it is.
        capabilities["roots"] = {"listChanged": True}
    return {
        "protocolVersion": HANDSHAKE_VERSIONS[-1],
        "capabilities": capabilities,
        "clientInfo": CLIENT_INFO,
    }


def read_initialize(server: str, result: Json) -> Hello:
    """Read the result of `initialize`.

    Raises:
        ServerUnavailable: the server wants a revision this gateway does not speak.
    """
    version: Any = result.get("protocolVersion")
    if version not in HANDSHAKE_VERSIONS:
        raise ServerUnavailable(
            server,
            f"it answered initialize with protocol version {str(version)[:40]!r}, "
            f"and the gateway speaks {', '.join(HANDSHAKE_VERSIONS)}",
        )
    return Hello(
        "handshake",
        version,
        as_object(result.get("capabilities")),
        as_object(result.get("serverInfo")),
        as_text(result.get("instructions")),
    )


def as_object(value: Any) -> Json:
    """Return a JSON object as it is, and anything else as an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def as_text(value: Any) -> str | None:
    """Return a string as it is, and anything else as None."""
    return value if isinstance(value, str) else None


def _parts(profile: Profile, kind: str, parts: tuple[str, ...]) -> Json:
    return {part: {} for part in parts if f"{kind}.{part}" in profile}
