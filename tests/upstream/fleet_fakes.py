"""A server, its connections and a clock that a test holds in its hand, behind the real ports."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from gateway.calls.model import LATER, Asked, Call, Identity, Json, LaterAnswer, Profile, Resume, Scope
from gateway.config.resolved import ServerConfig, Transport
from gateway.errors import ConnectionLost, PeerError, ServerUnavailable
from gateway.policy.model import KindPolicy, Layer, Policy, Setting, Source, Strategy
from gateway.upstream.clock import Clock
from gateway.upstream.fleet import Fleet
from gateway.upstream.port import Era, Hello, Listener
from gateway.wire.levels import LOG_LEVEL

HERE = Source("gateway.yaml", "mcpServers")
EVERYTHING = {"tools": {}, "prompts": {}, "resources": {"subscribe": True}, "logging": {}}


async def turns(count: int = 30) -> None:
    """Let everything that can run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


class HeldClock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        event = asyncio.Event()
        entry = (self.time + seconds, event)
        self._sleepers.append(entry)
        try:
            await event.wait()
        finally:
            self._sleepers.remove(entry)

    @property
    def next_in(self) -> float | None:
        return min((at - self.time for at, _ in self._sleepers), default=None)

    async def pass_by(self, seconds: float) -> None:
        await turns()
        self.time += seconds
        for at, event in list(self._sleepers):
            if at <= self.time:
                event.set()
        await turns()


def layer(strategy: Strategy | None) -> Layer:
    return Layer("here", None if strategy is None else Setting(strategy, HERE))


def kind_policy(
    strategy: Strategy | None = None,
    *,
    enabled: bool = True,
    tools: Mapping[str, Strategy] | None = None,
    servers: Mapping[str, Strategy] | None = None,
) -> KindPolicy:
    return KindPolicy(
        enabled=Setting(enabled, HERE),
        organization=layer(strategy),
        smart_discovery=layer(None),
        smart_discovery_enabled=False,
        external_default=layer(None),
        tools={name: layer(value) for name, value in (tools or {}).items()},
        servers={name: layer(value) for name, value in (servers or {}).items()},
    )


def policy(
    sampling: KindPolicy | Strategy | None = Strategy.CLIENT,
    elicitation: KindPolicy | Strategy | None = Strategy.CLIENT,
) -> Policy:
    def of(value: KindPolicy | Strategy | None) -> KindPolicy:
        return value if isinstance(value, KindPolicy) else kind_policy(value)

    return Policy(of(sampling), of(elicitation))


ASKABLE: Profile = frozenset({"sampling", "elicitation.form"})


@dataclass
class FakeCaller:
    identity: Identity
    profile: Profile = ASKABLE
    defers: bool = False
    asked: list[Asked] = field(default_factory=list)
    heard: list[tuple[str, Json]] = field(default_factory=list)

    async def ask(self, method: str, params: Json) -> Json:
        self.asked.append(Asked(method, params))
        return {"roots": []}

    async def park(self, method: str, params: Json, limit: float) -> Json:
        assert limit > 0
        return await self.ask(method, params)

    def notify(self, method: str, params: Json) -> None:
        self.heard.append((method, params))


def session(name: str, profile: Profile = ASKABLE, principal: str | None = None) -> FakeCaller:
    return FakeCaller(Identity(name, principal, name, name), profile)


def stateless(
    name: str, profile: Profile = ASKABLE, *, defers: bool = False, principal: str | None = None
) -> FakeCaller:
    return FakeCaller(Identity(name, principal), profile, defers)


