"""One server as the gateway runs it: supervisor, lanes, listings, and what it says unasked."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from gateway.calls.elicitations import COMPLETE
from gateway.calls.model import Call, Caller, CallOutcome, Identity, Json, Profile, Scope
from gateway.config.resolved import Limits, ServerConfig
from gateway.errors import ConnectionLost, NotTaken, ServerUnavailable
from gateway.upstream.clock import Clock
from gateway.upstream.events import (
    CHANGES,
    KIND_OF,
    KINDS,
    ElicitationCompleted,
    ListChanged,
    ListKind,
    OnEvent,
    ResourceUpdated,
    ServerStatus,
    SessionLogged,
)
from gateway.upstream.following import Following
from gateway.upstream.lane import Lane, Running
from gateway.upstream.lanes import Want
from gateway.upstream.levels import Levels
from gateway.upstream.listings import Hint, Listings, Part, Slot
from gateway.upstream.paging import ListingBounds
from gateway.upstream.pool import Pool
from gateway.upstream.port import Asked, Connection, Dialer, Era, Listing
from gateway.upstream.profiles import LaneKey, Profiles
from gateway.upstream.supervisor import Supervisor
from gateway.upstream.undeclared import WithoutRoots
from gateway.upstream.visible import visible
from gateway.wire.levels import level_of

logger = logging.getLogger(__name__)

OnUnsolicited = Callable[[str, Asked], Awaitable[Json]]
"""Answers a server's question that belongs to no call; raises QuestionRefused where policy says so."""

OnSession = Callable[[str, Identity, Asked], Awaitable[Json]]
"""Asks a client outside any call; raises ChannelClosed if it cannot be reached."""

_ATTEMPTS: Final = 3
_ROOTS_CHANGED: Final = "notifications/roots/list_changed"
_UPDATED: Final = "notifications/resources/updated"


