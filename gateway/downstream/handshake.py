"""Streamable HTTP for handshake-era clients: 2025-03-26 to 2025-11-25, basic/transports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from gateway.calls.alarms import Alarms
from gateway.downstream import batches
from gateway.downstream.cycle import LEAVING
from gateway.downstream.exchange import (
    Exchange,
    Receive,
    Scope,
    Send,
    numbered_frame,
    respond,
    respond_error,
    stream,
)
from gateway.downstream.outbox import Outbox
from gateway.downstream.session import VERSIONS, Session
from gateway.downstream.sessions import Sessions
from gateway.downstream.work import Ticket
from gateway.errors import LimitExceeded
from gateway.wire import jsonrpc
from gateway.wire.jsonrpc import Json

logger = logging.getLogger(__name__)

SESSION_HEADER: Final = "mcp-session-id"
_GRACE: Final = 30.0
"""Seconds for which a call's stream that broke can be resumed by `Last-Event-ID`."""
_KEPT: Final = 16
"""Ended streams of one session that are kept for the grace."""
_POSITION_DIGITS: Final = 18
_REPLAY: Final = 256
"""Messages of one call's stream that are kept for a client that comes back."""

Work = Callable[[Exchange], Awaitable[tuple[Json | list[Json] | None, int]]]
"""Answers what one POST brought; see `Exchange.run`."""


