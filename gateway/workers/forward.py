"""Hands a whole HTTP request to the worker that owns it, and passes its response back as it comes.

Nothing of the request counts but what the owner checks itself. The one thing added is the
client's address, under a header of our own: the owner believes it, since only siblings can
reach its socket, and a client's own header of that name goes no further than here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from gateway.downstream.exchange import Headers, Receive, Scope, Send, respond_error
from gateway.upstream.http1 import HttpConnection
from gateway.upstream.response import Broken, Response
from gateway.wire import jsonrpc
from gateway.workers.ownership import Seat

logger = logging.getLogger(__name__)

PEER: Final = b"x-backchannel-peer"
_LEFT_OUT: Final = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"expect"),
        *(b"content-length", b"transfer-encoding", PEER),
    }
)
"""Headers of one connection and its framing, which the next one has itself."""
_ITS_OWN: Final = frozenset({"transfer-encoding", "date"})
"""Headers of a response that the HTTP server in front writes itself."""
_MOST_IDLE: Final = 64
_KEPT: Final = 30.0
"""Seconds for which an idle connection is used again: siblings keep theirs for longer."""
_CONNECT: Final = 5.0
_FETCH: Final = 5.0
_WATCH_AFTER: Final = 0.05
"""Seconds before a request is watched for its client going away: short ones never need it."""

Message = Any


class Replayed:
    """A request's `receive` with what was taken of it already put back."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._taken: deque[Message] = deque()
        self._late = False

    async def whole(self, limit: int, seconds: float) -> bytes | None:
        """Return the body, which can still be read afterwards.

        None if it has more than `limit` bytes, does not come in time, or its client leaves:
        whoever reads it then finds that out in turn, and at once.
        """
        parts: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(seconds):
                while more:
                    message = await self._receive()
                    self._taken.append(message)
                    part: bytes = message.get("body", b"")
                    parts.append(part)
                    size += len(part)
                    more = message.get("more_body", False)
                    if size > limit or message["type"] != "http.request":
                        return None
        except TimeoutError:
            self._late = True
            return None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def left(self) -> None:
        """Wait until the client goes away; its request must have been taken whole."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def __call__(self) -> Message:
        """Return the next part, those that were taken first."""
        if self._taken:
            return self._taken.popleft()
        if self._late:
            raise TimeoutError
        return await self._receive()


@dataclass(frozen=True, slots=True)
class Fetched:
    """A sibling's whole response."""

    status: int
    headers: Headers
    body: bytes


