"""`/mcp`: one URL for both eras. Tells them apart and hands over."""

from __future__ import annotations

from typing import Any, Final, cast

from gateway.calls.admission import ANONYMOUS
from gateway.config.resolved import Limits
from gateway.downstream.envelope import META
from gateway.downstream.exchange import (
    COMPLETE,
    BodyTooLarge,
    Headers,
    Receive,
    Scope,
    Send,
    read_body,
    respond,
    respond_error,
)
from gateway.downstream.handshake import SESSION_HEADER, HandshakeEndpoint
from gateway.downstream.modern import ModernEndpoint
from gateway.downstream.overload import continued
from gateway.downstream.session import VERSIONS as HANDSHAKE_VERSIONS
from gateway.downstream.work import InFlight
from gateway.errors import BackchannelError
from gateway.security.authentication import Unauthenticated
from gateway.security.guard import Admitted, Guard
from gateway.security.origins import ForbiddenOrigin
from gateway.wire import jsonrpc
from gateway.wire.jsonrpc import Json

_CHALLENGE: Final[Headers] = [(b"www-authenticate", b'Bearer realm="backchannel"')]


class Endpoint:
    """The ASGI application of the MCP endpoint."""

    def __init__(
        self,
        guard: Guard,
        handshake: HandshakeEndpoint,
        modern: ModernEndpoint,
        in_flight: InFlight,
        limits: Limits,
    ) -> None:
        self._in_flight = in_flight
        self._guard = guard
        self._handshake = handshake
        self._modern = modern
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        admitted = await admit(self._guard, scope, send)
        if admitted is None:
            return
        headers, principal = admitted.headers, admitted.principal
        if scope["method"] == "POST":
            client = (principal or ANONYMOUS) if _names_modern(headers) else None
            if (refusal := self._in_flight.at_the_door(client)) is not None:
                load = self._in_flight.load
                kept = await continued(refusal, load, scope, headers, receive, send, self._limits)
                if kept is None:
                    return
                receive = kept
            batches = self._handshake.takes_batches(headers, principal)
            message = await _read(scope, headers, receive, send, self._limits, batches=batches)
            if message is None:
                return
            if isinstance(message, list):
                await self._handshake.batch(message, headers, scope, principal, receive, send)
            elif is_modern(headers, message):
                await self._modern.post(message, headers, scope, principal, receive, send)
            else:
                await self._handshake.post(message, headers, scope, principal, receive, send)
        elif scope["method"] == "GET" and not _names_modern(headers):
            await self._handshake.get(headers, principal, receive, send)
        elif scope["method"] == "DELETE" and not _names_modern(headers):
            await self._handshake.delete(headers, principal, send)
        else:
            allowed = b"POST" if _names_modern(headers) else b"GET, POST, DELETE"
            await respond(send, 405, headers=[(b"allow", allowed)])


async def admit(guard: Guard, scope: Scope, send: Send) -> Admitted | None:
    """Let a request in, or answer why not and return None."""
    try:
        return guard.admit(scope)
    except ForbiddenOrigin as error:
        await respond_error(send, 403, jsonrpc.INVALID_REQUEST, str(error))
    except Unauthenticated as error:
        await _refuse(send, error)
    return None


async def read_message(
    scope: Scope, headers: dict[str, str], receive: Receive, send: Send, limits: Limits
) -> Json | None:
    """Read the one JSON-RPC message of a POST, or answer what is wrong with it and return None."""
    return cast("Json | None", await _read(scope, headers, receive, send, limits, batches=False))


async def _read(
    scope: Scope, headers: dict[str, str], receive: Receive, send: Send, limits: Limits, *, batches: bool
) -> Json | list[Any] | None:
    if not _is_json(headers.get("content-type", "application/json")):
        await respond_error(send, 415, jsonrpc.INVALID_REQUEST, "send Content-Type: application/json")
        return None
    try:
        seconds = None if COMPLETE in scope else limits.request_timeout_seconds
        body = await read_body(receive, limits.max_body_bytes, seconds)
        decoded = jsonrpc.decode(body, limits.max_nesting)
    except ConnectionResetError:
        return None
    except BodyTooLarge:
        text = f"the body has more than {limits.max_body_bytes} bytes; raise limits.max_body_bytes"
        await respond_error(send, 413, jsonrpc.INVALID_REQUEST, text)
        return None
    except TimeoutError:
        seconds = limits.request_timeout_seconds
        text = f"the body did not come within {seconds:g} s (limits.request_timeout_seconds)"
        await respond_error(send, 408, jsonrpc.INVALID_REQUEST, text, close=True)
        return None
    except jsonrpc.Undecodable as error:
        await respond_error(send, 400, jsonrpc.PARSE_ERROR, str(error))
        return None
    if batches and isinstance(decoded, list):
        return cast("list[Any]", decoded)
    if jsonrpc.kind_of(decoded) == "invalid":
        await respond_error(send, 400, jsonrpc.INVALID_REQUEST, _why_invalid(decoded))
        return None
    return cast("Json", decoded)


def _is_json(content_type: str) -> bool:
    plain = "application/json"
    return content_type == plain or content_type.partition(";")[0].strip().lower() == plain


def is_modern(headers: dict[str, str], message: Json) -> bool:
    """Whether a POST is of 2026-07-28 or later, or claims to be.

    The version header decides. Without one a session id means the handshake era; else an
    envelope in `_meta` means a modern request that lacks its headers, and is told so.
    """
    version = headers.get("mcp-protocol-version")
    if version is not None:
        return version not in HANDSHAKE_VERSIONS
    if SESSION_HEADER in headers:
        return False
    params: Any = message.get("params")
    meta: Any = cast("Json", params).get("_meta") if isinstance(params, dict) else None
    return isinstance(meta, dict) and META + "protocolVersion" in meta


def _names_modern(headers: dict[str, str]) -> bool:
    version = headers.get("mcp-protocol-version")
    return version is not None and version not in HANDSHAKE_VERSIONS


def _why_invalid(decoded: object) -> str:
    if isinstance(decoded, list):
        return (
            "JSON-RPC batches are not supported but in sessions of 2025-03-26, the only revision that has "
            "them: send each message in a POST of its own"
        )
    return "the body must be one JSON-RPC 2.0 request, notification or response"


async def _refuse(send: Send, error: BackchannelError) -> None:
    body = jsonrpc.encode(jsonrpc.error(None, jsonrpc.INVALID_REQUEST, str(error)))
    await respond(send, 401, body, [(b"content-type", b"application/json"), *_CHALLENGE])
