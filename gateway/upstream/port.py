"""One connection to one server, whatever its transport and era."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from gateway.calls.model import LATER, Asked, CallOutcome, LaterAnswer, Profile, Resume, Scope

__all__ = [
    "LATER",
    "Asked",
    "Connection",
    "Dialer",
    "Era",
    "Hello",
    "LaterAnswer",
    "Listener",
    "Listing",
    "Scope",
]

Json = dict[str, Any]
Era = Literal["handshake", "modern"]


@dataclass(frozen=True, slots=True)
class Hello:
    """What a server said of itself when it was connected. All values are raw JSON."""

    era: Era
    protocol_version: str
    capabilities: Json
    server_info: Json
    instructions: str | None = None


class Listener(Protocol):
    """What a connection tells its owner: everything no call on the wire can be named for."""

    async def question(self, connection: Connection, asked: Asked) -> Json:
        """Answer a request that names no call (stdio, SSE, the GET stream)."""
        ...

    def notification(self, connection: Connection, method: str, params: Json) -> None:
        """Take a notification that names no call; must not block."""
        ...


class Connection(Protocol):
    """One live connection. It is ready when it exists: `Dialer.dial` has done the handshake."""

    server: str
    hello: Hello
    closed: asyncio.Event
    """Set when the connection has ended, for whatever reason."""

    @property
    def why_closed(self) -> str:
        """For people: why `closed` was set; empty while it is not."""
        ...

    async def call(
        self, method: str, params: Json, scope: Scope | None = None, resume: Resume | None = None
    ) -> CallOutcome:
        """Send a request and return its raw result, having put its questions to `scope`.

        `params` is relayed as it is but for `_meta` stamps of the server's era. A progress
        token in `params._meta` is the caller's own: it is replaced on the wire and restored
        in notifications. Cancelling the task cancels the request in the server's era's form.
        `timeout` is not applied here.

        Raises:
            PeerError: the server's error, unchanged.
            ConnectionLost: the connection ended first.
        """
        ...

    async def notify(self, method: str, params: Json | None = None) -> None:
        """Send a notification; a closed connection is not an error."""
        ...

    def give_up(self, reason: str) -> None:
        """Take the connection for lost: `closed` is set and every call on it fails, for this reason."""
        ...

    async def aclose(self) -> None:
        """End the connection and everything it started; idempotent, bounded in time."""
        ...


class Dialer(Protocol):
    """Opens connections to one server."""

    async def dial(self, profile: Profile, listener: Listener) -> Connection:
        """Connect and shake hands, declaring `profile` as the client's capabilities.

        Raises:
            ServerUnavailable: with the reason in words (command not found, refused, 401 …).
        """
        ...


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything one server shows to one profile. Entries are raw, under the server's own names.

    `templates` are resource templates. An empty tuple may mean "none" or "not offered".
    """

    tools: tuple[Json, ...] = ()
    prompts: tuple[Json, ...] = ()
    resources: tuple[Json, ...] = ()
    templates: tuple[Json, ...] = ()
    hello: Hello | None = None
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
