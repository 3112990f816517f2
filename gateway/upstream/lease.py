"""A lane, and a place among its server's calls, for as long as one call takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol

from gateway.calls.admission import Places
from gateway.errors import PeerError
from gateway.upstream.lane import Lane, Running
from gateway.upstream.lanes import Want
from gateway.upstream.port import Connection


class Lanes(Protocol):
    """Hands out lanes: see `gateway.upstream.pool.Pool`."""

    @property
    def places(self) -> Places:
        """The places of the server's calls."""
        ...

    async def take(self, want: Want, running: Running) -> Lane:
        """Return a lane that carries the call from now on."""
        ...

    @property
    def on_enter(self) -> Callable[[Lane], Awaitable[None] | None]:
        """Begins what the connection must know of a call before it is sent; returns what to wait for."""
        ...

    async def turn(self, lane: Lane, running: Running) -> Connection:
        """Wait, with a lane, for a place."""
        ...

    def release(self, lane: Lane, running: Running, *, abandoned: bool) -> None:
        """Take a call off its lane."""
        ...


class Lease:
    """Used as ``async with``, which yields the connection.

    Raises on entering:
        ServerBusy: no lane became free in time, or on it no place among the server's calls.
        ServerUnavailable: a lane could not be opened.
        ConnectionLost: the lane's connection ended before the call began.
    """

    __slots__ = ("_lane", "_lanes", "_running", "_want")

    def __init__(self, lanes: Lanes, want: Want, running: Running) -> None:
        self._lanes = lanes
        self._want = want
        self._running = running
        self._lane: Lane | None = None

    async def __aenter__(self) -> Connection:
        lane = self._lane = await self._lanes.take(self._want, self._running)
        try:
            connection = lane.live or await lane.ready()
            if (telling := self._lanes.on_enter(lane)) is not None:
                await telling
            deadline = self._running.deadline
            if deadline is not None:
                if not self._lanes.places.take():
                    connection = await self._lanes.turn(lane, self._running)
                deadline.holds(self._lanes.places)
            return connection
        except BaseException:
            self._leave(abandoned=True)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A server's own answer, if an error, says that it is done with the call.
        self._leave(abandoned=error is not None and not isinstance(error, PeerError))

    def _leave(self, *, abandoned: bool) -> None:
        assert self._lane is not None
        running = self._running
        if running.deadline is not None:
            running.deadline.gives_back()
        self._lanes.release(self._lane, running, abandoned=abandoned and not running.waiting)
