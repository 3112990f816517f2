"""What the fleet of servers reports of itself: events and status."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.calls.model import Identity, Json
from gateway.upstream.listings import Part
from gateway.upstream.port import Era
from gateway.upstream.supervisor import State

ListKind = Literal["tools", "prompts", "resources"]
KINDS: Final[tuple[ListKind, ...]] = ("tools", "prompts", "resources")

CHANGES: Final[Mapping[str, tuple[ListKind, tuple[Part, ...]]]] = {
    "notifications/tools/list_changed": ("tools", ("tools",)),
    "notifications/prompts/list_changed": ("prompts", ("prompts",)),
    "notifications/resources/list_changed": ("resources", ("resources", "templates")),
}
"""What a server's notification says has changed."""

KIND_OF: Final[Mapping[Part, ListKind]] = {
    "tools": "tools",
    "prompts": "prompts",
    "resources": "resources",
    "templates": "resources",
}


@dataclass(frozen=True, slots=True)
class ListChanged:
    """What a server lists of one kind has changed, appeared or vanished (`resources`: templates too).

    `identity` is the client whose own connection it concerns, None where it concerns everybody.
    """

    kind: ListKind
    server: str
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class ResourceUpdated:
    """A server says that a resource was updated.

    `params` is the notification's own. `identity` is the client on whose connection it was
    said, None where the connection is shared.
    """

    uri: str
    server: str
    params: Json
    identity: Identity | None


@dataclass(frozen=True, slots=True)
class ElicitationCompleted:
    """A handshake-era server says outside any call that a URL elicitation was completed."""

    server: str
    params: Json


@dataclass(frozen=True, slots=True)
class SessionLogged:
    """A server logs outside any call, on a connection that is one client session's alone."""

    server: str
    params: Json
    identity: Identity


FleetEvent = ListChanged | ResourceUpdated | ElicitationCompleted | SessionLogged
OnEvent = Callable[[FleetEvent], None]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How one server is. All counts are of now.

    `reason` says in words why it is not up (empty if it is); `since` (Unix seconds) is when
    the state began; `restarts` counts how often it came back after having been up. `lanes`
    are its connections beside the one that supervises it, `calls` what runs on any of them.
    """

    name: str
    transport: str
    state: State
    era: Era | None
    reason: str
    since: float
    restarts: int
    protocol_version: str | None
    server_info: Json
    capabilities: Json
    declared: tuple[str, ...]
    lanes: int
    calls: int
    waiting: int
    tools: int
    prompts: int
    resources: int
    templates: int
