"""The HTTP+SSE transport of 2024-11-05: `GET /sse` opens a stream, `POST /messages` feeds it."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import parse_qs

from gateway.downstream.endpoint import admit, read_message
from gateway.downstream.exchange import Receive, Scope, Send, respond, respond_error, stream
from gateway.downstream.session import Session
from gateway.downstream.sessions import Sessions
from gateway.errors import LimitExceeded
from gateway.security.guard import Guard
from gateway.wire import jsonrpc, sse
from gateway.wire.jsonrpc import Json

MESSAGES_PATH: Final = "/messages"


class SseEndpoint:
    """Both paths of the transport. A session lives as long as its stream."""

    def __init__(self, guard: Guard, sessions: Sessions, keepalive: float) -> None:
        self._guard = guard
        self._sessions = sessions
        self._keepalive = keepalive
        self._answering: set[asyncio.Task[None]] = set()

    async def open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve `GET /sse`: name the path to post to, then everything the client is sent."""
        admitted = await admit(self._guard, scope, send)
        if admitted is None:
            return
        if scope["method"] != "GET":
            await respond(send, 405, headers=[(b"allow", b"GET")])
            return
        try:
            session = self._sessions.open(admitted.principal)
        except LimitExceeded as error:
            await respond_error(send, 503, jsonrpc.INTERNAL_ERROR, str(error))
            return
        path = f"{scope.get('root_path', '')}{MESSAGES_PATH}?session_id={session.id}"
        first = sse.event(path.encode(), name="endpoint")
        try:
            await stream(session.general, receive, send, keepalive=self._keepalive, first=first)
        finally:
            await asyncio.shield(self._sessions.end(session, "the client closed its stream"))

    async def post(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve `POST /messages`: accept one message; what answers it goes onto the stream."""
        admitted = await admit(self._guard, scope, send)
        if admitted is None:
            return
        if scope["method"] != "POST":
            await respond(send, 405, headers=[(b"allow", b"POST")])
            return
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        session = self._sessions.find(query.get("session_id", [""])[0], admitted.principal)
        if session is None:
            await respond_error(send, 404, jsonrpc.INVALID_REQUEST, "no such session: open GET /sse first")
            return
        if session.general.full:
            text = (
                "the client does not read its stream: more waits there than limits.max_backlog_messages or "
                "limits.max_backlog_bytes; read it, then send again"
            )
            await respond_error(send, 503, jsonrpc.INTERNAL_ERROR, text)
            return
        message = await read_message(scope, admitted.headers, receive, send, self._sessions.limits)
        if message is None:
            return
        if jsonrpc.kind_of_valid(message) == "request":
            task = asyncio.ensure_future(self._answer(session, message))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        else:
            session.take(message)
        await respond(send, 202)

    async def _answer(self, session: Session, message: Json) -> None:
        response = await session.answer(message, session.general)
        if response is not None:
            session.general.put(response)