class FakeScope:
    """Takes questions, and answers them with `answer` once `gate` is open."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.asked: list[Asked] = []
        self.withdrawn: list[Asked] = []
        self.heard: list[tuple[str, Json]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.later = False

    async def question(self, asked: Asked, *, deferrable: bool) -> Json | LaterAnswer:
        assert not deferrable
        self.asked.append(asked)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.withdrawn.append(asked)
            raise
        return LATER if self.later else {"answered by": self.name}

    def notification(self, method: str, params: Json) -> None:
        self.heard.append((method, params))


@dataclass(eq=False)
class Sent:
    """A request as the server got it; finish it with `result` or `error`."""

    method: str
    params: Json
    scope: Scope | None
    connection: FakeConnection
    reply: asyncio.Future[Json]
    cancelled: bool = False

    async def result(self, value: Json | None = None) -> None:
        if not self.reply.done():
            self.reply.set_result(value or {"content": []})
        await turns()


class FakeConnection:
    def __init__(self, fake: FakeServer, profile: Profile, listener: Listener) -> None:
        self.server = fake.name
        self.hello = fake.hello
        self.profile = profile
        self.listener = listener
        self.closed = asyncio.Event()
        self.why_closed = ""
        self.sent: list[Sent] = []
        self.notified: list[tuple[str, Json | None]] = []
        self._fake = fake

    def __repr__(self) -> str:
        return f"<FakeConnection {sorted(self.profile)}>"

    async def call(
        self, method: str, params: Json, scope: Scope | None = None, resume: Resume | None = None
    ) -> Json:
        if self.closed.is_set():
            raise ConnectionLost(self.server, self.why_closed)
        reply: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        reply.add_done_callback(lambda done: done.cancelled() or done.exception())
        sent = Sent(method, params, scope, self, reply)
        self.sent.append(sent)
        self._fake.sent.append(sent)
        if method in self._fake.refused:
            raise PeerError(*self._fake.refused[method])
        if method == "tools/call":
            self._fake.arrived.set()
        if method not in self._fake.held and method != "tools/call":
            return self._fake.answer(method, params, self.profile)
        try:
            return await sent.reply
        except asyncio.CancelledError:
            sent.cancelled = True
            raise
        finally:
            if not sent.reply.done():
                sent.reply.cancel()

    async def notify(self, method: str, params: Json | None = None) -> None:
        self.notified.append((method, params))

    async def aclose(self) -> None:
        self.die("closed by the gateway")

    def give_up(self, reason: str) -> None:
        self.die(reason)

    def die(self, reason: str = "the process ended") -> None:
        if self.closed.is_set():
            return
        self.why_closed = reason
        self.closed.set()
        for sent in self.sent:
            if not sent.reply.done():
                sent.reply.set_exception(ConnectionLost(self.server, reason))

    async def ask(self, method: str = "elicitation/create", **params: Any) -> Json:
        """Ask something that names no call."""
        return await self.listener.question(self, Asked(method, params))

    def tell(self, method: str, params: Json | None = None) -> None:
        self.listener.notification(self, method, params or {})


class FakeServer:
    """A `Dialer`. `lists` maps a member of a result (`tools`, …) to entries or to pages of them.

    `refuse` makes dialing fail with that reason; `gate` holds dialing; `held` are methods
    whose answers the test gives itself; `arrived` is set by each call; `refused` are
    those answered with an error.
    """

    def __init__(
        self, name: str, era: Era = "handshake", capabilities: Json | None = None, **lists: Sequence[Any]
    ) -> None:
        self.name = name
        self.era: Era = era
        self.capabilities = EVERYTHING if capabilities is None else capabilities
        self.instructions: str | None = None
        self.lists: dict[str, Sequence[Any]] = dict(lists)
        self.ttl: int | None = None
        self.by_profile: dict[Profile, dict[str, Sequence[Any]]] = {}
        self.connections: list[FakeConnection] = []
        self.dialed: list[Profile] = []
        self.sent: list[Sent] = []
        self.refuse: str | None = None
        self.broken: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.held: set[str] = set()
        self.arrived = asyncio.Event()
        self.refused: dict[str, tuple[int, str]] = {}

    @property
    def hello(self) -> Hello:
        return Hello(
            self.era,
            "2025-11-25" if self.era == "handshake" else "2026-07-28",
            self.capabilities,
            {"name": self.name},
            self.instructions,
        )

    @property
    def live(self) -> list[FakeConnection]:
        return [connection for connection in self.connections if not connection.closed.is_set()]

    @property
    def control(self) -> FakeConnection:
        return self.live[0]

    @property
    def calls(self) -> list[Sent]:
        """Calls in flight, in the order they came."""
        return [sent for sent in self.sent if sent.method == "tools/call" and not sent.reply.done()]

    async def dial(self, profile: Profile, listener: Listener) -> FakeConnection:
        self.dialed.append(profile)
        await self.gate.wait()
        if self.broken is not None:
            raise self.broken
        if self.refuse is not None:
            raise ServerUnavailable(self.name, self.refuse)
        connection = FakeConnection(self, profile, listener)
        self.connections.append(connection)
        return connection

    def answer(self, method: str, params: Json, profile: Profile) -> Json:
        member = {
            "tools/list": "tools",
            "prompts/list": "prompts",
            "resources/list": "resources",
            "resources/templates/list": "resourceTemplates",
        }.get(method)
        if member is None:
            return {}
        lists = self.by_profile.get(profile, self.lists)
        entries = lists.get("templates" if member == "resourceTemplates" else member, ())
        pages = entries if entries and isinstance(entries[0], list) else [list(entries)]
        number = int(params.get("cursor", 0))
        result: Json = {member: [as_entry(member, entry) for entry in pages[number]]}
        if number + 1 < len(pages):
            result["nextCursor"] = str(number + 1)
        if self.ttl is not None:
            result["ttlMs"] = self.ttl
        return result

    def listed(self, method: str = "tools/list") -> int:
        return sum(sent.method == method for sent in self.sent)


def as_entry(member: str, entry: Any) -> Json:
    if isinstance(entry, dict):
        return entry
    return {{"resources": "uri", "resourceTemplates": "uriTemplate"}.get(member, "name"): entry}


def config(name: str, transport: Transport = "stdio", **changes: Any) -> ServerConfig:
    return ServerConfig(name, transport, Source("servers.yaml", f"mcpServers.{name}"), **changes)


def fleet_of(
    *servers: FakeServer, clock: Clock | None = None, rules: Policy | None = None, **settings: Any
) -> Fleet:
    """Build a fleet; `settings` of ServerConfig apply to every server, others to the fleet."""
    of_fleet = {"llm_kinds", "on_unsolicited", "on_session", "listing_wait", "start_grace"}
    own = {key: settings.pop(key) for key in of_fleet & settings.keys()}
    prefixes = settings.pop("prefixes", {})
    return Fleet(
        [config(s.name, prefix=prefixes.get(s.name, f"{s.name}__"), **settings) for s in servers],
        {server.name: server for server in servers},
        rules or policy(),
        clock=clock or HeldClock(),
        rng=random.Random(7),
        **own,
    )


@asynccontextmanager
async def running(*servers: FakeServer, **settings: Any):
    """A fleet that has started and settled."""
    fleet = fleet_of(*servers, **settings)
    await fleet.start()
    await turns()
    try:
        yield fleet
    finally:
        await fleet.aclose()


@dataclass(eq=False)
class Calling:
    """A call under way."""

    task: asyncio.Task[Any]
    scope: FakeScope
    caller: FakeCaller

    @property
    def waiting(self) -> bool:
        return not self.task.done()


async def begin(
    fleet: Fleet, server: str, caller: FakeCaller, tool: str = "tool", level: str | None = None
) -> Calling:
    """Start a call, which may ask for a log level, and let it get as far as it can."""
    scope = FakeScope(caller.identity.key)
    meta = {} if level is None else {"_meta": {LOG_LEVEL: level}}
    call = Call("tools/call", {"name": tool, **meta}, caller, server, f"{server}__{tool}")
    task = asyncio.create_task(fleet.call(call, scope))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    await turns()
    return Calling(task, scope, caller)


def names(entries) -> list[str]:
    return [entry.get("name") or entry.get("uri") or entry.get("uriTemplate") for entry in entries]
