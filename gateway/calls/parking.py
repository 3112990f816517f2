"""Parked calls: the server keeps its call open while a client that answers by retrying is asked.

A client of 2026-07-28 is asked in the result of its request, after which nothing of that
request is left; a handshake-era server waits for its answer with the call open. So the call
runs in a task of its own, and the client's requests come and go as its **rounds**
(2026-07-28, basic/patterns/mrtr, on the client's side).
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.calls.model import Caller, CallOutcome, ChannelClosed, Json, ParkedAt, Suspended
from gateway.calls.parked import Client, ParkedCall
from gateway.errors import CallCancelled, InvalidCall, ServerUnavailable

Work = Callable[[Caller], Awaitable[CallOutcome]]
"""Carries the call to its end on behalf of a caller that can be parked."""

_KEPT_RESULTS: Final = 256
_KEPT_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ParkingLimits:
    """How many calls may be parked, and how long the result of one can be fetched again.

    `per_client` bounds one principal's. Clients without a principal cannot be told apart:
    `anonymous` bounds them all together, so that the rest of `total` is left to the known.
    `result_seconds` is how long the outcome of a parked call answers a repeated retry, at
    least; a client that was away when its call ended has the time it would have had to answer.
    """

    total: int = 1000
    per_client: int = 100
    anonymous: int = 1000
    result_seconds: float = 60.0


class Parking:
    """All calls that may be parked, or are, or were a moment ago.

    `size` tells how many bytes a result takes. `owner` names this gateway in the state that
    clients carry: a parked call can be resumed only where it is. `gathering`: see `ParkedCall`.
    """

    def __init__(
        self,
        limits: ParkingLimits,
        size: Callable[[Json], int],
        owner: str | None = None,
        *,
        gathering: float = 0.0,
    ) -> None:
        self.owner = owner or secrets.token_hex(8)
        self._limits = limits
        self._size = size
        self._gathering = gathering
        self._running: set[ParkedCall] = set()
        self._parked: dict[str, ParkedCall] = {}
        self._of_client: Counter[str | None] = Counter()
        self._over: OrderedDict[str, tuple[ParkedCall, int]] = OrderedDict()
        self._over_bytes = 0

    def __repr__(self) -> str:
        return f"<Parking {len(self._parked)} parked, {len(self._running)} running, {len(self._over)} over>"

    def __len__(self) -> int:
        """How many calls are parked, between rounds or in one."""
        return len(self._parked)

    async def begin(self, work: Work, client: Client) -> CallOutcome:
        """Run a call that may come to be parked, until it ends or its client must answer.

        Cancelling the caller's task cancels the call.

        Raises:
            BackchannelError: as `work`.
            CallCancelled: the call was given up, and why.
        """
        call = ParkedCall(client.identity, client.profile, self._admit, self._size, self._gathering)
        self._running.add(call)
        call.start(work(call), self._ended)
        return await self._round(call, client, 0)

    async def resume(self, at: ParkedAt, answers: Mapping[str, Json], client: Client) -> CallOutcome:
        """Go on with a parked call: hand in answers, and wait for its end or its next round.

        A retry of an earlier round gets the current one, its answers ignored; a repeated one
        shares the outcome of the first; one after the end gets the same result again.

        Raises:
            InvalidCall: the call is not here (any more).
            CallCancelled: it was given up, and why.
            BackchannelError: its own error.
        """
        if at.owner != self.owner:
            raise InvalidCall(
                "the call that this requestState belongs to waits at another gateway process, or its gateway "
                "was restarted; start it again"
            )
        call = self._parked.get(at.call)
        if call is None and at.call in self._over:
            call = self._over[at.call][0]
        if call is None or at.round > call.round:
            raise InvalidCall(
                "the call that this requestState belongs to has ended and its result is no longer kept; "
                "start it again"
            )
        since = call.take(at.round, answers)
        return await self._round(call, client, since)

    async def aclose(self) -> None:
        """Give up every call; waits until their servers have been told."""
        tasks: list[asyncio.Task[Any]] = []
        for call in list(self._running):
            call.give_up(ServerUnavailable("backchannel", "the gateway is stopping; call again"))
            if call.task is not None:
                tasks.append(call.task)
        if tasks:
            await asyncio.wait(tasks, timeout=10)
        for call, _ in self._over.values():
            call.forget()
        self._over.clear()

    async def _round(self, call: ParkedCall, client: Client, since: int) -> CallOutcome:
        with call.attached(client):
            requests = await call.next_round(since)
        if requests is None:
            return _outcome(call)
        return Suspended(requests, ParkedAt(call.id, call.round, self.owner))

    def _admit(self, call: ParkedCall) -> None:
        """Give a call its place when it is asked something for the first time."""
        if call.id in self._parked:
            return
        limits, client = self._limits, call.identity.principal
        most, setting = limits.per_client, "limits.max_parked_calls_per_client"
        if client is None:
            most, setting = limits.anonymous, "limits.max_parked_calls, clients without a key"
        if len(self._parked) >= limits.total:
            most, setting = limits.total, "limits.max_parked_calls"
        elif self._of_client[client] < most:
            self._parked[call.id] = call
            self._of_client[client] += 1
            return
        raise ChannelClosed(f"{most} calls wait for their clients' answers already ({setting})")

    def _ended(self, call: ParkedCall) -> None:
        self._running.discard(call)
        if self._parked.pop(call.id, None) is None:
            return
        client = call.identity.principal
        self._of_client[client] -= 1
        if not self._of_client[client]:
            del self._of_client[client]
        self._keep(call)

    def _keep(self, call: ParkedCall) -> None:
        """Keep the outcome for a client that asks again, in bounded time, number and bytes."""
        result = _result(call)
        size = self._size(result) if isinstance(result, dict) else 0
        if size > _KEPT_BYTES:
            return
        self._over[call.id] = (call, size)
        self._over_bytes += size
        call.expire(max(self._limits.result_seconds, call.due), lambda: self._drop(call.id))
        while len(self._over) > max(_KEPT_RESULTS, self._limits.total) or self._over_bytes > _KEPT_BYTES:
            self._drop(next(iter(self._over)))

    def _drop(self, call_id: str) -> None:
        kept = self._over.pop(call_id, None)
        if kept is not None:
            kept[0].forget()
            self._over_bytes -= kept[1]


def _outcome(call: ParkedCall) -> CallOutcome:
    """Return a finished call's result, or raise why it has none."""
    task = call.task
    assert task is not None
    if call.given_up is not None:
        raise call.given_up
    if task.cancelled():
        raise CallCancelled("the call was cancelled; start it again")
    return task.result()


def _result(call: ParkedCall) -> CallOutcome | None:
    task = call.task
    return None if task is None or task.cancelled() or task.exception() is not None else task.result()