class Unit:
    """One server. `settled` is set once it was connected and listed, or has failed to, for the first time.

    Args:
        touch: called whenever what the merged listing is made of may have changed.
        listing_wait: seconds that a client waits for a connected server to list what it offers.
    """

    def __init__(
        self,
        config: ServerConfig,
        dialer: Dialer,
        profiles: Profiles,
        on_event: OnEvent,
        on_unsolicited: OnUnsolicited,
        on_session: OnSession | None,
        touch: Callable[[], None],
        *,
        clock: Clock,
        rng: random.Random,
        listing_wait: float,
        limits: Limits | None = None,
    ) -> None:
        self.config = config
        self.instructions = ""
        self.name = config.name
        self.profiles = profiles
        self.base = profiles.base(config.name)
        self.settled = asyncio.Event()
        self.pool = Pool(config, dialer, self, clock)
        self._limits = limits = limits or Limits()
        bounds = ListingBounds(limits.max_listing_pages, limits.max_listing_entries, limits.max_message_bytes)
        self.listings = Listings(
            config.name,
            self.lend,
            clock,
            touch,
            self._relisted,
            timeout=config.timeout,
            wait=listing_wait,
            bounds=bounds,
        )
        self.supervisor = Supervisor(config.name, self._connect, self, clock, rng)
        self.following = Following(config.name, self._borrow, self.pin, self.spawn, config.timeout, clock)
        self.pool.on_open = self.following.opened
        self.pool.on_end = self._lane_ended
        self.levels = Levels(config.name, self.spawn)
        self.pool.on_enter = self.levels.entered
        self._on_event = on_event
        self._on_unsolicited = on_unsolicited
        self._on_session = on_session
        self._touch = touch
        self._tasks: set[asyncio.Task[None]] = set()
        self._shown: frozenset[ListKind] = frozenset()

    def __repr__(self) -> str:
        return f"<Unit {self.supervisor!r} {self.pool!r}>"

    @property
    def up(self) -> bool:
        """Whether the server is connected."""
        return self.supervisor.state == "up"

    @property
    def era(self) -> Era:
        """The server's era; until it is known, the one with the stricter rules."""
        hello = self.supervisor.hello
        return "handshake" if hello is None else hello.era

    def start(self) -> None:
        """Begin to supervise the server; returns at once."""
        self.spawn(self.supervisor.run())

    async def aclose(self) -> None:
        """Stop everything and close every connection."""
        for task in self._tasks:
            task.cancel()
        await self.listings.aclose()
        await self.pool.aclose()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def declared(self, caller: Caller) -> Profile:
        """Return what is declared to the server for a caller."""
        return self.profiles.declared(self.name, self.era, caller)

    def pin(self, caller: Caller) -> str | None:
        """Return whose lane the caller's calls run on."""
        return self.profiles.pin(self.name, self.era, caller)

    def slot(self, caller: Caller) -> Slot:
        """Return whose listing a caller is shown: its own where it has a lane of its own, that is open."""
        profile, pin = self.declared(caller), self.pin(caller)
        own = self.pool.serves(pin) and not self.listings.fetching(profile, pin)
        return profile, pin if own else None

    def listing(self, caller: Caller) -> Listing | None:
        """Return what the server is known to list for a caller, or failing that for the LLM alone."""
        return self.listings.known(*self._slots(caller))

    def hint(self, part: Part, caller: Caller) -> Hint | None:
        """Return what to tell of caching a part of `listing`; None if the server offers no such part.

        What depends on a caller's capabilities is not the same for everybody.
        """
        hint = self.listings.hint(part, *self._slots(caller))
        if hint is None or self.declared(caller) == self.base:
            return hint
        return replace(hint, public=False)

    async def refresh(self, caller: Caller) -> None:
        """Have the server list what is not at hand for a caller; see `Listings.refresh`."""
        slot, pin = self.slot(caller), self.pin(caller)
        opens = pin if slot[1] is None and slot[0] != self.base else None
        await self.listings.refresh(slot, caller, opens)

    def _slots(self, caller: Caller) -> tuple[Slot, Slot, Slot]:
        slot = self.slot(caller)
        return slot, (slot[0], None), (self.base, None)

    async def check(self, caller: Caller) -> None:
        """Refuse a call that cannot be carried, not before what `begun` waits for.

        A client whose own lane still lives is served there while the supervisor reconnects.

        Raises:
            ServerUnavailable: the server is not up, and why.
        """
        if not self.up and not self.pool.serves(self.pin(caller)):
            await self.begun()
            if not self.up:
                raise ServerUnavailable(self.name, self.supervisor.reason)

    async def begun(self) -> None:
        """Wait for an attempt to connect that began at once, which `start_timeout` bounds."""
        await self.supervisor.tried.wait()

    async def call(self, call: Call, scope: Scope) -> CallOutcome:
        """Carry one call on a lane; see `gateway.upstream.fleet.Fleet.call`."""
        if self.supervisor.state != "up":
            await self.check(call.caller)
        caller, era = call.caller, self.era
        key = self.profiles.key(self.name, era, caller, call.tool)
        pin = self.profiles.pin(self.name, era, caller)
        want = Want(key, pin, self.config.isolation == "call")
        if era == "handshake" and "roots" in caller.profile and "roots" not in key.profile:
            scope = WithoutRoots(self.name, scope)
        attempts = 0
        while True:
            attempts += 1
            sent = False
            try:
                running = Running(key, caller, scope, level_of(call.params), call.deadline)
                async with self.pool.lease(want, running) as connection:
                    sent = True
                    return await connection.call(call.method, call.params, scope, call.resume)
            except ConnectionLost as error:
                # A lane that ended before its server took the call has done nothing: take another.
                if (sent and not isinstance(error, NotTaken)) or attempts == _ATTEMPTS:
                    raise

    @asynccontextmanager
    async def lend(
        self, profile: Profile, caller: Caller | None, *, own: bool = False
    ) -> AsyncGenerator[Connection]:
        """Lend a connection with a profile to a request of the gateway's own.

        The control connection serves its own profile, unless the caller has a lane of its `own`, or is to,
        whose server may list what its state has made of it. For other profiles a lane is taken
        on behalf of the caller, who will need it anyway.
        """
        if caller is None or (profile == self.base and not own and not self.pool.serves(self.pin(caller))):
            yield self.control()
            return
        party = self.profiles.party(self.name, self.era, caller, None)
        key = LaneKey(party, profile)
        pin = self.pin(caller)
        # A server asks for roots as soon as it is connected, and remembers: what it learnt while it
        # listed, with no call to ask in, must not serve the calls of a client without a session.
        fresh = self.config.isolation == "call" or (pin is None and "roots" in profile)
        want = Want(key, pin, fresh=fresh, quiet=True)
        async with self.pool.lease(want, Running(key, caller)) as connection:
            yield connection

    def control(self) -> Connection:
        """Return the connection that the supervisor holds.

        Raises:
            ServerUnavailable: there is none.
        """
        connection = self.supervisor.connection
        if connection is None:
            raise ServerUnavailable(self.name, self.supervisor.reason)
        return connection

    async def unsolicited(self, lane: Lane, asked: Asked) -> Json:
        """Answer a question of the server that belongs to no call."""
        if asked.method == "roots/list" and lane.pin is not None and self._on_session is not None:
            return await self._on_session(self.name, lane.pin, asked)
        return await self._on_unsolicited(self.name, asked)

    def news(self, lane: Lane, method: str, params: Json) -> bool:
        """Take a notification about the server itself."""
        change = CHANGES.get(method)
        if change is not None:
            kind, parts = change
            # Over stdio a session's lane is a process of its own, of which others have nothing.
            whose = lane.pin if self.config.transport == "stdio" else None
            if self.listings.invalidate(parts, None if whose is None else whose.key):
                self._on_event(ListChanged(kind, self.name, whose))
            return True
        if method == _UPDATED:
            self._on_event(ResourceUpdated(str(params.get("uri")), self.name, params, lane.pin))
            return True
        if method == COMPLETE:
            self._on_event(ElicitationCompleted(self.name, params))
            return True
        return False

    def logged(self, identity: Identity, params: Json) -> None:
        """Take a log message that is one client session's."""
        self._on_event(SessionLogged(self.name, params, identity))

    async def roots_changed(self, identity: Identity, params: Json) -> None:
        """Tell the server that a client's roots changed, on the client's own lanes: no others have any."""
        concerned = [
            lane.connection
            for lane in self.pool.lanes
            if lane.connection is not None
            and lane.pin is not None
            and lane.pin.key == identity.key
            and "roots" in lane.profile
        ]
        await asyncio.gather(*(connection.notify(_ROOTS_CHANGED, params) for connection in concerned))

    def forget(self, identity: Identity) -> None:
        """Close what is a client's own, in the background."""
        self.following.forget(identity.key, self.pool.lanes)
        self.listings.forget(identity.key)
        self.levels.forget(identity.key)
        self.spawn(self.pool.close_pinned(identity.key))

    def status(self) -> ServerStatus:
        """Describe the server as it is now."""
        supervisor, lanes = self.supervisor, self.pool.lanes
        hello = supervisor.hello
        listing = visible(self.config, self.listings.known((self.base, None)) or Listing())
        return ServerStatus(
            name=self.name,
            transport=self.config.transport,
            state=supervisor.state,
            era=None if hello is None else hello.era,
            reason=supervisor.reason,
            since=supervisor.since,
            restarts=supervisor.restarts,
            protocol_version=None if hello is None else hello.protocol_version,
            server_info={} if hello is None else hello.server_info,
            capabilities={} if hello is None else hello.capabilities,
            declared=tuple(sorted(bit for bit in self.base if isinstance(bit, str))),
            lanes=sum(not lane.control for lane in lanes),
            calls=sum(lane.running for lane in lanes),
            waiting=self.pool.waiting,
            tools=len(listing.tools),
            prompts=len(listing.prompts),
            resources=len(listing.resources),
            templates=len(listing.templates),
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside everything else, until `aclose` at the latest."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def came_up(self) -> None:
        """Take word from the supervisor: list anew, and tell clients that there is more to see."""
        self.listings.renew()
        self.instructions = self._instructions()
        if self.supervisor.hello is not None:
            self.profiles.extensions.learn(self.name, self.supervisor.hello.capabilities)
        self._shown = self._offered()
        self._changed(self._shown)
        self.spawn(self._list())

    def went_down(self) -> None:
        """Take word from the supervisor: what was shown has vanished."""
        vanished, self._shown = self._shown, frozenset()
        self._changed(vanished)
        self.settled.set()

    async def _connect(self) -> Connection:
        lane = await self.pool.open_control(self.base)
        return await lane.ready()

    @asynccontextmanager
    async def _borrow(self, caller: Caller) -> AsyncGenerator[Connection]:
        """Lend the connection that a caller's subscriptions live on."""
        if self.pin(caller) is None:
            yield self.control()
            return
        async with self.lend(self.declared(caller), caller, own=True) as connection:
            yield connection

    async def _list(self) -> None:
        """List for the control lane's profile; everybody may see that."""
        try:
            await self.listings.refresh((self.base, None), None)
        finally:
            self.settled.set()

    def _instructions(self) -> str:
        """Return what the server tells clients' models, which each of them gets: within bounds."""
        hello, limit = self.supervisor.hello, self._limits.max_instructions
        text = (hello.instructions or "") if hello is not None else ""
        if len(text) > limit:
            cut = self.name, limit, len(text)
            logger.warning("server '%s': instructions cut after %d of %d (limits.max_instructions)", *cut)
        return text[:limit]

    def _lane_ended(self, lane: Lane) -> None:
        """Forget what a session's lane listed; the session is told where that was its own."""
        self.following.ended(lane)
        if lane.pin is not None and self.listings.forget(lane.pin.key):
            for kind in self._offered():
                self._on_event(ListChanged(kind, self.name, lane.pin))

    def _offered(self) -> frozenset[ListKind]:
        hello = self.supervisor.hello
        return frozenset(kind for kind in KINDS if hello is not None and kind in hello.capabilities)

    def _changed(self, kinds: frozenset[ListKind]) -> None:
        self._touch()
        for kind in KINDS:
            if kind in kinds:
                self._on_event(ListChanged(kind, self.name))

    def _relisted(self, parts: set[Part]) -> None:
        self._changed(frozenset(KIND_OF[part] for part in parts))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a task of server '%s' failed", self.name, exc_info=error)
