"""Connections to servers of the handshake era, over whichever transport."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, cast

from gateway.calls.model import CallOutcome, Profile, Resume, Scope
from gateway.errors import (
    CallError,
    ConnectionLost,
    InvalidCall,
    PeerError,
    ResourceNotFound,
    ServerUnavailable,
    UrlElicitationRequired,
)
from gateway.upstream.channel import Channel
from gateway.upstream.conversation import CLOSED_BY_US, Conversation
from gateway.upstream.handshake import initialize_params, read_initialize
from gateway.upstream.modern import ENVELOPE
from gateway.upstream.port import Hello, Json
from gateway.upstream.tasks import without_task
from gateway.wire import jsonrpc

_MEANINGS: Final[Mapping[int, type[PeerError]]] = {
    jsonrpc.RESOURCE_NOT_FOUND: ResourceNotFound,
    jsonrpc.URL_ELICITATION_REQUIRED: UrlElicitationRequired,
}
"""Errors that 2026-07-28 says in another way. A modern server's own use of these codes means nothing."""


_SHOWN: Final = 500
"""Characters of a server's own words that are shown where operators look."""


class HandshakeConnection:
    """A connection that began with `initialize` (revisions 2024-11-05 to 2025-11-25)."""

    def __init__(self, conversation: Conversation, channel: Channel, hello: Hello) -> None:
        self.server = conversation.server
        self.hello = hello
        self.closed: asyncio.Event = conversation.closed
        self._conversation = conversation
        self._channel = channel

    def __repr__(self) -> str:
        return f"<HandshakeConnection {self.hello.protocol_version} {self._conversation!r}>"

    @property
    def why_closed(self) -> str:
        """For people: why `closed` was set."""
        return self._conversation.why_closed

    async def call(
        self, method: str, params: Json, scope: Scope | None = None, resume: Resume | None = None
    ) -> CallOutcome:
        """Send a request; see `gateway.upstream.port.Connection.call`."""
        if resume is not None:
            raise InvalidCall(
                f"server '{self.server}' keeps its calls open and cannot resume one by a retry; start again"
            )
        try:
            plain = without_task(method, without_envelope(params))
            return await self._conversation.request(method, plain, scope)
        except PeerError as error:
            meaning = _MEANINGS.get(error.code)
            if meaning is None:
                raise
            raise meaning(error.code, error.message, error.data) from error

    async def notify(self, method: str, params: Json | None = None) -> None:
        """Send a notification; a closed connection is not an error."""
        await self._conversation.notify(method, params)

    def give_up(self, reason: str) -> None:
        """Take the connection for lost, for this reason."""
        self._conversation.end(reason)

    async def aclose(self) -> None:
        """End the connection and everything it started; idempotent, bounded in time."""
        await close(self._conversation, self._channel)


async def close(conversation: Conversation, channel: Channel) -> None:
    """End a conversation and its channel, to the end even if the caller is cancelled."""
    conversation.end(CLOSED_BY_US)
    await asyncio.shield(asyncio.gather(conversation.aclose(), channel.aclose()))


async def shake_hands(conversation: Conversation, channel: Channel, profile: Profile) -> HandshakeConnection:
    """Send `initialize` and `notifications/initialized`, declaring `profile`.

    Raises:
        PeerError: the server refused.
        ServerUnavailable: it speaks another revision.
        CallError: the transport failed.
    """
    # A client must not cancel this one request (2025-11-25, utilities/cancellation).
    result = await conversation.request("initialize", initialize_params(profile), quiet=True)
    connection = HandshakeConnection(conversation, channel, read_initialize(conversation.server, result))
    # From here on the server may ask, and even before it has read that we are ready.
    conversation.connection = connection
    await channel.send({"jsonrpc": "2.0", "method": "notifications/initialized"}, None)
    return connection


def without_envelope(params: Json) -> Json:
    """Leave out the modern era's per-request fields: to this server they would say things of another."""
    meta = params.get("_meta")
    if not isinstance(meta, Mapping) or ENVELOPE.isdisjoint(cast("Mapping[str, Any]", meta)):
        return params
    kept = {key: value for key, value in cast("Json", meta).items() if key not in ENVELOPE}
    rest = {key: value for key, value in params.items() if key != "_meta"}
    return {**rest, "_meta": kept} if kept else rest


def unavailable(server: str, error: PeerError | CallError) -> ServerUnavailable:
    """Say why a server could not be connected."""
    if isinstance(error, ServerUnavailable):
        return error
    if isinstance(error, PeerError):
        return ServerUnavailable(
            server, f"it refused to begin: {error.message[:_SHOWN]} (error {error.code})"
        )
    reason = error.reason if isinstance(error, ConnectionLost) else str(error)
    return ServerUnavailable(server, reason)
