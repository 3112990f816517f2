"""What operators read over HTTP: health, readiness, servers, models and decisions. JSON, nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.calls.model import Json
from gateway.downstream.exchange import Receive, Scope, Send, respond_error
from gateway.security.authentication import Unauthenticated
from gateway.security.guard import Guard
from gateway.security.origins import ForbiddenOrigin
from gateway.wire import jsonrpc

_MOST = 1000


class Status(Protocol):
    """What the pages show."""

    @property
    def ready(self) -> bool:
        """Whether every server has been connected or has failed once, and the gateway is not stopping."""
        ...

    def servers(self) -> Sequence[Any]:
        """Return one dataclass a server."""
        ...

    def calls(self) -> Json:
        """Return counts of the clients' calls."""
        ...

    def llm(self) -> Json:
        """Return the LLM providers of each kind, with their circuits."""
        ...

    def costs(self, by: Sequence[str], day: str | None) -> Json:
        """Return what was spent on the LLM, summed by some columns, and the budgets.

        Raises:
            ValueError: a column that there is not.
        """
        ...

    def decisions(
        self, count: int, server: str | None, kind: str | None, source: str | None
    ) -> Sequence[Json]:
        """Return the latest decisions, newest first."""
        ...


def _json(value: Json, status: int = 200) -> Response:
    """Return a JSON response. Names of clients and servers may hold what UTF-8 cannot: lone surrogates."""
    return Response(jsonrpc.encode(value), status, media_type="application/json")


def pages(status: Status, guard: Guard) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Build the application that serves every path but those of MCP."""

    async def health(_: Request) -> Response:
        return _json({"status": "ok"})

    async def ready(_: Request) -> Response:
        return _json({"status": "ready" if status.ready else "starting"}, 200 if status.ready else 503)

    async def servers(_: Request) -> Response:
        return _json({"servers": [dataclasses.asdict(server) for server in status.servers()]})

    async def calls(_: Request) -> Response:
        return _json(status.calls())

    async def llm(_: Request) -> Response:
        return _json(status.llm())

    async def costs(request: Request) -> Response:
        return _costs(status, request)

    async def decisions(request: Request) -> Response:
        return _decisions(status, request)

    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/ready", ready),
            Route("/api/servers", servers),
            Route("/api/calls", calls),
            Route("/api/llm", llm),
            Route("/api/costs", costs),
            Route("/api/decisions", decisions),
        ]
    )

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/api/") and not await _may_read(guard, scope, send):
            return
        await app(scope, receive, send)

    return guarded


def _costs(status: Status, request: Request) -> Response:
    by = [name for name in request.query_params.get("by", "day").split(",") if name]
    try:
        return _json(status.costs(by, request.query_params.get("day")))
    except ValueError as error:
        return _json({"error": str(error)}, 400)


def _decisions(status: Status, request: Request) -> Response:
    query = request.query_params
    limit = query.get("limit", "100")
    if not limit.isdecimal() or len(limit) > len(str(_MOST)) or not 0 < int(limit) <= _MOST:
        return _json({"error": f"limit must be a number from 1 to {_MOST}"}, 400)
    found = status.decisions(int(limit), query.get("server"), query.get("kind"), query.get("source"))
    return _json({"decisions": list(found)})


async def _may_read(guard: Guard, scope: Scope, send: Send) -> bool:
    try:
        admitted = guard.admit(scope)
    except ForbiddenOrigin as error:
        await respond_error(send, 403, jsonrpc.INVALID_REQUEST, str(error))
        return False
    except Unauthenticated as error:
        await respond_error(send, 401, jsonrpc.INVALID_REQUEST, str(error))
        return False
    if guard.is_stranger(scope, admitted.headers):
        text = "/api is open to this machine only, since no API key is configured (auth.keys)"
        await respond_error(send, 403, jsonrpc.INVALID_REQUEST, text)
        return False
    return True
