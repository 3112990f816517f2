"""Streamable HTTP of the modern era: stateless, one POST a request (2026-07-28, streamable-http)."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.errors import ConnectionLost
from gateway.upstream.addresses import Cookies
from gateway.upstream.channel import Pending
from gateway.upstream.conversation import Conversation
from gateway.upstream.fields import EVENT_STREAM, JSON, content_type, unexpected_type
from gateway.upstream.http import (
    ACCEPT,
    Endpoint,
    TransportBroken,
    Unreachable,
)
from gateway.upstream.port import Json
from gateway.upstream.posting import Post
from gateway.upstream.probe import OTHER_ERA, is_modern_still, is_odd
from gateway.upstream.response import Response
from gateway.upstream.tool_headers import ToolHeaders
from gateway.wire import sse

_SURE: Final = 1.0
"""Seconds for which a server that has said that it is modern is believed, however it refuses requests."""


class ModernHttpChannel:
    """Carries each request on a POST of its own; closing its response cancels it."""

    def __init__(self, endpoint: Endpoint, tools: ToolHeaders) -> None:
        endpoint.acquire()
        self._endpoint = endpoint
        self._cookies = Cookies()
        self._tools = tools
        self._conversation: Conversation | None = None
        self._exchanges: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._doubt = asyncio.Lock()
        self._sure = -_SURE

    def __repr__(self) -> str:
        return f"<ModernHttpChannel {self._endpoint!r}, {len(self._exchanges)} open>"

    def start(self, conversation: Conversation) -> None:
        """Tell where responses go."""
        self._conversation = conversation

    async def send(self, message: Json, pending: Pending | None) -> None:
        """Start the exchange of a request; this era has nothing else to send."""
        if pending is None:
            return
        assert self._conversation is not None
        post = Post(self._endpoint, self._conversation, self._cookies, pending, message, self._go_on)
        if not post.begin(self._tools.of(message)):
            self._go_on(message, pending)

    async def abandon(self, pending: Pending) -> None:
        """Close the response stream, which is the cancellation."""
        if pending.exchange is not None:
            pending.exchange.cancel()

    async def aclose(self) -> None:
        """Close every response and let go of the pool; idempotent."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        exchanges = list(self._exchanges)
        for exchange in exchanges:
            exchange.cancel()
        if exchanges:
            await asyncio.wait(exchanges, timeout=2.0)
        self._endpoint.release()

    def _go_on(self, source: Json | Response, pending: Pending) -> None:
        """Carry a request to its end in a task, from its message or from the head of its response."""
        assert self._conversation is not None
        task = self._conversation.run(pending, self._exchange(self._conversation, source, pending))
        self._exchanges.add(task)
        task.add_done_callback(self._exchanges.discard)

    async def _exchange(self, conversation: Conversation, source: Json | Response, pending: Pending) -> None:
        try:
            if isinstance(source, Response):
                async with self._endpoint.reading(source):
                    await self._read(conversation, source, pending)
                return
            headers = {**ACCEPT, **self._tools.of(source)}
            async with self._endpoint.open("POST", headers, source, cookies=self._cookies) as response:
                await self._read(conversation, response, pending)
        except Unreachable as error:
            conversation.end(error.reason)
        except TransportBroken as error:
            raise ConnectionLost(conversation.server, error.reason) from error

    async def _read(self, conversation: Conversation, response: Response, pending: Pending) -> None:
        if not response.is_success:
            said, error = await self._endpoint.rejection(response)
            if is_odd(response.status, said) and not await self._is_modern_still(conversation, pending):
                conversation.end(OTHER_ERA)
                raise conversation.lost()
            if said is None or response.status in (401, 403):
                raise error
            conversation.take(said, pending)
            if not pending.future.done():
                raise error
            return
        kind = content_type(response)
        if kind == EVENT_STREAM:
            await self._endpoint.follow(response, lambda event: self._take(conversation, event, pending))
        elif kind == JSON:
            conversation.take_body(await self._endpoint.body(response), pending)
        else:
            raise unexpected_type(conversation.server, pending.method, response)

    async def _is_modern_still(self, conversation: Conversation, pending: Pending) -> bool:
        """Whether a server that refused a request oddly is what it was found to be; asked once a second."""
        if conversation.connection is None or pending.method == "server/discover":
            return True
        loop = asyncio.get_running_loop()
        async with self._doubt:
            if loop.time() - self._sure > _SURE and not conversation.closed.is_set():
                if not await is_modern_still(conversation):
                    return False
                self._sure = loop.time()
        return not conversation.closed.is_set()

    @staticmethod
    def _take(conversation: Conversation, event: sse.Event, pending: Pending) -> bool:
        if event.name == "message" and event.data:
            conversation.take_text(event.data, pending)
        return pending.future.done()
