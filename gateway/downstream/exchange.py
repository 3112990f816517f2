"""One HTTP request and its response: plain JSON, or an event stream once there is more to say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from gateway.calls.alarms import Alarm, Alarms
from gateway.config.resolved import Limits
from gateway.downstream.cycle import Leaving
from gateway.downstream.load import retry_after
from gateway.downstream.outbox import Item, Outbox
from gateway.wire import jsonrpc, sse
from gateway.wire.jsonrpc import Json

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_JSON: Final = (b"content-type", b"application/json")
_STREAM: Final[Headers] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
COMPLETE: Final = "backchannel.complete"
"""In a request's scope, once all of it is there: reading it will not have to wait."""
_WATCH_AFTER: Final = 0.25
"""Seconds before a request is watched for its client going away: short calls never need it."""


class BodyTooLarge(ValueError):
    """The request's body is larger than the configured limit."""


async def read_body(receive: Receive, limit: int, seconds: float | None = None) -> bytes:
    """Read a whole request body of at most `limit` bytes, within `seconds`.

    Raises:
        BodyTooLarge: the body has more.
        TimeoutError: it did not come in time.
        ConnectionResetError: the client left before its end.
    """
    if seconds is None:
        return await _read_body(receive, limit)
    async with asyncio.timeout(seconds):
        return await _read_body(receive, limit)


async def _read_body(receive: Receive, limit: int) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body") and len(body) <= limit:
        return body
    chunks = [body]
    size = len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise BodyTooLarge
    if message["type"] == "http.disconnect":
        raise ConnectionResetError
    if size > limit:
        raise BodyTooLarge
    return b"".join(chunks)


