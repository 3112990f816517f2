"""The lanes of one server: opens, hands out, evicts and closes what `lanes.decide` says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

from gateway.calls.admission import Places
from gateway.calls.model import Identity, Profile
from gateway.config.resolved import ServerConfig
from gateway.errors import BackchannelError, ServerBusy, ServerUnavailable
from gateway.upstream import lanes, liveness
from gateway.upstream.clock import Clock
from gateway.upstream.lane import Lane, LaneOwner, Running
from gateway.upstream.lanes import Claims, Decision, Open, Rules, Use, Wait, Want
from gateway.upstream.lease import Lease
from gateway.upstream.port import Connection, Dialer

logger = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 15.0
"""How long closing one connection may take before it is given up; transports bound themselves to less."""

_DIAL_GRACE: Final = 5.0

_LIMIT_SHARE: Final = 0.9
"""Part of a call's limit that it may wait for a lane: the busy error, which names the setting
to change, comes before the call's own time-out, which could not."""


@dataclass(slots=True, eq=False)
class _Ticket:
    """A call that waits. `lane` is set the moment it has one."""

    want: Want
    running: Running
    pin: Identity | None
    deadline: float
    turn: asyncio.Future[None]
    lane: Lane | None = None


class Pool:
    """All lanes of one server.

    Everything that changes a lane or the queue calls `_pump`, which goes through the queue in
    order; nothing else hands out lanes. Connections live in tasks of the pool's own, so that
    cancelling a call never leaves one half-open.
    """

    def __init__(self, config: ServerConfig, dialer: Dialer, owner: LaneOwner, clock: Clock) -> None:
        self.config = config
        self.exact = False
        self.on_open: Callable[[Lane], None] = lambda _lane: None
        self.on_end: Callable[[Lane], None] = lambda _lane: None
        self.on_enter: Callable[[Lane], Awaitable[None] | None] = lambda _lane: None
        self.places = Places(config.max_concurrent_calls, config.max_queued_calls, self._too_busy)
        self._dialer = dialer
        self._owner = owner
        self._clock = clock
        self._rules = Rules(config.max_lanes, config.lane_idle_seconds)
        self._lanes: dict[int, Lane] = {}
        self._latest: Lane | None = None
        self._suspects: set[int] = set()
        self._queue: list[_Ticket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm: tuple[float, asyncio.Task[None]] | None = None
        self._closed = False

    def __repr__(self) -> str:
        held = ", ".join(repr(lane) for lane in self._lanes.values())
        return f"<Pool of '{self.config.name}' [{held}], {len(self._queue)} waiting>"

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """Every lane, the oldest first."""
        return tuple(self._lanes.values())

    @property
    def waiting(self) -> int:
        """How many calls wait for a lane, or on one for their turn."""
        return len(self._queue) + self.places.waiting

    def serves(self, pin: str | None) -> bool:
        """Whether an open lane belongs to this session."""
        return pin is not None and any(
            lane.pin is not None and lane.pin.key == pin and lane.connection is not None and not lane.closed
            for lane in self._lanes.values()
        )

    def lease(self, want: Want, running: Running) -> Lease:
        """Hold a lane for one call; see `Lease`."""
        return Lease(self, want, running)

    async def open_control(self, profile: Profile) -> Lane:
        """Open the lane that the supervisor holds, and learn the server's era from it.

        Raises:
            ServerUnavailable: with the reason.
            ConnectionLost: it ended at once.
        """
        lane = self._start(Lane(self.config.name, profile, self._owner, self._clock.now, control=True), None)
        try:
            await lane.ready()
        except BaseException:
            self._discard(lane)
            raise
        return lane

    async def close_pinned(self, pin: str) -> None:
        """Close the lanes of a session that has ended, and turn its waiting calls away."""
        for ticket in [ticket for ticket in self._queue if ticket.want.pin == pin]:
            self._turn_away(ticket, ServerUnavailable(self.config.name, "the client's session has ended"))
        ended = [lane for lane in self._lanes.values() if lane.pin is not None and lane.pin.key == pin]
        for lane in ended:
            self._discard(lane)
        await asyncio.gather(*(lane.task for lane in ended if lane.task is not None), return_exceptions=True)

    async def aclose(self) -> None:
        """Close every lane; whoever waits is told that the gateway stops."""
        self._closed = True
        for ticket in list(self._queue):
            self._turn_away(ticket, ServerUnavailable(self.config.name, "the gateway is stopping"))
        if self._alarm is not None:
            self._alarm[1].cancel()
        for lane in list(self._lanes.values()):
            self._discard(lane)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def take(self, want: Want, running: Running) -> Lane:
        """Return a lane that carries the call from now on, until `release`.

        Raises:
            ServerBusy: none became free in time.
            ServerUnavailable: the gateway is stopping, or the session has ended.
        """
        if self._closed:
            raise ServerUnavailable(self.config.name, "the gateway is stopping")
        latest = self._latest
        if latest is not None and not self._queue and latest.welcomes(want):
            latest.enter(running)
            return latest
        if len(self._queue) >= self.config.max_queued_calls:
            raise self._too_busy(f"{len(self._queue)} calls wait for a lane (max_queued_calls)")
        limit = self.config.timeout * _LIMIT_SHARE
        pin = running.caller.identity if want.pin is not None and running.caller is not None else None
        turn = asyncio.get_running_loop().create_future()
        ticket = _Ticket(want, running, pin, self._clock.now() + limit, turn)
        self._queue.append(ticket)
        self._pump()
        try:
            if ticket.lane is None:
                await turn
        except BaseException:
            self._withdraw(ticket)
            if turn.done() and not turn.cancelled():
                turn.exception()  # seen, though a cancellation came first
            raise
        assert ticket.lane is not None  # its turn has come
        return ticket.lane

    async def turn(self, lane: Lane, running: Running) -> Connection:
        """Wait, with a lane, for a place among the server's calls; raises ServerBusy."""
        assert running.caller is not None  # it is a client's call, whose clock runs
        assert running.deadline is not None
        running.waiting = True
        await self.places.turn(running.caller.identity.principal, running.deadline.begin_by)
        try:
            connection = await lane.ready()
        except BaseException:
            self.places.leave()
            raise
        running.waiting = False
        return connection

    def _withdraw(self, ticket: _Ticket) -> None:
        """Forget a call that stopped waiting, whether or not its turn has come meanwhile."""
        if ticket in self._queue:
            self._queue.remove(ticket)
            self._pump()
        if ticket.lane is not None:
            self.release(ticket.lane, ticket.running, abandoned=False)

    def release(self, lane: Lane, running: Running, *, abandoned: bool) -> None:
        """Take a call off its lane; `abandoned` says that its server may still be at it."""
        # A call that never got a connection was never sent: nothing is abandoned at the server.
        lane.leave(running, abandoned=abandoned and lane.connection is not None)
        if abandoned and running.overdue and lane.id not in self._suspects:
            self._suspects.add(lane.id)
            self._spawn(self._check(lane))
        unwanted = lane.fresh or (lane.connection is None and not lane.control)
        if unwanted and lane.running == 0:
            self._discard(lane)
        if self._queue or not (lane.running or lane.control):
            # Somebody waits, or a lane has begun to idle.
            self._pump()

    async def _check(self, lane: Lane) -> None:
        """See whether a lane on which a call timed out is stuck for the others too."""
        try:
            await liveness.check(lane, self.config.transport, self._clock)
        finally:
            self._suspects.discard(lane.id)

    def _pump(self) -> None:
        """Give lanes to those who wait, and set the alarm for what time alone will change."""
        if self._closed:
            return
        times = self._serve() if self._queue else []
        # An alarm that is set already looks at everything when it rings.
        if times or self._alarm is None:
            times.append(lanes.next_expiry(self._views(self._idle()), self._rules))
            self._set_alarm(min((time for time in times if time is not None), default=None))

    def _serve(self) -> list[float | None]:
        """Go through the queue in order; return when to look at it again at the latest."""
        now = self._clock.now()
        for ticket in [ticket for ticket in self._queue if ticket.deadline <= now]:
            self._turn_away(ticket, self._busy())
        claimed, blocked, times = Claims(), set[Want](), list[float | None]()
        for ticket in list(self._queue):
            if ticket.want in blocked:
                continue
            decision = self._decide(ticket.want, now, claimed)
            if isinstance(decision, Use):
                self._assign(ticket, self._lanes[decision.lane])
            elif isinstance(decision, Open):
                self._assign(ticket, self._open(ticket, decision.evict))
            else:
                claimed |= decision.claims
                blocked.add(ticket.want)
                times.append(decision.until)
        return times + [ticket.deadline for ticket in self._queue]

    def _decide(self, want: Want, now: float, claimed: Claims) -> Decision:
        if want.key.alone is not None and want.pin is None:
            # It shares with none. Those that carry something only count, and may be a thousand parked ones.
            idle = self._idle()
            room = Rules(self._rules.max_lanes - len(self._lanes) + len(idle), self._rules.idle_seconds)
            decision = lanes.decide(want, self._views(idle), room, now, claimed)
            if not isinstance(decision, Wait):
                return decision
        return lanes.decide(want, self._views(self._lanes.values()), self._rules, now, claimed)

    def _idle(self) -> list[Lane]:
        return [lane for lane in self._lanes.values() if lane.control or not lane.running]

    @staticmethod
    def _views(among: Iterable[Lane]) -> list[lanes.LaneView]:
        return [lane.view() for lane in among if not lane.closed]

    def _busy(self) -> ServerBusy:
        config = self.config
        return self._too_busy(
            f"none of its {config.max_lanes} lanes (max_lanes) became free for this call within "
            f"{config.timeout * _LIMIT_SHARE:g} s"
        )

    def _too_busy(self, why: str) -> ServerBusy:
        config = self.config
        text = f"server '{config.name}' is busy: {why}; try again, or raise the setting ({config.source})"
        return ServerBusy(text, config.name)

    def _assign(self, ticket: _Ticket, lane: Lane) -> None:
        self._queue.remove(ticket)
        ticket.lane = self._latest = lane
        lane.enter(ticket.running)
        if not ticket.turn.done():
            ticket.turn.set_result(None)

    def _turn_away(self, ticket: _Ticket, error: BackchannelError) -> None:
        self._queue.remove(ticket)
        if not ticket.turn.done():
            ticket.turn.set_exception(error)

    def _open(self, ticket: _Ticket, evict: int | None) -> Lane:
        victim = None
        if evict is not None:
            victim = self._lanes[evict]
            if victim.pin is not None:
                logger.warning(
                    "server '%s': closing the idle lane of client '%s', and with it what the server keeps "
                    "for that connection, since all %d lanes (max_lanes) are taken and another call waits",
                    self.config.name, victim.pin.name or victim.pin.key[:8], self.config.max_lanes,
                )  # fmt: skip
            self._discard(victim)
        want = ticket.want
        lane = Lane(
            self.config.name,
            want.key.profile,
            self._owner,
            self._clock.now,
            pin=ticket.pin,
            exact=self.exact,
            fresh=want.fresh,
        )
        return self._start(lane, victim)

    def _start(self, lane: Lane, after: Lane | None) -> Lane:
        self._lanes[lane.id] = lane
        lane.task = self._spawn(self._live(lane, after))
        return lane

    def _discard(self, lane: Lane) -> None:
        """Take a lane out of use at once; its own task closes the connection."""
        self._lanes.pop(lane.id, None)
        if self._latest is lane:
            self._latest = None
        if lane.task is not None:
            lane.task.cancel()

    async def _live(self, lane: Lane, after: Lane | None) -> None:
        """Open a lane's connection, hold it until it ends, and close it: one task for all its life."""
        reason = "it was closed"
        try:
            if after is not None and after.task is not None:
                await asyncio.wait({after.task})
            connection = await self._dial(lane)
            lane.connected(connection)
            self.on_open(lane)
            await connection.closed.wait()
            reason = connection.why_closed
        except ServerUnavailable as error:
            lane.failed(error)
        finally:
            self._lanes.pop(lane.id, None)
            lane.failed(ServerUnavailable(self.config.name, f"the connection was given up: {reason}"))
            if lane.connection is not None:
                if not self._closed:
                    self.on_end(lane)
                await self._close(lane.connection)
            self._pump()

    async def _dial(self, lane: Lane) -> Connection:
        # Dialers keep this limit themselves and know more to say: they go first.
        limit = self.config.start_timeout + _DIAL_GRACE
        try:
            async with asyncio.timeout(limit):
                connection = await self._dialer.dial(lane.profile, lane)
        except TimeoutError:
            raise ServerUnavailable(
                self.config.name, f"it had not finished its handshake {limit:g} s after it was started"
            ) from None
        exact = connection.hello.era == "modern"
        if lane.control:
            lane.exact = self.exact = exact
        elif lane.exact != exact:
            await self._close(connection)
            raise ServerUnavailable(self.config.name, "it has changed its protocol era; try again")
        return connection

    async def _close(self, connection: Connection) -> None:
        """Close a connection, whatever happens to the task that does so; bounded."""
        closing = self._spawn(_bounded(connection, self.config.name))
        while not closing.done():
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError:
                if closing.cancelled():
                    break

    def _set_alarm(self, at: float | None) -> None:
        if at is None or (self._alarm is not None and self._alarm[0] <= at):
            return
        if self._alarm is not None:
            self._alarm[1].cancel()
        self._alarm = (at, self._spawn(self._ring(at)))

    async def _ring(self, at: float) -> None:
        await self._clock.sleep(max(0.0, at - self._clock.now()))
        self._alarm = None
        for number in lanes.expired(self._views(self._idle()), self._rules, self._clock.now()):
            self._discard(self._lanes[number])
        self._pump()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a lane of server '%s' failed; this is a defect of the gateway", self.config.name,
                         exc_info=error)  # fmt: skip


async def _bounded(connection: Connection, server: str) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.aclose()
    except TimeoutError:
        logger.warning("closing a connection to server '%s' took over %g s; given up", server, CLOSE_SECONDS)
