"""The stdio transport of both eras: one message a line, over a subprocess's standard streams."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from gateway.config.resolved import ServerConfig
from gateway.errors import ConnectionLost
from gateway.upstream.channel import Pending
from gateway.upstream.conversation import CLOSED_BY_US, Conversation
from gateway.upstream.guardian import Guardian
from gateway.upstream.port import Json
from gateway.upstream.process import ServerProcess
from gateway.wire import jsonrpc
from gateway.wire.lines import LineTooLong, read_lines

log = logging.getLogger(__name__)

_CHUNK = 1 << 18
_END_NOTICED = 2.0
_LEADER_GONE = 0.5
"""Seconds to read on after the process has exited: a child of it may hold its output open."""


class StdioChannel:
    """Moves messages over a process's standard streams, and owns the process."""

    def __init__(self, process: ServerProcess, max_message_bytes: int) -> None:
        self.process = process
        self._limit = max_message_bytes
        self._conversation: Conversation | None = None
        self._reading: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<StdioChannel {self.process!r}>"

    @classmethod
    async def open(cls, config: ServerConfig, guardian: Guardian, max_message_bytes: int) -> StdioChannel:
        """Start the server; raises ServerUnavailable if it cannot be started."""
        return cls(await ServerProcess.start(config, guardian), max_message_bytes)

    def start(self, conversation: Conversation) -> None:
        """Begin to read; the conversation ends when the process does."""
        self._conversation = conversation
        self._reading = asyncio.create_task(self._read(conversation))

    async def send(self, message: Json, pending: Pending | None) -> None:
        """Write one line, waiting while the server is slow to read."""
        del pending  # one stream carries everything
        try:
            self._write(message)
            await self.process.stdin.drain()
        except (OSError, ConnectionLost) as error:
            # Most likely it has just ended, and how it did says more than a broken pipe.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_NOTICED):
                    await self._ended()
            raise self._broken(error if isinstance(error, OSError) else None) from error

    async def _ended(self) -> None:
        if self._conversation is not None:
            await self._conversation.closed.wait()

    async def abandon(self, pending: Pending) -> None:
        """Write `notifications/cancelled`, without waiting (2026-07-28 and 2025-11-25 alike)."""
        cancelled = {"requestId": pending.id, "reason": "the caller cancelled the request"}
        try:
            self._write(jsonrpc.notification("notifications/cancelled", cancelled))
        except ConnectionLost as error:
            log.debug("a cancellation was not sent: %s", error)

    async def aclose(self) -> None:
        """Stop the process and its children; runs to its end even if the caller is cancelled."""
        if self._conversation is not None:
            self._conversation.end(CLOSED_BY_US)
        await asyncio.shield(self._stop())

    def _write(self, message: Json) -> None:
        if self.process.stdin.is_closing():
            raise self._broken(None)
        self.process.stdin.write(jsonrpc.encode(message) + b"\n")

    def _broken(self, error: OSError | None) -> ConnectionLost:
        reason = "it no longer reads its standard input" + (f" ({error})" if error else "")
        return ConnectionLost(self.process.name, reason)

    def _stop(self) -> asyncio.Task[None]:
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._shut_down())
        return self._stopping

    async def _shut_down(self) -> None:
        try:
            await self.process.stop()
        finally:
            self.process.kill()
            if self._reading is not None:
                self._reading.cancel()

    async def _read(self, conversation: Conversation) -> None:
        """Read until the output ends, then say why and stop what is left of the process."""
        output = asyncio.create_task(self._read_lines(conversation))
        exited = asyncio.create_task(self.process.exited.wait())
        try:
            await asyncio.wait({output, exited}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({output}, timeout=_LEADER_GONE)
            reason = output.result() if output.done() else None
            conversation.end(reason or await self.process.how_it_ended())
        finally:
            conversation.end("the gateway stopped reading its output")
            output.cancel()
            exited.cancel()
            self._stop()
        await self._discard()

    async def _discard(self) -> None:
        """Read on while the process is stopped: one that is stuck writing does not see its input end."""
        try:
            while await self.process.stdout.read(_CHUNK):
                pass
        except OSError as error:
            log.debug("server %s: %s", self.process.name, error)

    async def _read_lines(self, conversation: Conversation) -> str | None:
        """Dispatch lines until the end of the stream; returns why it stopped before that, if it did."""
        try:
            async for line in read_lines(lambda: self.process.stdout.read(_CHUNK), self._limit):
                conversation.take_text(line)
        except LineTooLong as error:
            return f"{error}; the limit is `limits.max_message_bytes`"
        except OSError as error:
            return f"its standard output cannot be read: {error}"
        return None
