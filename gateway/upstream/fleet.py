"""All servers behind the gateway, as the rest of it sees them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from gateway.calls.model import Call, Caller, CallOutcome, Identity, Json, Profile, Scope
from gateway.config.resolved import Limits, ServerConfig
from gateway.errors import QuestionRefused, UnknownTarget
from gateway.policy.model import KINDS, Kind, Policy
from gateway.upstream.catalog import Catalog
from gateway.upstream.clock import Clock, SystemClock, all_done
from gateway.upstream.events import FleetEvent, OnEvent, ServerStatus
from gateway.upstream.port import Asked, Dialer
from gateway.upstream.profiles import Profiles
from gateway.upstream.unit import OnSession, OnUnsolicited, Unit

logger = logging.getLogger(__name__)

LISTING_WAIT: Final = 5.0
"""Seconds a client waits for a connected server to list what it offers."""

START_GRACE: Final = 5.0
"""Seconds after the start during which listings wait for servers' first attempts to connect."""


class Fleet:
    """The servers, supervised.

    Args:
        dialers: one for each server, by its name.
        llm_kinds: the kinds of question for which an LLM provider is configured.
        llm_tools: whether one for sampling can call tools.
        on_unsolicited: answers a server's question that belongs to no call; without it they are refused.
        on_session: answers `roots/list` outside any call on a lane that is one client's own, by asking
            that client; without it, it is treated as `on_unsolicited` says.
    """

    def __init__(
        self,
        servers: Sequence[ServerConfig],
        dialers: Mapping[str, Dialer],
        policy: Policy,
        *,
        llm_kinds: Collection[Kind] = KINDS,
        llm_tools: bool = False,
        on_unsolicited: OnUnsolicited | None = None,
        on_session: OnSession | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        listing_wait: float = LISTING_WAIT,
        start_grace: float = START_GRACE,
        limits: Limits | None = None,
    ) -> None:
        clock = clock or SystemClock()
        by_name = {server.name: server for server in servers}
        profiles = Profiles(policy, by_name, llm_kinds, llm_tools=llm_tools)
        self._clock = clock
        self._listeners: list[OnEvent] = []
        self._units: dict[str, Unit] = {}
        self.catalog = Catalog(self._units, profiles.extensions, clock, start_grace)
        for server in servers:
            self._units[server.name] = Unit(
                server,
                dialers[server.name],
                profiles,
                self._publish,
                on_unsolicited or _refuse,
                on_session,
                self.catalog.touch,
                clock=clock,
                rng=rng or random.Random(),
                listing_wait=listing_wait,
                limits=limits,
            )

    def __repr__(self) -> str:
        return f"<Fleet {list(self._units.values())!r}>"

    async def start(self) -> None:
        """Begin to start every server, each by itself; returns at once."""
        self.catalog.began()
        for unit in self._units.values():
            unit.start()

    async def aclose(self) -> None:
        """Stop every server and close every connection; bounded in time."""
        await asyncio.gather(*(unit.aclose() for unit in self._units.values()))

    async def settled(self, timeout: float) -> None:
        """Wait until every server was connected and listed once, or has failed, at most `timeout` seconds."""
        waits = [asyncio.ensure_future(unit.settled.wait()) for unit in self._units.values()]
        try:
            await all_done(waits, timeout, self._clock)
        finally:
            for wait in waits:
                wait.cancel()

    def status(self) -> list[ServerStatus]:
        """Describe every server, in configuration order."""
        return [unit.status() for unit in self._units.values()]

    def declared(self, server: str, caller: Caller) -> Profile:
        """Return what is declared to a server when this caller calls it."""
        return self._unit(server).declared(caller)

    async def call(self, call: Call, scope: Scope) -> CallOutcome:
        """Take a lane that may carry the call, send it, and return its outcome.

        Without a deadline of its own but for the wait for a lane. Cancelling cancels the call
        at the server.

        Raises:
            ServerUnavailable: the server is not up, or no lane could be opened.
            ServerBusy: no lane became free in time.
            ConnectionLost: the connection ended while the call was in flight.
            PeerError: the server's own error.
        """
        return await self._unit(call.server).call(call, scope)

    def may_park(self, server: str, caller: Caller, tool: str | None) -> bool:
        """Whether a server may have to wait with its call open until the client retries."""
        unit = self._unit(server)
        return unit.profiles.parks(server, unit.era, caller, tool)

    def roots_changed(self, identity: Identity, params: Json) -> None:
        """Tell the servers that may ask this client for its roots that they changed, in the background."""
        for unit in self._units.values():
            unit.spawn(unit.roots_changed(identity, params))

    def subscribe(self, on_event: OnEvent) -> Callable[[], None]:
        """Call `on_event`, which must not block, for every event; the returned function ends that."""
        self._listeners.append(on_event)

        def end() -> None:
            if on_event in self._listeners:
                self._listeners.remove(on_event)

        return end

    async def subscribe_resource(self, server: str, uri: str, caller: Caller) -> None:
        """Have a server tell of updates of a resource, for this caller; raises as `call`."""
        unit = self._unit(server)
        await unit.check(caller)
        await unit.following.subscribe(uri, caller)

    async def unsubscribe_resource(self, server: str, uri: str, caller: Caller) -> None:
        """End what `subscribe_resource` began; the server is told in the background."""
        unit = self._unit(server)
        unit.following.unsubscribe(uri, caller, unit.pool.lanes)

    async def set_level(self, caller: Caller, level: str) -> None:
        """Note which log messages a client wants, and tell servers in the background."""
        for unit in self._units.values():
            unit.levels.set(caller.identity.key, level, unit.pool.lanes)

    def expect_news(self) -> None:
        """Tell of the next change of every list, even if nobody has listed since the last."""
        for unit in self._units.values():
            unit.listings.expect_news()

    def forget(self, identity: Identity) -> None:
        """Close the lanes and end the subscriptions of a session that has ended, in the background."""
        for unit in self._units.values():
            unit.forget(identity)

    def _unit(self, server: str) -> Unit:
        unit = self._units.get(server)
        if unit is None:
            raise UnknownTarget(f"no server is called '{server}'")
        return unit

    def _publish(self, event: FleetEvent) -> None:
        for listener in list(self._listeners):
            listener(event)


async def _refuse(server: str, asked: Asked) -> Json:
    raise QuestionRefused(f"{asked.method} of server '{server}' belongs to no call")
