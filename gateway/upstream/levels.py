"""Which log messages servers of the handshake era are asked for: on each connection the lowest level
that anybody on it wants.

A session wants its own level, wherever it has a lane; every other call says in `_meta` what its client
wants, a session's included. A server is told when that changes who is on a lane, and never twice the
same. What a client did not want is left out on its way to that client.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from gateway.errors import BackchannelError
from gateway.upstream.lane import Lane
from gateway.wire.levels import lowest

logger = logging.getLogger(__name__)

PATIENCE: Final = 5.0
"""Seconds that a server may take to accept a level; its calls go on without it afterwards."""

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Levels:
    """Log levels at one server. `spawn` runs something in the background."""

    def __init__(self, server: str, spawn: Spawn) -> None:
        self._server = server
        self._spawn = spawn
        self._of_session: dict[str, str] = {}
        self._telling: dict[int, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<Levels '{self._server}' {self._of_session}>"

    def set(self, key: str, level: str, lanes: tuple[Lane, ...]) -> None:
        """Note which log messages a session wants from now on, its running calls included."""
        self._of_session[key] = level
        for lane in lanes:
            changed = lane.set_level(key, level)
            if changed or (lane.pin is not None and lane.pin.key == key):
                self._tell(lane)

    def forget(self, key: str) -> None:
        """Forget a session that has ended."""
        self._of_session.pop(key, None)

    def entered(self, lane: Lane) -> Awaitable[None] | None:
        """See to it that the server knows what a call that has just come wants, before it is sent.

        Returns what to wait for, or None.
        """
        if lane.exact:
            return None  # the modern era has a level per request instead
        self._tell(lane)
        telling = self._telling.get(lane.id)
        return None if telling is None else _told(telling)

    def _tell(self, lane: Lane) -> None:
        connection = lane.connection
        # The modern era has a level per request instead.
        if (
            connection is None
            or connection.hello.era == "modern"
            or "logging" not in connection.hello.capabilities
        ):
            return
        own = None if lane.pin is None else self._of_session.get(lane.pin.key)
        level = lowest((own, *lane.levels))
        if level is None or level == lane.told_level:
            return
        lane.told_level = level
        task = self._spawn(self._send(lane, level, self._telling.get(lane.id)))
        self._telling[lane.id] = task
        task.add_done_callback(lambda done: self._sent(lane, done))

    async def _send(self, lane: Lane, level: str, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        if lane.connection is None or lane.told_level != level:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await lane.connection.call("logging/setLevel", {"level": level})
        except (BackchannelError, TimeoutError) as error:
            why = str(error) or f"no answer within {PATIENCE:g} s"
            logger.warning("server '%s' did not take log level '%s': %s", self._server, level, why)

    def _sent(self, lane: Lane, done: asyncio.Task[None]) -> None:
        if self._telling.get(lane.id) is done:
            del self._telling[lane.id]


async def _told(telling: asyncio.Task[None]) -> None:
    # Not cancelled with the call: other calls want it too.
    await asyncio.wait({telling})