class HandshakeEndpoint:
    """Serves POST, GET and DELETE of sessions. Authentication and body reading came before."""

    def __init__(self, sessions: Sessions, keepalive: float) -> None:
        self._sessions = sessions
        self._keepalive = keepalive
        self._alarms = Alarms(keepalive)
        self._streams: dict[str, dict[str, Outbox]] = {}
        self._last_stream = 0
        self._kept: dict[Outbox, tuple[Session, int]] = {}
        self._kept_bytes = 0

    async def post(
        self,
        message: Json,
        headers: Mapping[str, str],
        scope: Scope,
        principal: str | None,
        receive: Receive,
        send: Send,
    ) -> None:
        """Take one message: a request is answered here, anything else is acknowledged."""
        kind = jsonrpc.kind_of_valid(message)
        if kind == "request" and message["method"] == "initialize":
            await self._initialize(message, principal, receive, send)
            return
        session = await self._session(headers, principal, send)
        if session is None:
            return
        if kind == "request":
            await self._answer(session, message, headers, scope, receive, send)
        else:
            session.take(message)
            await respond(send, 202)

    async def get(
        self, headers: Mapping[str, str], principal: str | None, receive: Receive, send: Send
    ) -> None:
        """Open the stream for what belongs to no call, or resume a call's stream."""
        session = await self._session(headers, principal, send)
        if session is None:
            return
        if "text/event-stream" not in headers.get("accept", "text/event-stream"):
            await respond_error(
                send, 406, jsonrpc.INVALID_REQUEST, "GET opens an event stream: accept text/event-stream"
            )
            return
        outbox, after = self._resumed(session, headers.get("last-event-id"))
        session.touch()
        outbox.reachable = True
        stayed = await stream(
            outbox, receive, send, keepalive=self._keepalive, after=after, frame=numbered_frame(outbox)
        )
        if outbox is not session.general:
            outbox.reachable = stayed
        session.touch()

    async def delete(self, headers: Mapping[str, str], principal: str | None, send: Send) -> None:
        """End the session because its client says so."""
        session = await self._session(headers, principal, send)
        if session is not None:
            for outbox in list(self._streams.get(session.id, {}).values()):
                self._forget(session, outbox)
            await self._sessions.end(session, "the client ended the session")
            await respond(send, 200)

    async def _initialize(self, message: Json, principal: str | None, receive: Receive, send: Send) -> None:
        try:
            session = self._sessions.open(principal)
        except LimitExceeded as error:
            await respond_error(send, 503, jsonrpc.INTERNAL_ERROR, str(error))
            return
        header = [(SESSION_HEADER.encode(), session.id.encode())]
        exchange = Exchange(
            receive, send, keepalive=self._keepalive, headers=header, limits=self._sessions.limits
        )
        ticket = Ticket()
        await exchange.run(self._work(session, message, exchange.outbox, ticket), ticket.cancel)
        if not session.initialized:
            await self._sessions.end(session, "initialize failed")

    def takes_batches(self, headers: Mapping[str, str], principal: str | None) -> bool:
        """Whether a POST is of a session whose revision has batches."""
        session = self._sessions.find(headers.get(SESSION_HEADER, ""), principal)
        return session is not None and session.version == batches.REVISION

    async def batch(
        self,
        messages: Sequence[Any],
        headers: Mapping[str, str],
        scope: Scope,
        principal: str | None,
        receive: Receive,
        send: Send,
    ) -> None:
        """Take several messages: requests are answered in one array, or on one event stream."""
        session = await self._session(headers, principal, send)
        if session is None:
            return
        refusal = batches.why_refused(messages, self._sessions.limits.max_calls_per_client)
        if refusal is not None:
            await respond_error(send, 400, jsonrpc.INVALID_REQUEST, refusal)
            return
        batches.take(session, messages)
        if not batches.has_requests(messages):
            await respond(send, 202)
            return

        async def work(exchange: Exchange) -> tuple[list[Json] | None, int]:
            return await batches.answer(session, messages, exchange), 200

        await self._exchange(session, work, headers, scope, receive, send)

    async def _answer(
        self,
        session: Session,
        message: Json,
        headers: Mapping[str, str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        async def work(exchange: Exchange) -> tuple[Json | None, int]:
            return await self._work(session, message, exchange.outbox, Ticket())

        await self._exchange(session, work, headers, scope, receive, send)

    async def _exchange(
        self,
        session: Session,
        work: Work,
        headers: Mapping[str, str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        streams = "text/event-stream" in (accept := headers.get("accept", "*/*")) or "*/*" in accept
        self._last_stream += 1
        exchange = Exchange(
            receive,
            send,
            keepalive=self._keepalive,
            stream_id=str(self._last_stream),
            replay=_REPLAY,
            streams=streams,
            limits=self._sessions.limits,
            alarms=self._alarms,
            leaving=scope.get(LEAVING),
        )
        outbox = exchange.outbox
        mine = self._streams.setdefault(session.id, {})
        mine[outbox.stream_id] = outbox
        # A broken stream does not cancel a handshake-era call: its client may come back for it.
        await exchange.run(work(exchange), lambda: None)
        if exchange.streamed:
            # What was written may not have been read: the client can come back for it.
            self._keep(session, outbox)
        else:
            self._forget(session, outbox)

    async def _work(
        self, session: Session, message: Json, outbox: Outbox, ticket: Ticket
    ) -> tuple[Json | None, int]:
        return await session.answer(message, outbox, ticket), 200

    async def _session(self, headers: Mapping[str, str], principal: str | None, send: Send) -> Session | None:
        session_id = headers.get(SESSION_HEADER)
        if session_id is None:
            await respond_error(
                send,
                400,
                jsonrpc.INVALID_REQUEST,
                "the header Mcp-Session-Id is missing: send 'initialize' first, or speak 2026-07-28 "
                "with the header MCP-Protocol-Version",
            )
            return None
        session = self._sessions.find(session_id, principal)
        if session is None:
            await respond_error(
                send, 404, jsonrpc.INVALID_REQUEST, "no such session: send 'initialize' for a new one"
            )
            return None
        version = headers.get("mcp-protocol-version")
        if version is not None and version not in VERSIONS:
            await respond_error(
                send,
                400,
                jsonrpc.INVALID_REQUEST,
                f"unsupported MCP-Protocol-Version '{version}' in a session",
            )
            return None
        return session

    def _resumed(self, session: Session, last_event_id: str | None) -> tuple[Outbox, int | None]:
        name, _, number = (last_event_id or "").rpartition(":")
        if name and number.isdecimal() and len(number) <= _POSITION_DIGITS:
            mine = self._streams.get(session.id)
            if mine is not None and name in mine:
                return mine[name], int(number)
            if name == session.general.stream_id:
                return session.general, int(number)
        return session.general, None

    def _keep(self, session: Session, outbox: Outbox) -> None:
        asyncio.get_running_loop().call_later(_GRACE, self._forget, session, outbox)
        ended = [kept for kept in self._streams.get(session.id, {}).values() if kept.closed]
        for oldest in ended[:-_KEPT]:
            self._forget(session, oldest)
        self._kept[outbox] = session, outbox.size
        self._kept_bytes += outbox.size
        while self._kept_bytes > self._sessions.limits.max_replay_bytes:
            first, (whose, _) = next(iter(self._kept.items()))
            self._forget(whose, first)

    def _forget(self, session: Session, outbox: Outbox) -> None:
        self._kept_bytes -= self._kept.pop(outbox, (session, 0))[1]
        mine = self._streams.get(session.id)
        if mine is not None:
            mine.pop(outbox.stream_id, None)
            if not mine:
                del self._streams[session.id]
