"""Hands a whole HTTP request to the worker that owns it, and its response back, as they come.

Nothing of the request counts but what the owner checks itself. The one thing added is the
client's address, under a header of our own: the owner believes it, since only siblings can
reach its socket, and a client's own header of that name goes no further than here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Any, Final

import httpcore2

from gateway.downstream.exchange import Headers, Receive, Scope, Send, respond_error
from gateway.wire import jsonrpc
from gateway.workers.ownership import Seat

logger = logging.getLogger(__name__)

PEER: Final = b"x-backchannel-peer"
_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"expect", PEER}
)
"""Headers of one connection, which the next one has itself; the framing of a body passes as it is."""
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_ITS_OWN: Final = frozenset({b"transfer-encoding", b"date"})
"""Headers of a response that the HTTP server in front writes itself."""
_IDLE: Final = 30.0
"""Seconds for which a connection to a sibling is kept; siblings keep theirs for longer."""
_CONNECT: Final = 5.0
_FETCH: Final = 5.0
_GONE: Final = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException)

Message = Any


class Replayed:
    """A request's `receive` with what was taken of it already put back."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._taken: deque[Message] = deque()
        self._late = False

    async def peek(self, seconds: float) -> Message:
        """Return the next part, which is still the next part afterwards.

        None if it does not come in time. Whoever reads then is told so at once.
        """
        try:
            async with asyncio.timeout(seconds):
                message = await self._receive()
        except TimeoutError:
            self._late = True
            return None
        self._taken.append(message)
        return message

    async def __call__(self) -> Message:
        """Return the next part, those that were peeked at first."""
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


class _ClientLeft(Exception):
    """The client went away before its request was complete."""


class Forwarder:
    """The way to all siblings of one worker."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._pools = {
            index: httpcore2.AsyncConnectionPool(
                uds=str(seat.socket(index)),
                max_connections=None,
                max_keepalive_connections=64,
                keepalive_expiry=_IDLE,
            )
            for index in range(seat.count)
        }

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()

    async def forward(self, owner: int, scope: Scope, receive: Replayed, send: Send) -> bool:
        """Have a sibling answer a request; False if it cannot be reached, and nothing was taken.

        A client that leaves ends its connection to the owner, which sees it leave.
        """
        body = _Body(receive)
        relaying = asyncio.ensure_future(self._relay(owner, scope, body, send))
        leaving = asyncio.ensure_future(body.left())
        try:
            await asyncio.wait((relaying, leaving), return_when=asyncio.FIRST_COMPLETED)
            return relaying.result() if relaying.done() else True
        finally:
            for task in (relaying, leaving):
                task.cancel()
            await asyncio.gather(relaying, leaving, return_exceptions=True)

    async def fetch(self, owner: int, scope: Scope) -> Fetched | None:
        """Return a sibling's answer to a GET request; None where there is none in time."""
        try:
            async with asyncio.timeout(_FETCH):
                response = await self._pools[owner].handle_async_request(_request(scope, None))
                try:
                    parts = [part async for part in _parts(response)]
                finally:
                    await response.aclose()
        except (*_GONE, TimeoutError):
            return None
        return Fetched(response.status, _passed_back(response.headers), b"".join(parts))

    async def _relay(self, owner: int, scope: Scope, body: _Body, send: Send) -> bool:
        begun = False
        try:
            response = await self._pools[owner].handle_async_request(_request(scope, body))
            self._seat.forwarded += 1
            try:
                head = {"status": response.status, "headers": _passed_back(response.headers)}
                await send({"type": "http.response.start", **head})
                begun = True
                async for part in _parts(response):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            finally:
                await response.aclose()
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
            return False
        except _ClientLeft:
            return True
        except _GONE as error:
            await self._broken(owner, begun, error, send)
            return True
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return True

    async def _broken(self, owner: int, begun: bool, error: Exception, send: Send) -> None:
        logger.warning(
            "worker %d ended while it answered a request: %s", owner, error or type(error).__name__
        )
        if begun:
            return  # The HTTP server closes a connection whose response is left incomplete.
        text = "the worker that has this session ended before its answer; what was asked may have been done"
        await respond_error(send, 502, jsonrpc.INTERNAL_ERROR, text)


class _Body:
    """A request's body on its way to the owner."""

    def __init__(self, receive: Replayed) -> None:
        self._receive = receive
        self._sent = asyncio.Event()

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise _ClientLeft
            if body := message.get("body", b""):
                yield body
            more = message.get("more_body", False)
        self._sent.set()

    async def left(self) -> None:
        """Wait until the client goes away after its request."""
        await self._sent.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _request(scope: Scope, body: _Body | None) -> httpcore2.Request:
    query: bytes = scope.get("query_string", b"")
    target: bytes = scope.get("raw_path") or scope["path"].encode()
    left_out = _HOP if body is not None else _HOP | _FRAMING
    headers = [(name, value) for name, value in scope["headers"] if name not in left_out]
    if scope.get("client") is not None:
        host, port = scope["client"][:2]
        headers.append((PEER, f"{host} {port}".encode()))
    return httpcore2.Request(
        scope["method"],
        httpcore2.URL(scheme=b"http", host=b"worker", target=target + (b"?" + query if query else b"")),
        headers=headers,
        content=body,
        extensions={"timeout": {"connect": _CONNECT}},
    )


def _passed_back(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return [(name, value) for name, value in headers if name.lower() not in _ITS_OWN]


async def _parts(response: httpcore2.Response) -> AsyncGenerator[bytes]:
    async for part in response.aiter_stream():
        yield part
