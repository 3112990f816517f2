"""What a server sends that cannot be read: said in the log, and told to the call it was meant for."""

from __future__ import annotations

import asyncio
import logging
import re
import reprlib
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

from gateway.errors import LimitExceeded
from gateway.wire import faults
from gateway.wire.jsonrpc import Json, RequestId

log = logging.getLogger(__name__)

MOST_OF_A_BATCH: Final = 1000
"""Messages of one batch; a server has no reason to send more, and all are taken in one turn."""
_SHOWN: Final = 20
_EDGE: Final = 200
"""Bytes at either end of what cannot be read, where the id of a response usually stands."""
_ID: Final = re.compile(rb'"id"\s*:\s*"?(\d{1,18})"?\s*[,}]')
_MOST_REFUSALS: Final = 4096


class Nonsense:
    """Logs what one server sent and nobody could use: loudly at first, then for debugging alone."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._count = 0

    def note(self, what: str, shown: Any) -> None:
        """Log one more; `what` completes "server X sent"."""
        self._count += 1
        level = logging.WARNING if self._count <= _SHOWN else logging.DEBUG
        if log.isEnabledFor(level):
            log.log(level, "server %s sent %s; skipped: %s", self._server, what, reprlib.repr(shown))


def meant_for(data: bytes, waiting: Collection[str]) -> str | None:
    """Return the id of the one waiting request that an unreadable response names, if it can be told.

    A call must not wait for its time-out when its answer has come and is broken.
    """
    edges = data[:_EDGE], data[-_EDGE:]
    if any(b'"method"' in edge for edge in edges):
        return None
    named = {match.decode() for edge in edges for match in _ID.findall(edge)} & set(waiting)
    return named.pop() if len(named) == 1 else None


class Refusals:
    """Refuses a server's questions beyond the limit, one after the other, without a task for each.

    `reply` sends a response and raises nothing.
    """

    def __init__(self, reply: Callable[[Json], Awaitable[None]]) -> None:
        self._reply = reply
        self._waiting: deque[tuple[RequestId, LimitExceeded]] = deque()
        self._task: asyncio.Task[None] | None = None

    def put(self, request_id: RequestId, error: LimitExceeded) -> bool:
        """Refuse a question; False if so many wait already that the server cannot be reading."""
        if len(self._waiting) >= _MOST_REFUSALS:
            return False
        self._waiting.append((request_id, error))
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
        return True

    def cancel(self) -> None:
        """Refuse no more: the connection is over."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._reply(faults.error_response(*self._waiting.popleft()))
        finally:
            self._task = None
