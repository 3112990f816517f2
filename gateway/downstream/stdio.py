"""The stdio transport: one client of either era, one message a line."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any, BinaryIO, Final, cast

from mcp.shared.inbound import InboundModernRoute, classify_inbound_request

from gateway.downstream.envelope import META
from gateway.downstream.modern import VERSIONS, ModernServer
from gateway.downstream.outbox import Outbox
from gateway.downstream.session import Session
from gateway.downstream.sessions import Sessions
from gateway.downstream.work import Ticket
from gateway.wire import jsonrpc
from gateway.wire.jsonrpc import Json
from gateway.wire.lines import LineTooLong, read_lines

logger = logging.getLogger(__name__)

_CHUNK: Final = 1 << 18
_LAST_CALLS: Final = 5.0
"""Seconds for calls still in flight when the client has closed its end."""


class StdioEndpoint:
    """Serves the client at the other end of a pair of pipes until it closes its end."""

    def __init__(self, sessions: Sessions, modern: ModernServer) -> None:
        self._session: Session = sessions.open(None)
        self._sessions = sessions
        self._modern = modern
        self._limits = sessions.limits
        self._tickets: dict[str, Ticket] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def serve(self, source: BinaryIO | None = None, sink: BinaryIO | None = None) -> None:
        """Read lines from `source` (standard input) and write to `sink` (standard output)."""
        reader = await self._reader(source or sys.stdin.buffer)
        writer = asyncio.ensure_future(self._write(sink or sys.stdout.buffer))
        try:
            await self._read(reader)
            await self._finish()
        finally:
            self._session.general.close()
            await asyncio.wait((writer,), timeout=2)
            writer.cancel()
            await self._sessions.end(self._session, "the client closed its end")

    async def _finish(self) -> None:
        """Let calls that were sent before the end of input have their answers, for a while."""
        if self._answering:
            await asyncio.wait(self._answering, timeout=_LAST_CALLS)
        for ticket in list(self._tickets.values()):
            ticket.cancel()

    async def _reader(self, source: BinaryIO) -> asyncio.StreamReader:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
        return reader

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Take lines until the end; a client that does not take its answers is not read from meanwhile."""
        try:
            async for line in read_lines(lambda: reader.read(_CHUNK), self._limits.max_message_bytes):
                await self._session.general.room()
                self._take(line)
        except LineTooLong as error:
            logger.error("%s (limits.max_message_bytes); ending", error)
            text = f"{error}; the limit is limits.max_message_bytes"
            self._session.general.put(jsonrpc.error(None, jsonrpc.INVALID_REQUEST, text))

    async def _write(self, sink: BinaryIO) -> None:
        async for item in self._session.general.read():
            if item is not None:
                # A pipe that is full must not stop the loop that reads the other one.
                await asyncio.to_thread(_write_line, sink, item.data)

    def _take(self, line: bytes) -> None:
        outbox = self._session.general
        try:
            message: Any = jsonrpc.decode(line, self._limits.max_nesting)
        except jsonrpc.Undecodable as error:
            outbox.put(jsonrpc.error(None, jsonrpc.PARSE_ERROR, str(error)))
            return
        kind = jsonrpc.kind_of(message)
        if kind == "invalid":
            outbox.put(jsonrpc.error(None, jsonrpc.INVALID_REQUEST, "each line must be one JSON-RPC message"))
        elif kind == "request":
            task = asyncio.ensure_future(self._answer(cast("Json", message), outbox))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        else:
            self._cancel(cast("Json", message))
            self._session.take(cast("Json", message))

    async def _answer(self, message: Json, outbox: Outbox) -> None:
        if _is_modern(message):
            response = await self._answer_modern(message, outbox)
        else:
            response = await self._session.answer(message, outbox)
        if response is not None:
            outbox.put(response)

    async def _answer_modern(self, message: Json, outbox: Outbox) -> Json | None:
        route = classify_inbound_request(message, supported_modern_versions=VERSIONS)
        if not isinstance(route, InboundModernRoute):
            return jsonrpc.error(message["id"], route.code, route.message, route.data)
        key, ticket = str(message["id"]), Ticket()
        self._tickets[key] = ticket
        try:
            caller = self._modern.caller(route, None, outbox, message["params"])
            return await self._modern.answer(message, caller, None, outbox, ticket)
        finally:
            if self._tickets.get(key) is ticket:
                del self._tickets[key]

    def _cancel(self, message: Json) -> None:
        if message.get("method") == "notifications/cancelled":
            params: Json = message.get("params") or {}
            ticket = self._tickets.get(str(params.get("requestId")))
            if ticket is not None:
                ticket.cancel()


def _is_modern(message: Json) -> bool:
    params: Json = message.get("params") or {}
    meta: Any = params.get("_meta")
    return message["method"] == "server/discover" or (
        isinstance(meta, dict) and META + "protocolVersion" in meta
    )


def _write_line(sink: BinaryIO, data: bytes) -> None:
    sink.write(data + b"\n")
    sink.flush()
