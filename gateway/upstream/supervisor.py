"""Keeps one server connected: starts it, notices its end, tries again at once, then with growing patience."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, Literal, Protocol

from gateway.errors import CallError, ServerUnavailable
from gateway.upstream.clock import Clock
from gateway.upstream.port import Connection, Hello

logger = logging.getLogger(__name__)

State = Literal["starting", "up", "down", "stopped"]

FIRST_DELAY: Final = 0.5
"""Seconds before the first attempt after a failed one; each further one waits up to twice as long."""

LAST_DELAY: Final = 30.0
"""Seconds that no wait between two attempts exceeds."""

STABLE_SECONDS: Final = 10.0
"""A connection that lived this long was no failed attempt: patience starts anew."""


class Watcher(Protocol):
    """Who is told of a server's ups and downs. Must not block."""

    def came_up(self) -> None:
        """The server is connected; `Supervisor.hello` says as what."""
        ...

    def went_down(self) -> None:
        """The server is not connected (any more); `Supervisor.reason` says why."""
        ...


def delay(attempt: int, rng: random.Random) -> float:
    """Return the seconds to wait before new attempt number `attempt` (from 0), jitter included."""
    ceiling = min(LAST_DELAY, FIRST_DELAY * 2.0 ** min(attempt, 16))
    return rng.uniform(ceiling / 2, ceiling)


class Supervisor:
    """The life of one server, as one task: `run`.

    `connect` opens the control connection and `watcher` hears of it. `reason` says in words
    why the server is not up, and is empty while it is. `since` (Unix seconds) is when the
    state began, `restarts` how often the server came back after having been up.
    """

    def __init__(
        self,
        server: str,
        connect: Callable[[], Awaitable[Connection]],
        watcher: Watcher,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.server = server
        self.state: State = "starting"
        self.reason = "it is starting"
        self.since = clock.wall()
        self.restarts = 0
        self.hello: Hello | None = None
        self.connection: Connection | None = None
        self.tried = asyncio.Event()
        """Cleared during an attempt that began at once, the first or after a loss; set when it has ended."""
        self._connect = connect
        self._watcher = watcher
        self._clock = clock
        self._rng = rng

    def __repr__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"<Supervisor of '{self.server}' {self.state}{why}>"

    async def run(self) -> None:
        """Keep the server connected until cancelled."""
        attempt, at_once = 0, True
        try:
            while True:
                began, lived = self._clock.now(), False
                # A named task boundary: a defect met while supervising one server is logged and
                # retried like any failed attempt, and costs nobody else anything.
                try:
                    lived = await self._live_once()
                except Exception as error:
                    logger.exception("supervising server '%s' failed; trying again", self.server)
                    self._down(f"the gateway failed on it ({type(error).__name__}); see the gateway's log")
                if self._clock.now() - began >= STABLE_SECONDS:
                    attempt, at_once = 0, True
                if lived and at_once:
                    # It may have been restarted, and be back: patience is for one that is not.
                    at_once = False
                    self.tried.clear()
                    continue
                await self._clock.sleep(delay(attempt, self._rng))
                attempt += 1
        finally:
            self.tried.set()
            self._change("stopped", "the gateway is stopping")

    async def _live_once(self) -> bool:
        """Connect, and stay until the connection ends; every ending is noted, none is raised.

        Returns whether it was connected.
        """
        try:
            connection = await self._connect()
        except ServerUnavailable as error:
            self._down(error.reason)
            return False
        except CallError as error:
            self._down(str(error))
            return False
        self._up(connection)
        await connection.closed.wait()
        self._down(connection.why_closed or "the connection ended")
        return True

    def _up(self, connection: Connection) -> None:
        if self.hello is not None:
            self.restarts += 1
        self.hello = connection.hello
        self.connection = connection
        self._change("up", "")
        logger.info(
            "server '%s' is up: %s, protocol %s",
            self.server,
            connection.hello.server_info.get("name", "unnamed"),
            connection.hello.protocol_version,
        )
        self._watcher.came_up()
        self.tried.set()

    def _down(self, reason: str) -> None:
        was = self.state, self.reason
        self.connection = None
        self._change("down", reason)
        # The same failure again is news to nobody.
        level = logging.DEBUG if was == ("down", reason) else logging.WARNING
        logger.log(level, "server '%s' is down: %s; trying again", self.server, reason)
        self._watcher.went_down()
        self.tried.set()

    def _change(self, state: State, reason: str) -> None:
        if state != self.state:
            self.since = self._clock.wall()
        self.state, self.reason = state, reason
