"""Finding out a server's era, and the bounds of every attempt to connect."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from gateway.calls.model import Profile
from gateway.config.resolved import ServerConfig
from gateway.errors import CallError, PeerError, ServerUnavailable
from gateway.upstream.channel import Channel
from gateway.upstream.connection import close, unavailable
from gateway.upstream.conversation import Conversation
from gateway.upstream.http import Rejected
from gateway.upstream.modern import MODERN_VERSIONS, Envelope, Verdict, read_discover, read_refusal
from gateway.upstream.port import Hello

log = logging.getLogger(__name__)

T = TypeVar("T")


async def discover(conversation: Conversation, profile: Profile, timeout: float) -> Hello | None:
    """Ask for `server/discover`; returns None if the server is of the handshake era.

    `timeout` is in seconds; silence means an old server.

    Raises:
        ServerUnavailable: a modern server that shares no revision with the gateway, or the
            credentials are refused.
        ConnectionLost: the connection ended.
    """
    version: str | None = MODERN_VERSIONS[-1]
    for _ in range(2):
        if version is None:
            break
        verdict = await _probe(conversation, Envelope(version, profile), timeout)
        if verdict.only:
            raise ServerUnavailable(
                conversation.server,
                f"it speaks {', '.join(verdict.only)}, and the gateway does not",
            )
        if verdict.hello is not None:
            return verdict.hello
        version = verdict.retry_with
    return None


async def _probe(conversation: Conversation, envelope: Envelope, timeout: float) -> Verdict:
    try:
        async with asyncio.timeout(timeout):
            return read_discover(
                await conversation.request("server/discover", envelope.seal(None), quiet=True)
            )
    except TimeoutError:
        log.debug("server %s is silent at server/discover", conversation.server)
        return Verdict()
    except PeerError as error:
        return read_refusal(error)
    except CallError as error:
        refused = isinstance(error, Rejected) and error.status in (401, 403)
        if refused or conversation.closed.is_set():
            raise
        log.debug("server %s is no modern one: %s", conversation.server, error)
        return Verdict()


async def bounded(config: ServerConfig, dialling: Coroutine[Any, Any, T]) -> T:
    """Run one attempt to connect within the server's start timeout.

    Raises:
        ServerUnavailable: whatever went wrong, in words.
    """
    try:
        async with asyncio.timeout(config.start_timeout):
            return await dialling
    except TimeoutError:
        raise ServerUnavailable(
            config.name,
            f"it was not ready within {config.start_timeout:g} s; "
            f"raise start_timeout_seconds of the server in {config.source} if it needs longer",
        ) from None
    except (PeerError, CallError) as error:
        raise unavailable(config.name, error) from error


async def or_close(conversation: Conversation, channel: Channel, connecting: Coroutine[Any, Any, T]) -> T:
    """Connect, or close the channel and everything it started."""
    async with AsyncExitStack() as undo:
        undo.push_async_callback(close, conversation, channel)
        connection = await connecting
        undo.pop_all()
        return connection
