"""A call's time limit, whose clock stands still while a question is open."""

from __future__ import annotations

import asyncio
from types import TracebackType

from gateway.calls.admission import WAITING_SHARE, Places
from gateway.calls.alarms import Alarm, Alarms


class Paused:
    """A block for which a call's clock stands still."""

    __slots__ = ("_deadline",)

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def __enter__(self) -> None:
        self._deadline.pause()

    def __exit__(self, *ended: object) -> None:
        self._deadline.go_on()


class Deadline:
    """Bounds one call: `limit` seconds of the server's own time, `maximum` seconds in all.

    Used as ``with``, in the task that it may end; raises TimeoutError out of the block when either runs out.
    The server's clock is stopped inside `paused()`, the overall one never is; and where the call has
    a place among its server's, others may have it meanwhile. `alarms` are those of `limit` seconds, where
    many calls have the same.
    """

    def __init__(self, limit: float, maximum: float, alarms: Alarms | None = None) -> None:
        self._limit = limit
        self._maximum = maximum
        self._alarms = alarms
        self._end = 0.0
        self._places: Places | None = None
        self._left = limit
        self._open = 0
        self._ended = False
        self._expired = False
        self._cancelling = 0
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | Alarm | None = None

    def __repr__(self) -> str:
        state = "paused" if self._open else "running"
        return f"<Deadline {self._limit:g} s of {self._maximum:g} s, {state}>"

    def __enter__(self) -> Deadline:
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        assert self._task is not None, "only a task can be ended"
        self._cancelling = self._task.cancelling()
        now = loop.time()
        self._end = now + self._maximum
        if self._alarms is not None and self._limit <= self._maximum:
            self._timer = self._alarms.set(self._ring)
        else:
            self._timer = loop.call_at(min(now + self._limit, self._end), self._ring)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._timer is not None
        assert self._task is not None
        self._timer.cancel()
        self._ended = True
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            # As `asyncio.timeout` does: nobody else has cancelled the task.
            raise TimeoutError from error

    @property
    def expired(self) -> bool:
        """Whether this deadline is what ended the block."""
        return self._expired

    @property
    def spent_in_all(self) -> bool:
        """Whether it was the overall maximum that ran out."""
        return asyncio.get_running_loop().time() >= self._end

    @property
    def begin_by(self) -> float:
        """When the server must have been sent the call for it to make sense, on the event loop's clock."""
        return self._end - self._maximum + self._limit * WAITING_SHARE

    def holds(self, places: Places) -> None:
        """Take note that the call has a place among its server's."""
        self._places = places
        if self._open:
            places.leave()

    def gives_back(self) -> None:
        """Free the call's place, if it has one: it is done with its server."""
        places, self._places = self._places, None
        if places is not None and not self._open:
            places.leave()

    def paused(self) -> Paused:
        """Stop the server's clock for a ``with`` block; blocks may overlap."""
        return Paused(self)

    def pause(self) -> None:
        """Stop the server's clock until the matching `go_on`."""
        assert self._timer is not None
        loop = asyncio.get_running_loop()
        if self._open == 0:
            self._left = max(0.0, self._timer.when() - loop.time())
            self._reschedule(self._end)
            if self._places is not None:
                self._places.leave()
        self._open += 1

    def go_on(self) -> None:
        """End what `pause` began."""
        self._open -= 1
        if self._open == 0:
            if self._places is not None:
                self._places.retake()
            self._reschedule(min(asyncio.get_running_loop().time() + self._left, self._end))

    def _reschedule(self, when: float) -> None:
        # A question may outlast its call by a moment: it is taken back in a task of its own. And a
        # block that is ending because of the limit itself can no longer be rescheduled.
        if self._timer is not None and not self._ended and not self._expired:
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_at(when, self._ring)

    def _ring(self) -> None:
        assert self._task is not None
        self._expired = True
        self._task.cancel()
