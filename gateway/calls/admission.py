"""How many calls one server carries at once, and who is next: in turn by principal, not by arrival.

A call takes its place when it has its lane and is about to be sent. While it asks its client
something it has none (`gateway.calls.deadlines`), so that whoever holds a place waits for the server
and for nobody else: the call that a client makes in order to answer cannot be kept waiting by the one
that it answers for.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from gateway.errors import ServerBusy

T = TypeVar("T")

ANONYMOUS: Final = "anonymous"
"""Whose turn it is for clients without a key: they cannot be told apart, and share one."""

WAITING_SHARE: Final = 0.5
"""Part of a call's limit within which it must have begun. One that began later would often run out of
time at the server, whose work would then be for nothing, just when there is too much of it."""


_LONG: Final = 2.0
"""Seconds after which who has waited so long may no longer be there."""


class FairQueue(Generic[T]):
    """At most `most` items of several principals, taken out one principal after the other.

    Pure: no clock, no I/O. A principal that comes to the queue is served after everybody who is in
    it, once; then its turn comes round.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: OrderedDict[str, dict[T, None]] = OrderedDict()
        self._length = 0

    def __repr__(self) -> str:
        lines = ", ".join(f"{name}: {len(line)}" for name, line in self._lines.items())
        return f"<FairQueue {self._length} of {self._most} [{lines}]>"

    def __len__(self) -> int:
        return self._length

    def push(self, principal: str, item: T) -> T | None:
        """Let an item wait; return the one for which there is no room: another's, this one, or none.

        Where the queue is full, the newest item of whoever has the most in it gives way to one of a
        principal that has fewer: one who floods the queue keeps nobody out of it.
        """
        gone = None
        if self._length >= self._most:
            longest = max(self._lines, key=lambda name: len(self._lines[name]), default=principal)
            if len(self._lines.get(longest, ())) <= len(self._lines.get(principal, ())) + 1:
                return item
            gone = next(reversed(self._lines[longest]))
            self.remove(longest, gone)
        self._lines.setdefault(principal, {})[item] = None
        self._length += 1
        return gone

    def pop(self, *, newest: bool = False) -> T | None:
        """Take out the oldest or newest item of the principal whose turn it is; None if nothing waits."""
        if not self._lines:
            return None
        principal, line = next(iter(self._lines.items()))
        item = next(reversed(line) if newest else iter(line))
        self.remove(principal, item)
        if line:
            self._lines.move_to_end(principal)
        return item

    def first(self) -> T | None:
        """Return what `pop` would take out, the oldest of whoever's turn it is."""
        return next((next(iter(line)) for line in self._lines.values()), None)

    def remove(self, principal: str, item: T) -> None:
        """Take out an item that no longer waits; one that is not there is no error."""
        line = self._lines.get(principal)
        if line is None or item not in line:
            return
        del line[item]
        self._length -= 1
        if not line:
            del self._lines[principal]


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    """A call that waits: `come` is done when its turn has, and it has waited `since` on the loop's clock."""

    come: asyncio.Future[None]
    since: float


class Places:
    """The places of one server: `most` calls have one, `queued` others wait for theirs.

    `busy` makes the error for a call that does not get one, of the words that say why.

    Where the next in turn has waited for long, the newest of its principal's calls goes first: served in
    order each would wait so long that its client gives it up when it is sent, and all of the server's work
    would be for nothing. The old ones follow once there is less to do.
    """

    def __init__(self, most: int, queued: int, busy: Callable[[str], ServerBusy]) -> None:
        self.taken = 0
        self._most = most
        self._queue: FairQueue[_Turn] = FairQueue(queued)
        self._full = f"{most} calls are in flight (max_concurrent_calls) and {queued} wait (max_queued_calls)"
        self._late = f"none of {most} calls in flight (max_concurrent_calls) ended for this one"
        self._busy = busy

    def __repr__(self) -> str:
        return f"<Places {self.taken} of {self._most} taken, {len(self._queue)} waiting>"

    @property
    def waiting(self) -> int:
        """How many calls wait for a place."""
        return len(self._queue)

    def take(self) -> bool:
        """Take a place if one is free. Who waits has been given it before."""
        if self.taken >= self._most:
            return False
        self.taken += 1
        return True

    async def turn(self, principal: str | None, until: float) -> None:
        """Wait for a place and take it; `until` is of the event loop's clock.

        Raises:
            ServerBusy: too many wait, or it did not come in time.
        """
        name = principal or ANONYMOUS
        loop = asyncio.get_running_loop()
        turn = _Turn(loop.create_future(), loop.time())
        refused = self._queue.push(name, turn)
        if refused is not None and not refused.come.done():
            refused.come.set_exception(self._busy(self._full))
        alarm = loop.call_at(until, self._too_late, turn)
        try:
            await turn.come
        except asyncio.CancelledError:
            if turn.come.done() and not turn.come.cancelled() and turn.come.exception() is None:
                # Its turn had come in the same moment: the next one's has.
                self.leave()
            raise
        finally:
            alarm.cancel()
            self._queue.remove(name, turn)

    def leave(self) -> None:
        """Give a place back, and give it to whose turn it is."""
        self.taken -= 1
        while self.taken < self._most and (first := self._queue.first()) is not None:
            long = asyncio.get_running_loop().time() - first.since > _LONG
            turn = self._queue.pop(newest=long)
            if turn is not None and not turn.come.done():
                self.taken += 1
                turn.come.set_result(None)

    def retake(self) -> None:
        """Count a call again whose question is answered: it goes on at its server, room or none.

        For as long as there is one too many, nobody who waits gets a place.
        """
        self.taken += 1

    def _too_late(self, turn: _Turn) -> None:
        if not turn.come.done():
            turn.come.set_exception(self._busy(self._late))
