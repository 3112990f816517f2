"""Timers of one length that hardly ever ring: one of the event loop's serves them all.

Setting and stopping one of the loop's own costs several times as much, and a call has two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """A callback at a time, unless it is cancelled; what is used of `asyncio.TimerHandle`."""

    __slots__ = ("_all", "_due", "_ring")

    def __init__(self, every: dict[Alarm, None], due: float, ring: Callable[[], None]) -> None:
        self._all = every
        self._due = due
        self._ring: Callable[[], None] | None = ring

    def __repr__(self) -> str:
        return f"<Alarm at {self._due:.3f}{'' if self in self._all else ', over'}>"

    def when(self) -> float:
        """Return when it rings, on the event loop's clock."""
        return self._due

    def cancel(self) -> None:
        """Never ring, and hold nothing any longer. Idempotent."""
        self._all.pop(self, None)
        self._ring = None

    def ring(self) -> None:
        """Call back, once."""
        ring = self._ring
        self.cancel()
        if ring is not None:
            ring()


class Alarms:
    """Alarms that each ring `seconds` after they were set, in that order."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[Alarm, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many are set."""
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<Alarms of {self._seconds:g} s, {self.waiting} set>"

    def set(self, ring: Callable[[], None]) -> Alarm:
        """Have `ring`, which must not raise, called once the time is over."""
        loop = asyncio.get_running_loop()
        alarm = Alarm(self._waiting, loop.time() + self._seconds, ring)
        self._waiting[alarm] = None
        if self._timer is None:
            self._timer = loop.call_at(alarm.when(), self._look)
        return alarm

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        due: list[Alarm] = []
        for alarm in self._waiting:
            if alarm.when() > now:
                self._timer = loop.call_at(alarm.when(), self._look)
                break
            due.append(alarm)
        for alarm in due:
            alarm.ring()
