"""Streamable HTTP of the handshake era: sessions, a GET stream, resumable POST streams (2025-11-25)."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from gateway.errors import CallError, ConnectionLost, NotTaken
from gateway.upstream.addresses import Cookies
from gateway.upstream.channel import Pending
from gateway.upstream.conversation import Conversation
from gateway.upstream.fields import EVENT_STREAM, JSON, content_type, unexpected_type
from gateway.upstream.handshake import as_object
from gateway.upstream.http import (
    ACCEPT,
    LAST_EVENT_ID,
    PROTOCOL_VERSION,
    SESSION_ID,
    Endpoint,
    TransportBroken,
    Unreachable,
)
from gateway.upstream.port import Json
from gateway.upstream.posting import Post
from gateway.upstream.probe import OTHER_ERA
from gateway.upstream.response import Response
from gateway.upstream.subscriptions import list_changes
from gateway.wire import jsonrpc, sse

log = logging.getLogger(__name__)

_RETRY = 1.0
"""Seconds before a stream is taken up again, unless the server says otherwise."""
_MIN_RETRY = 0.1
"""A server that asks for no pause and closes every stream at once must not keep the gateway busy."""
_MAX_RETRY = 30.0
_RESUMPTIONS = 5
"""How often in a row a POST stream may be taken up again without bringing anything."""
_FORGOT = "the server forgot its session"


@dataclass(slots=True)
class _Cursor:
    """Where a stream stands: the last event seen, and how long to wait before asking for more."""

    last: str | None = None
    retry: float = _RETRY
    idle: int = 0

    def note(self, event: sse.Event) -> None:
        self.idle = 0
        if event.id:
            self.last = event.id
        if event.retry is not None:
            self.retry = min(max(event.retry / 1000, _MIN_RETRY), _MAX_RETRY)


class HandshakeHttpChannel:
    """Carries each message on a POST of its own, within one session, beside one GET stream."""

    def __init__(self, endpoint: Endpoint) -> None:
        endpoint.acquire()
        self._endpoint = endpoint
        self._cookies = Cookies()
        self._session: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        self._conversation: Conversation

    def __repr__(self) -> str:
        return f"<HandshakeHttpChannel {self._endpoint!r}, {len(self._tasks)} tasks>"

    def start(self, conversation: Conversation) -> None:
        """Tell where messages go."""
        self._conversation = conversation

    async def listen(self, capabilities: Json) -> None:
        """Open the GET stream, and wait a moment until the server has taken it.

        A question that a server asks before that would be lost, since many servers send it there.
        """
        self._spawn(asyncio.create_task(self._keep_listening(capabilities)))
        try:
            async with asyncio.timeout(_RETRY):
                await self._listening.wait()
        except TimeoutError:
            log.debug("server %s is slow to open its GET stream", self._endpoint.config.name)

    async def send(self, message: Json, pending: Pending | None) -> None:
        """Start the exchange of a request; POST a notification or response and wait until it is taken."""
        if pending is None:
            await self._post(message)
            return
        post = Post(self._endpoint, self._conversation, self._cookies, pending, message, self._go_on)
        # The answer to `initialize` names the session: it is looked at.
        if pending.method == "initialize" or not post.begin(self._own_headers()):
            self._go_on(message, pending)

    async def abandon(self, pending: Pending) -> None:
        """POST `notifications/cancelled`, then close the response."""
        cancelled = {"requestId": pending.id, "reason": "the caller cancelled the request"}
        task = asyncio.create_task(
            self._cancel(jsonrpc.notification("notifications/cancelled", cancelled), pending)
        )
        self._spawn(task)
        # Normally a matter of a millisecond; a server that is slow to take it is not waited for.
        await asyncio.wait({task}, timeout=0.5)

    async def aclose(self) -> None:
        """Close every stream, end the session and let go of the pool; idempotent."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2.0)
        try:
            if self._session is not None and self._conversation.why_closed not in (_FORGOT, OTHER_ERA):
                async with (
                    asyncio.timeout(2.0),
                    self._endpoint.open("DELETE", self._headers(), cookies=self._cookies) as response,
                ):
                    log.debug("ending the session was answered with HTTP %d", response.status)
        except (TimeoutError, CallError) as error:
            log.debug("server %s did not end its session: %s", self._endpoint.config.name, error)
        finally:
            self._endpoint.release()

    def _spawn(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _headers(self, **more: str) -> dict[str, str]:
        return {**ACCEPT, **self._own_headers(), **more}

    def _own_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        if self._session is not None:
            headers[SESSION_ID] = self._session
        if (connection := self._conversation.connection) is not None:
            headers[PROTOCOL_VERSION] = connection.hello.protocol_version
        return headers

    async def _cancel(self, message: Json, pending: Pending) -> None:
        try:
            async with asyncio.timeout(5.0):
                await self._post(message)
        except (TimeoutError, CallError) as error:
            log.debug("a cancellation was not taken: %s", error)
        finally:
            if pending.exchange is not None:
                pending.exchange.cancel()

    async def _post(self, message: Json) -> None:
        """POST what expects no response.

        Raises:
            CallError: the server did not take it.
        """
        response = await self._post_at_once(message)
        if response is not None:
            async with self._endpoint.reading(response):
                await self._taken(response)
            return
        async with self._endpoint.open("POST", self._headers(), message, cookies=self._cookies) as response:
            await self._taken(response)

    async def _taken(self, response: Response) -> None:
        if not response.is_success:
            await self._refused(response)
        if not response.complete:
            await self._endpoint.discard(response)

    async def _post_at_once(self, message: Json) -> Response | None:
        """POST on a connection at hand; None where there is none, or the message is to go elsewhere.

        Raises:
            TransportBroken: it failed.
        """
        head: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def begun(_: Response) -> None:
            if not head.done():
                head.set_result(None)

        response = self._endpoint.begin(self._own_headers(), message, self._cookies, begun)
        if response is None:
            return None
        try:
            await head
            if 300 <= response.status < 400:
                await self._endpoint.discard(response)
                response.cancel()
                return None
        except BaseException:
            response.cancel()
            raise
        if response.error is not None:
            raise TransportBroken(self._endpoint.config.name, str(response.error)) from response.error
        self._endpoint.keep(response, self._cookies)
        return response

    async def _refused(self, response: Response, pending: Pending | None = None) -> None:
        """Deal with an error status; returns only if the body answered `pending`."""
        said, error = await self._endpoint.rejection(response)
        if response.status == 404 and self._session is not None and not _unknown_method(said):
            if pending is not None:
                # Its session is to be begun anew (transports, session management): nothing was done.
                pending.fail(NotTaken(self._conversation.server, _FORGOT))
            self._conversation.end(_FORGOT)
            raise self._conversation.lost()
        if self._is_other_era(said):
            self._conversation.end(OTHER_ERA)
            raise self._conversation.lost()
        if pending is None or said is None or response.status in (401, 403):
            raise error
        self._conversation.take(said, pending)
        if not pending.future.done():
            raise error

    def _is_other_era(self, said: Json | None) -> bool:
        """Whether an established connection is told that its revision is not spoken."""
        code = as_object((said or {}).get("error")).get("code")
        return code == jsonrpc.UNSUPPORTED_PROTOCOL_VERSION and self._conversation.connection is not None

    def _go_on(self, source: Json | Response, pending: Pending) -> None:
        """Carry a request to its end in a task, from its message or from the head of its response."""
        self._spawn(self._conversation.run(pending, self._exchange(source, pending)))

    async def _exchange(self, source: Json | Response, pending: Pending) -> None:
        cursor = _Cursor()
        try:
            if isinstance(source, Response):
                async with self._endpoint.reading(source):
                    await self._read(source, pending, cursor)
            else:
                await self._ask(source, pending, cursor)
            while not pending.future.done():
                await self._resume(pending, cursor)
        except Unreachable as error:
            self._conversation.end(error.reason)
        except TransportBroken as error:
            raise ConnectionLost(self._conversation.server, error.reason) from error

    async def _ask(self, message: Json, pending: Pending, cursor: _Cursor) -> None:
        async with self._endpoint.open("POST", self._headers(), message, cookies=self._cookies) as response:
            await self._read(response, pending, cursor)

    async def _read(self, response: Response, pending: Pending, cursor: _Cursor) -> None:
        if not response.is_success:
            await self._refused(response, pending)
            return
        if pending.method == "initialize":
            self._session = response.headers.get(SESSION_ID)
        kind = content_type(response)
        if kind == EVENT_STREAM:
            await self._follow(response, pending, cursor)
        elif kind == JSON:
            self._conversation.take_body(await self._endpoint.body(response), pending)
        else:
            raise unexpected_type(self._conversation.server, pending.method, response)

    async def _follow(self, response: Response, pending: Pending, cursor: _Cursor) -> None:
        """Read a request's stream; one that breaks after an event with an id can be taken up again."""

        def take(event: sse.Event) -> bool:
            cursor.note(event)
            if event.name == "message" and event.data:
                self._conversation.take_text(event.data, pending)
            return pending.future.done()

        try:
            await self._endpoint.follow(response, take)
        except TransportBroken:
            if cursor.last is None:
                raise
        if cursor.last is None and not pending.future.done():
            reason = "the response stream ended without a response"
            raise ConnectionLost(self._conversation.server, reason)

    async def _resume(self, pending: Pending, cursor: _Cursor) -> None:
        """Take a request's stream up again by GET, after the pause the server asked for."""
        cursor.idle += 1
        if cursor.idle > _RESUMPTIONS or cursor.last is None:
            reason = f"the response stream broke and could not be resumed in {_RESUMPTIONS} attempts"
            raise ConnectionLost(self._conversation.server, reason)
        await asyncio.sleep(cursor.retry)
        headers = self._headers(**{LAST_EVENT_ID: cursor.last, "accept": EVENT_STREAM})
        try:
            async with self._endpoint.open("GET", headers, cookies=self._cookies) as response:
                if not response.is_success or content_type(response) != EVENT_STREAM:
                    await self._refused(response)
                await self._follow(response, pending, cursor)
        except TransportBroken as error:
            log.debug("resuming a stream of server %s failed: %s", self._conversation.server, error)

    async def _keep_listening(self, capabilities: Json) -> None:
        """Hold the GET stream open for as long as the connection lives and the server offers it."""
        cursor = _Cursor()
        while not self._conversation.closed.is_set():
            failures = 0
            try:
                more = {"accept": EVENT_STREAM} | ({LAST_EVENT_ID: cursor.last} if cursor.last else {})
                async with self._endpoint.open(
                    "GET", self._headers(**more), cookies=self._cookies
                ) as response:
                    if not await self._may_listen(response):
                        return
                    if self._listening.is_set() and cursor.last is None:
                        self._assume_changes(capabilities)
                    self._listening.set()
                    await self._endpoint.follow(response, lambda event: self._heard(event, cursor))
            except Unreachable as error:
                self._conversation.end(error.reason)
            except CallError as error:
                failures, cursor.idle = cursor.idle, cursor.idle + 1
                log.info("the GET stream will be opened again: %s", error)
            await asyncio.sleep(min(cursor.retry * 2**failures, _MAX_RETRY))

    async def _may_listen(self, response: Response) -> bool:
        """Whether the GET stream is open; False if this server will never open it.

        Raises:
            CallError: not now.
        """
        if response.is_success and content_type(response) == EVENT_STREAM:
            return True
        said, error = await self._endpoint.rejection(response)
        if response.status == 404 and self._session is not None and not _unknown_method(said):
            self._conversation.end(_FORGOT)
        elif self._is_other_era(said):
            self._conversation.end(OTHER_ERA)
        elif response.status >= 500:
            raise error
        elif response.status != 405:
            # 405 is how a server says that it offers no such stream; anything else is unusual.
            log.info("there will be no GET stream: %s", error)
        self._listening.set()
        return False

    def _heard(self, event: sse.Event, cursor: _Cursor) -> bool:
        cursor.note(event)
        if event.name == "message" and event.data:
            self._conversation.take_text(event.data)
        return False

    def _assume_changes(self, capabilities: Json) -> None:
        """A stream that was closed for a while, and cannot be resumed, may have missed any change."""
        for method in list_changes(capabilities):
            self._conversation.take(jsonrpc.notification(method))


def _unknown_method(said: Json | None) -> bool:
    """Whether a 404 says that a method is unknown, rather than the session."""
    return said is not None and as_object(said["error"]).get("code") == jsonrpc.METHOD_NOT_FOUND
