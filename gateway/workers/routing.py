"""One worker's ASGI application: what belongs to a sibling goes there, all else is served here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, cast
from urllib.parse import parse_qs

from gateway.config.resolved import Limits
from gateway.downstream.exchange import Receive, Scope, Send
from gateway.downstream.handshake import SESSION_HEADER
from gateway.downstream.sse import MESSAGES_PATH
from gateway.wire import jsonrpc
from gateway.workers.forward import PEER, Forwarder, Replayed
from gateway.workers.gather import PAGES, gathered
from gateway.workers.ownership import Seat

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_MCP: Final = "/mcp"
_SESSION: Final = SESSION_HEADER.encode()
_STATE: Final = b'"requestState"'


class Routing:
    """Decides who answers a request by the head alone, but for retries of parked calls.

    `owner_of_state` tells who has sealed a `requestState`: None for whatever is not a parked
    call's. A client cannot make one that names an owner.
    """

    def __init__(
        self,
        app: App,
        seat: Seat,
        forwarder: Forwarder,
        limits: Limits,
        owner_of_state: Callable[[Any], str | None],
    ) -> None:
        self._app = app
        self._seat = seat
        self._forwarder = forwarder
        self._limits = limits
        self._owner_of_state = owner_of_state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        session = _session(scope, path)
        if session is not None:
            owner = self._seat.sibling(session)
            if owner is None:
                await self._app(scope, receive, send)
            else:
                replayed = Replayed(receive)
                await self._pass_on(owner, await self._body(replayed), scope, replayed, send)
        elif path == _MCP and scope["method"] == "POST":
            replayed = Replayed(receive)
            body = await self._body(replayed)
            owner = self._parked_at(body) if body is not None and _STATE in body else None
            if owner is None:
                await self._app(scope, replayed, send)
            else:
                await self._pass_on(owner, body, scope, replayed, send)
        elif path in PAGES and scope["method"] == "GET":
            await gathered(self._forwarder, self._seat, scope, send)
        else:
            await self._app(scope, receive, send)

    async def _pass_on(
        self, owner: int, body: bytes | None, scope: Scope, receive: Replayed, send: Send
    ) -> None:
        # What is wrong with a body can be said anywhere. Where the owner is gone, so is what it
        # owned: that is as unknown here as anything invented.
        if body is None or not await self._forwarder.forward(owner, scope, body, receive, send):
            await self._app(scope, receive, send)

    async def _body(self, receive: Replayed) -> bytes | None:
        return await receive.whole(self._limits.max_body_bytes, self._limits.request_timeout_seconds)

    def _parked_at(self, body: bytes) -> int | None:
        try:
            message: Any = jsonrpc.decode(body, self._limits.max_nesting)
        except jsonrpc.Undecodable:
            return None  # the endpoint says what is wrong with it
        params: Any = cast("dict[str, Any]", message).get("params") if isinstance(message, dict) else None
        state: Any = cast("dict[str, Any]", params).get("requestState") if isinstance(params, dict) else None
        owner = self._owner_of_state(state)
        return None if owner is None else self._seat.sibling(owner)


class FromSiblings:
    """The application as siblings see it: serves everything here, for the client that they name."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request that a sibling forwards."""
        client: tuple[str, int] | None = None
        headers: list[tuple[bytes, bytes]] = []
        for name, value in scope["headers"]:
            if name == PEER:
                host, _, port = value.decode().rpartition(" ")
                client = host, int(port)
            else:
                headers.append((name, value))
        await self._app({**scope, "headers": headers, "client": client}, receive, send)


def _session(scope: Scope, path: str) -> str | None:
    if path == MESSAGES_PATH:
        return parse_qs(scope.get("query_string", b"").decode("latin-1")).get("session_id", [""])[0]
    for name, value in scope["headers"]:
        if name == _SESSION:
            return value.decode("latin-1").strip(" \t")
    return None
