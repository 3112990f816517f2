"""Finding out a server's era, and the bounds of every attempt to connect."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, Final, TypeVar

from gateway.calls.model import Profile
from gateway.config.resolved import ServerConfig
from gateway.errors import CallError, PeerError, ServerUnavailable
from gateway.upstream.channel import Channel
from gateway.upstream.connection import close, unavailable
from gateway.upstream.conversation import Conversation
from gateway.upstream.handshake import as_object
from gateway.upstream.http import Rejected
from gateway.upstream.modern import MODERN_VERSIONS, Envelope, Verdict, read_discover, read_refusal
from gateway.upstream.port import Hello, Json
from gateway.wire import jsonrpc

log = logging.getLogger(__name__)

T = TypeVar("T")

OTHER_ERA: Final = "the server is of another protocol era than before, as if started anew"
"""Why a connection ends whose server no longer speaks its revision; its others end with it."""

_DOUBT: Final = 2.0
_OWN_ERRORS: Final = frozenset(
    {
        jsonrpc.PARSE_ERROR,
        jsonrpc.METHOD_NOT_FOUND,
        jsonrpc.INVALID_PARAMS,
        jsonrpc.INTERNAL_ERROR,
        jsonrpc.HEADER_MISMATCH,
        jsonrpc.MISSING_CLIENT_CAPABILITY,
    }
)
"""Codes that a modern server has reason to refuse a request with."""


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


def is_odd(status: int, said: Json | None) -> bool:
    """Whether a modern server would hardly refuse a request so: with this HTTP status and JSON-RPC error."""
    if not 400 <= status < 500 or status in (401, 403, 408, 429):
        return False
    return said is None or as_object(said.get("error")).get("code") not in _OWN_ERRORS


async def is_modern_still(conversation: Conversation) -> bool:
    """Ask a modern server again what it is; False only if it has said that it is none now."""
    params = Envelope(MODERN_VERSIONS[-1], frozenset()).seal(None)
    try:
        async with asyncio.timeout(_DOUBT):
            result = await conversation.request("server/discover", params, quiet=True)
    except PeerError as error:
        return read_refusal(error).retry_with is not None
    except Rejected as error:
        return not is_odd(error.status, None)
    except (TimeoutError, CallError) as error:
        log.debug("server %s did not say whether it is a modern one still: %r", conversation.server, error)
        return True
    return read_discover(result).hello is not None


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
