"""HTTP+SSE, the transport of 2024-11-05: one event stream in, one POST for each message out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from gateway.errors import CallError, ConnectionLost, ServerUnavailable
from gateway.upstream.addresses import Cookies, Place, without_secrets
from gateway.upstream.channel import Pending
from gateway.upstream.conversation import Conversation
from gateway.upstream.fields import EVENT_STREAM, JSON, content_type
from gateway.upstream.http import (
    Endpoint,
    TransportBroken,
    Unreachable,
)
from gateway.upstream.port import Json
from gateway.wire import sse

log = logging.getLogger(__name__)


class SseChannel:
    """Receives everything on one event stream, which names no call, and POSTs what it sends."""

    def __init__(self, endpoint: Endpoint) -> None:
        endpoint.acquire()
        self._endpoint = endpoint
        self._cookies = Cookies()
        self._target: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._conversation: Conversation

    def __repr__(self) -> str:
        return f"<SseChannel {self._endpoint!r}>"

    async def start(self, conversation: Conversation) -> None:
        """Open the stream and wait for its `endpoint` event.

        Raises:
            ServerUnavailable: the stream was refused, or names an endpoint of another origin.
            CallError: it broke.
        """
        self._conversation = conversation
        self._reading = asyncio.create_task(self._read())
        await asyncio.shield(self._target)

    async def send(self, message: Json, pending: Pending | None) -> None:
        """POST one message; the response to a request comes on the stream, maybe before the POST ends."""
        if pending is None:
            await self._post(message)
            return
        pending.exchange = self._spawn(self._post_request(message, pending))

    async def abandon(self, pending: Pending) -> None:
        """POST `notifications/cancelled`, without waiting long."""
        cancelled = {"requestId": pending.id, "reason": "the caller cancelled the request"}
        task = self._spawn(self._conversation.notify("notifications/cancelled", cancelled))
        await asyncio.wait({task}, timeout=0.5)

    async def aclose(self) -> None:
        """Close the stream and let go of the pool; idempotent."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _post_request(self, message: Json, pending: Pending) -> None:
        try:
            await self._post(message)
        except CallError as error:
            pending.fail(error)

    async def _post(self, message: Json) -> None:
        target = await asyncio.shield(self._target)
        try:
            async with self._endpoint.open(
                "POST", {"content-type": JSON}, message, cookies=self._cookies, place=target
            ) as response:
                if not response.is_success:
                    _, error = await self._endpoint.rejection(response)
                    raise error
                await self._endpoint.discard(response)
        except Unreachable as error:
            self._conversation.end(error.reason)
            raise self._conversation.lost() from error
        except TransportBroken as error:
            raise ConnectionLost(self._conversation.server, error.reason) from error

    async def _close(self) -> None:
        tasks = [task for task in (self._reading, *self._background) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2.0)
        self._endpoint.release()

    async def _read(self) -> None:
        reason = "the gateway stopped reading its event stream"
        try:
            reason = await self._read_events()
        finally:
            self._refuse(reason)

    async def _read_events(self) -> str:
        """Dispatch events until the stream ends; returns why it did."""
        try:
            async with self._endpoint.open(
                "GET", {"accept": EVENT_STREAM}, cookies=self._cookies
            ) as response:
                if not response.is_success or content_type(response) != EVENT_STREAM:
                    _, error = await self._endpoint.rejection(response)
                    return error.reason
                await self._endpoint.follow(response, self._take)
        except Unreachable as error:
            return error.reason
        except TransportBroken as error:
            return f"its event stream broke: {error.reason}"
        except CallError as error:
            return str(error)
        return self._conversation.why_closed or "its event stream ended"

    def _take(self, event: sse.Event) -> bool:
        if event.name == "endpoint" and not self._target.done():
            self._set_target(event.data)
        elif event.name == "message" and event.data:
            self._conversation.take_text(event.data)
        return self._conversation.closed.is_set()

    def _set_target(self, data: str) -> None:
        """Take the address that messages go to: of the same origin, or credentials would leave it."""
        try:
            there = self._endpoint.join(data.strip())
        except Unreachable as error:
            self._refuse(f"its endpoint event holds no address: {error.reason}")
            return
        if there.origin != self._endpoint.here.origin:
            self._refuse(f"its endpoint event names another origin, {without_secrets(str(there.url))}")
            return
        self._target.set_result(there)

    def _refuse(self, reason: str) -> None:
        """End the connection, and the wait for its beginning."""
        self._conversation.end(reason)
        if not self._target.done():
            self._target.set_exception(ServerUnavailable(self._conversation.server, reason))
            self._target.exception()  # seen, whether or not somebody waits