async def respond(send: Send, status: int, body: bytes = b"", headers: Headers | None = None) -> None:
    """Send a whole response."""
    start: Headers = [(b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


async def respond_json(
    send: Send, status: int, message: Json | list[Json], headers: Headers | None = None
) -> None:
    """Send one JSON message, or a batch of them, as the whole response."""
    if status in (429, 503):
        headers = [*(headers or []), retry_after(message)]
    await respond(send, status, jsonrpc.encode(message), [_JSON, *(headers or [])])


async def respond_error(
    send: Send, status: int, code: int, text: str, data: Any = None, *, close: bool = False
) -> None:
    """Send a JSON-RPC error that answers no request in particular; `close` ends the connection with it."""
    headers: Headers = [(b"connection", b"close")] if close else []
    await respond_json(send, status, jsonrpc.error(None, code, text, data), headers)


async def stream(
    outbox: Outbox,
    receive: Receive,
    send: Send,
    *,
    keepalive: float,
    headers: Headers | None = None,
    after: int | None = None,
    frame: Callable[[Item], bytes] | None = None,
    first: bytes | None = None,
) -> bool:
    """Send an outbox as an event stream until it is closed or the client leaves.

    Every `keepalive` seconds without a message a comment is sent. `first` is sent before
    anything else. Returns whether the client stayed to the end.
    """
    frame = frame or plain_frame
    await send({"type": "http.response.start", "status": 200, "headers": [*_STREAM, *(headers or [])]})
    await send({"type": "http.response.body", "body": first or b"", "more_body": True})
    gone = asyncio.ensure_future(_left(receive))
    writer = asyncio.ensure_future(_write(outbox, send, keepalive, after, frame))
    try:
        await asyncio.wait((gone, writer), return_when=asyncio.FIRST_COMPLETED)
        if writer.done():
            writer.result()
            return True
        return False
    finally:
        for task in (gone, writer):
            task.cancel()
        await asyncio.gather(gone, writer, return_exceptions=True)


def plain_frame(item: Item) -> bytes:
    """Frame a message without an id: its stream cannot be resumed."""
    return sse.event(item.data)


def numbered_frame(outbox: Outbox) -> Callable[[Item], bytes]:
    """Frame messages with ids that name the stream and the position in it."""

    def frame(item: Item) -> bytes:
        return sse.event(item.data, event_id=f"{outbox.stream_id}:{item.number}")

    return frame


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(
    outbox: Outbox, send: Send, keepalive: float, after: int | None, frame: Callable[[Item], bytes]
) -> None:
    async for item in outbox.read(after, keepalive):
        body = sse.KEEPALIVE if item is None else frame(item)
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class Exchange:
    """Answers one request: JSON when the answer is all there is, else an event stream.

    The stream starts with the first message put into `outbox`, or after `keepalive`
    seconds. `on_left` is called when the client goes away before the end. With `streams`
    false the client takes no event stream: it gets the answer alone and cannot be asked. `alarms` are
    those of `keepalive` seconds, and `leaving` the server's word of the client's going away; where the
    server gives none the request is watched by a task, after a moment.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        *,
        keepalive: float,
        headers: Headers | None = None,
        stream_id: str = "",
        replay: int = 0,
        streams: bool = True,
        limits: Limits | None = None,
        alarms: Alarms | None = None,
        leaving: Leaving | None = None,
    ) -> None:
        self._receive = receive
        self._send = send
        self._keepalive = keepalive
        self._alarms = alarms or Alarms(min(_WATCH_AFTER, keepalive))
        self._leaving = leaving
        self._headers = headers or []
        self._streaming: asyncio.Task[bool] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | Alarm
        self._on_left: Callable[[], None] = lambda: None
        self._streams = streams
        self._gone = False
        limits = limits or Limits()
        self.outbox = Outbox(
            stream_id,
            backlog=limits.max_backlog_messages,
            limit=limits.max_backlog_bytes,
            replay=replay,
            on_first=self._start_stream,
        )
        if not streams:
            self.outbox.close()
            self.outbox.reachable = False

    @property
    def streamed(self) -> bool:
        """Whether an event stream was begun."""
        return self._streaming is not None

    async def run(
        self, work: Awaitable[tuple[Json | list[Json] | None, int]], on_left: Callable[[], None]
    ) -> None:
        """Await `work`, a response (None: never answered; several: a batch's) and its status, and send it."""
        self._on_left = on_left
        if self._leaving is None:
            self._timer = self._alarms.set(self._wait_on)
        else:
            self._leaving.tell = self._left
            if self._leaving.gone:
                asyncio.get_running_loop().call_soon(self._left)
            self._timer = self._alarms.set(self._start_stream)
        try:
            response, status = await work
            await self._finish(response, status)
        finally:
            self._timer.cancel()
            del self._timer  # it holds us, and so does this:
            if self._leaving is not None:
                self._leaving.tell = None
            self.outbox.close()
            if self._watching is not None:
                self._watching.cancel()  # it holds nothing that would have to be waited for
            if self._streaming is not None and not self._streaming.done():
                self._streaming.cancel()
                await asyncio.wait((self._streaming,), timeout=1)

    async def _finish(self, response: Json | list[Json] | None, status: int) -> None:
        if self._streaming is None and response is not None:
            self.outbox.close()
            await respond_json(self._send, status, response, self._headers)
            return
        for message in response if isinstance(response, list) else [response]:
            if message is not None:
                self.outbox.put(message)
        self.outbox.close()
        self._start_stream()
        if self._streaming is not None:
            await asyncio.wait((self._streaming,))
        else:
            await respond(self._send, 202)

    def _start_stream(self) -> None:
        if self._streaming is not None or not self._streams:
            return
        if self._watching is not None:
            self._watching.cancel()
        frame = numbered_frame(self.outbox) if self.outbox.stream_id else plain_frame
        self._streaming = asyncio.ensure_future(
            stream(
                self.outbox,
                self._receive,
                self._send,
                keepalive=self._keepalive,
                headers=self._headers,
                frame=frame,
            )
        )
        self._streaming.add_done_callback(self._stream_ended)

    def _stream_ended(self, done: asyncio.Task[bool]) -> None:
        if done.cancelled() or done.exception() is not None or not done.result():
            self._left()

    def _wait_on(self) -> None:
        """Look after a client whose answer takes longer: watch for its leaving, and keep its stream alive."""
        rest = max(0.0, self._keepalive - _WATCH_AFTER)
        self._timer = asyncio.get_running_loop().call_later(rest, self._start_stream)
        if self._streaming is None:
            self._watching = asyncio.ensure_future(_left(self._receive))
            self._watching.add_done_callback(lambda done: None if done.cancelled() else self._left())

    def _left(self) -> None:
        # A stream's end says so too, and by then its client may have come back for the rest.
        if not self._gone:
            self._gone = True
            self.outbox.reachable = False
            self._on_left()
