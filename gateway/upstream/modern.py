"""The modern era's envelope: what every request carries, and what `server/discover` answers (2026-07-28)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from gateway.calls.model import Profile
from gateway.errors import PeerError
from gateway.upstream.handshake import CLIENT_INFO, HANDSHAKE_VERSIONS, as_object, as_text, declared
from gateway.upstream.port import Hello, Json
from gateway.wire import jsonrpc
from gateway.wire.levels import LOG_LEVEL

MODERN_VERSIONS: Final = ("2026-07-28",)
"""Revisions without a handshake, oldest first."""

PROTOCOL_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
_CLIENT_INFO: Final = "io.modelcontextprotocol/clientInfo"
_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
_SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"

ENVELOPE: Final = frozenset({PROTOCOL_VERSION, _CLIENT_INFO, _CAPABILITIES, LOG_LEVEL})
"""The per-request fields in `params._meta`, which exist in the modern era alone."""


class Envelope:
    """What every request of one connection says of its sender."""

    def __init__(self, version: str, profile: Profile) -> None:
        self._fields: Json = {
            PROTOCOL_VERSION: version,
            _CLIENT_INFO: CLIENT_INFO,
            _CAPABILITIES: declared(profile),
        }

    def seal(self, params: Json | None) -> Json:
        """Return `params` with the envelope in `_meta`; a caller's log level is kept."""
        fields = params or {}
        return {**fields, "_meta": {**as_object(fields.get("_meta")), **self._fields}}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer to `server/discover` says: a modern server, another revision to try, or an old one.

    Exactly one of `hello` and `retry_with` is set for a modern server; neither for one of the
    handshake era. `only` names the revisions of a server that shares none with the gateway.
    """

    hello: Hello | None = None
    retry_with: str | None = None
    only: tuple[str, ...] = ()


def read_discover(result: Json) -> Verdict:
    """Judge a result of `server/discover`.

    A server that answers it but names no modern revision says that it is of the handshake era.
    """
    supported = _versions(result.get("supportedVersions"))
    mutual = [version for version in MODERN_VERSIONS if version in supported]
    if not mutual:
        return Verdict()
    info = as_object(as_object(result.get("_meta")).get(_SERVER_INFO))
    return Verdict(
        Hello(
            "modern",
            mutual[-1],
            as_object(result.get("capabilities")),
            info,
            as_text(result.get("instructions")),
        )
    )


def read_refusal(error: PeerError) -> Verdict:
    """Judge an error to `server/discover`: only -32022 with a list of revisions is modern evidence.

    Servers of the handshake era answer an unknown first request with whatever error they like
    (2026-07-28, transports/stdio, Backward Compatibility).
    """
    if error.code != jsonrpc.UNSUPPORTED_PROTOCOL_VERSION:
        return Verdict()
    supported = _versions(as_object(error.data).get("supported"))
    mutual = [version for version in MODERN_VERSIONS if version in supported]
    if mutual:
        return Verdict(retry_with=mutual[-1])
    if supported and not any(version in HANDSHAKE_VERSIONS for version in supported):
        return Verdict(only=supported)
    return Verdict()


def _versions(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(entry for entry in cast("list[Any]", value) if isinstance(entry, str))