class Forwarder:
    """The way to all siblings of one worker, and to itself as they see it."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._idle: dict[int, list[HttpConnection]] = {index: [] for index in range(seat.count)}
        self._open: set[HttpConnection] = set()

    def __repr__(self) -> str:
        return f"<Forwarder of {self._seat!r}, {len(self._open)} connections>"

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._open):
            connection.abort()

    async def forward(self, owner: int, scope: Scope, body: bytes, receive: Replayed, send: Send) -> bool:
        """Have a sibling answer a request; False if it cannot be reached.

        A client that leaves ends its connection to the owner, which sees it leave.
        """
        connection = await self._connection(owner)
        if connection is None:
            return False
        self._seat.forwarded += 1
        passing = _Passing(connection, scope["method"], _request(scope, body))
        watch = asyncio.get_running_loop().call_later(_WATCH_AFTER, passing.watch, receive)
        begun = False
        try:
            response = await passing.head()
            head = {"status": response.status, "headers": _headers(response)}
            await send({"type": "http.response.start", **head})
            begun = True
            if not response.complete:
                # The head goes with what comes first of the body: of a stream that can be long after.
                await send({"type": "http.response.body", "body": b"", "more_body": True})
            while not response.complete and (part := await response.next()):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": await _rest(response)})
        except Broken as error:
            if not passing.left:
                await self._broken(owner, begun, error, send)
        finally:
            watch.cancel()
            passing.close()
        return True

    async def fetch(self, owner: int, scope: Scope) -> Fetched | None:
        """Return a sibling's answer to a GET request; None where there is none in time."""
        passing: _Passing | None = None
        try:
            async with asyncio.timeout(_FETCH):
                connection = await self._connection(owner)
                if connection is None:
                    return None
                passing = _Passing(connection, "GET", _request(scope, b""))
                response = await passing.head()
                return Fetched(response.status, _headers(response), await _rest(response))
        except (Broken, TimeoutError):
            return None
        finally:
            if passing is not None:
                passing.close()

    async def _connection(self, owner: int) -> HttpConnection | None:
        idle = self._idle[owner]
        while idle:
            kept = idle.pop()
            if kept.usable and kept.idle_since + _KEPT > asyncio.get_running_loop().time():
                return kept
            kept.abort()

        def released(connection: HttpConnection) -> None:
            if len(idle) < _MOST_IDLE:
                connection.idle_since = asyncio.get_running_loop().time()
                idle.append(connection)
            else:
                connection.abort()

        def lost(connection: HttpConnection) -> None:
            self._open.discard(connection)
            if connection in idle:
                idle.remove(connection)

        connection = HttpConnection(released, lost)
        path = str(self._seat.socket(owner))
        try:
            async with asyncio.timeout(_CONNECT):
                await asyncio.get_running_loop().create_unix_connection(lambda: connection, path)
        except (OSError, TimeoutError) as error:
            logger.debug("worker %d cannot be reached: %s", owner, error)
            return None
        self._open.add(connection)
        return connection

    async def _broken(self, owner: int, begun: bool, error: Broken, send: Send) -> None:
        logger.warning("worker %d did not finish the answer to a request: %s", owner, error)
        if begun:
            return  # The HTTP server closes a connection whose response is left incomplete.
        text = "the worker that has this session ended before its answer; what was asked may have been done"
        await respond_error(send, 502, jsonrpc.INTERNAL_ERROR, text)


class _Passing:
    """One request on its way. `left` says that its client went away, which ended it."""

    def __init__(self, connection: HttpConnection, method: str, request: bytes) -> None:
        self.left = False
        self._head: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watching: asyncio.Task[None] | None = None
        self._response = connection.begin(method, request, self._begun)

    async def head(self) -> Response:
        """Wait for the head of the response.

        Raises:
            Broken: there will be none.
        """
        await self._head
        if self._response.error is not None:
            raise self._response.error
        return self._response

    def watch(self, receive: Replayed) -> None:
        """End the exchange when its client goes away."""
        self._watching = asyncio.ensure_future(receive.left())
        self._watching.add_done_callback(self._client_left)

    def close(self) -> None:
        """End what has not ended."""
        if self._watching is not None:
            self._watching.cancel()
        if not self._response.complete:
            self._response.cancel()

    def _client_left(self, watching: asyncio.Task[None]) -> None:
        if not watching.cancelled() and not self._response.complete:
            self.left = True
            self._response.cancel()
            self._begun(self._response)

    def _begun(self, _: Response) -> None:
        if not self._head.done():
            self._head.set_result(None)


async def _rest(response: Response) -> bytes:
    parts: list[bytes] = []
    while part := await response.next():
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _request(scope: Scope, body: bytes) -> bytes:
    query: bytes = scope.get("query_string", b"")
    target: bytes = scope.get("raw_path") or scope["path"].encode()
    method: str = scope["method"]
    lines = [b"%s %s HTTP/1.1" % (method.encode(), target + (b"?" + query if query else b""))]
    lines += [b"%s: %s" % field for field in scope["headers"] if field[0] not in _LEFT_OUT]
    if scope.get("client") is not None:
        lines.append(PEER + b": %s %d" % (scope["client"][0].encode(), scope["client"][1]))
    if body or method == "POST":
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def _headers(response: Response) -> Headers:
    return [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers.items()
        if name not in _ITS_OWN
    ]
