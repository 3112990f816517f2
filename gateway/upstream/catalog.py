"""What all servers offer together, as one caller sees it, and who owns what a call names.

When does a client wait? A listing asks every *connected* server whose listing is not at hand,
all at once, at most `listing_wait` seconds (5); one that is slower shows what was known of it
and clients hear `list_changed` when there is more. A server that is down contributes nothing
and costs no time. While the gateway itself starts, for the first `start_grace` seconds (5) of
its life, listings also wait for the servers' first attempt to connect, so that a client that
starts the gateway sees the tools of servers that start normally. After that no client ever
waits for a server that it does not call.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from gateway.calls.model import Caller, Json, Nobody, Profile
from gateway.errors import InvalidCall, ServerUnavailable, UnknownTarget
from gateway.upstream.clock import Clock, all_done
from gateway.upstream.extensions import Extensions
from gateway.upstream.index import Index, Member, Owned, build
from gateway.upstream.listings import Part
from gateway.upstream.unit import Unit
from gateway.upstream.visible import filtered, notes, visible

logger = logging.getLogger(__name__)

_LOOKED_AT: Final = 500
"""Names that a misspelt one is compared with: comparing costs time, and anybody can misspell."""

_URI_METHODS: Final = frozenset({"resources/read", "resources/subscribe", "resources/unsubscribe"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where a call goes: `params` under the server's own names, `exposed` as the client named it.

    `annotations` are the hints that the server gives of a tool (`ToolAnnotations`).
    """

    server: str
    params: Json
    exposed: str
    annotations: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the gateway says of all servers together when a client connects.

    `capabilities` are ServerCapabilities as a handshake server declares them; `complete` says that
    no server is missing from it.
    """

    capabilities: Json
    instructions: str | None
    complete: bool


@dataclass(frozen=True, slots=True)
class View:
    """Merged listings as one caller sees them: configuration order, then each server's own.

    Entries are raw but for the exposed names of tools and prompts.
    """

    tools: tuple[Json, ...]
    prompts: tuple[Json, ...]
    resources: tuple[Json, ...]
    templates: tuple[Json, ...]
    capabilities: Json
    instructions: str | None
    _tools: Mapping[str, Owned] = field(default_factory=dict[str, Owned], repr=False)

    def tool(self, name: str) -> Json | None:
        """Return one tool by its exposed name."""
        owned = self._tools.get(name)
        return owned.entry if owned is not None and owned.up else None


_Key = tuple[Profile, bool, bool, bool, str | None]


class Catalog:
    """The servers' listings, merged."""

    def __init__(
        self, units: Mapping[str, Unit], extensions: Extensions, clock: Clock, start_grace: float
    ) -> None:
        self._units = units
        self._extensions = extensions
        self._clock = clock
        self._start_grace = start_grace
        self._open_until = clock.now() + start_grace
        self._indexes: dict[_Key, Index] = {}
        self._views: dict[_Key, View] = {}
        self._clashes: set[str] = set()

    def began(self) -> None:
        """Note that the servers begin to start now."""
        self._open_until = self._clock.now() + self._start_grace

    def touch(self) -> None:
        """Forget what was merged: something it is made of has changed."""
        self._indexes.clear()
        self._views.clear()

    def clashes(self) -> tuple[str, ...]:
        """Return what is hidden behind another server's entry of the same name, in words, as seen so far."""
        return tuple(sorted(self._clashes))

    def hidden(self) -> tuple[str, ...]:
        """Return, in words, which tools of connected servers are hidden, and patterns that match none."""
        listed = ((unit.config, unit.listing(Nobody())) for unit in self._units.values() if unit.up)
        return tuple(note for config, listing in listed if listing for note in notes(config, listing))

    async def greeting(self) -> Greeting:
        """Return capabilities and instructions, without listing anything."""
        await self._started()
        return self._greeting()

    async def view(self, caller: Caller) -> View:
        """Return the merged listing for a caller; the module's docstring says when this waits."""
        await self._started()
        await self._refresh(self._units.values(), caller)
        key = self._key(caller)
        if key not in self._views:
            index = self._index(caller)
            greeting = self._greeting()
            self._views[key] = View(
                tools=_shown(index.tools),
                prompts=_shown(index.prompts),
                resources=_shown(index.resources),
                templates=_shown(index.templates),
                capabilities=greeting.capabilities,
                instructions=greeting.instructions,
                _tools=index.tools,
            )
        return self._views[key]

    def caching(self, part: Part, caller: Caller) -> Json:
        """Return the caching hints of one merged list as `view` has it now.

        `ttlMs` is the shortest that is left of any server's. A server that gives none, as all of
        the handshake era, counts as 0, as does one that is down: what it has may come at any
        time. `cacheScope` is public only if all of it is, and nothing is left out of it.
        """
        left = [0.0 for unit in self._units.values() if not unit.up]
        public: list[bool] = []
        for unit in self._units.values():
            hint = unit.hint(part, caller) if unit.up else None
            if hint is not None:
                # By a clock that is read later than the hint: what has expired has nothing left.
                left.append(0.0 if hint.expires is None else max(0.0, hint.expires - self._clock.now()))
                public.append(hint.public and not (part == "tools" and filtered(unit.config)))
        scope = "public" if public and all(public) else "private"
        return {"ttlMs": int(1000 * min(left, default=0.0)), "cacheScope": scope}

    async def tool(self, name: str, caller: Caller) -> Json | None:
        """Return one tool by its exposed name, waiting for no server but its own; None if there is none."""
        if self._find("tool", name, caller) is None:
            await self._ask_candidates(name, caller)
        return self.known_tool(name, caller)

    def known_tool(self, name: str, caller: Caller) -> Json | None:
        """Return one tool by its exposed name, if it is listed already; None otherwise."""
        owned = self._find("tool", name, caller)
        return owned.entry if owned is not None and owned.up else None

    async def locate(self, method: str, params: Json, caller: Caller) -> Target:
        """Find the owner of what a call names, and restore the server's own name for it.

        Raises:
            UnknownTarget: no server has it.
            ServerUnavailable: the owner is not up; names it, and why.
            InvalidCall: the parameters name nothing.
        """
        if method in _URI_METHODS:
            uri = _text(params, "uri", method)
            return Target(await self._owner_of_uri(uri, caller), params, uri)
        if method == "completion/complete":
            return await self._locate_reference(params, caller)
        name = _text(params, "name", method)
        owned = await self._owner_of_name("prompt" if method == "prompts/get" else "tool", name, caller)
        own = params if owned.name == name else {**params, "name": owned.name}
        return Target(owned.server, own, name, _annotations(owned.entry))

    def server_of(self, method: str, params: Json, caller: Caller) -> str | None:
        """Return the owner of what a call names, if it is listed already."""
        if method in ("tools/call", "prompts/get"):
            owned = self._find(
                "tool" if method == "tools/call" else "prompt", str(params.get("name")), caller
            )
            return None if owned is None else owned.server
        uri = params.get("uri")
        return self._index(caller).owner_of_uri(uri) if isinstance(uri, str) else None

    def _index(self, caller: Caller) -> Index:
        key = self._key(caller)
        index = self._indexes.get(key)
        if index is None:
            members = [
                Member(unit.name, unit.config.prefix, visible(unit.config, listing), unit.up)
                for unit in self._units.values()
                if (listing := unit.listing(caller)) is not None
            ]
            index = self._indexes[key] = build(members)
            self._report(index)
        return index

    def _report(self, index: Index) -> None:
        for clash in map(str, index.clashes):
            if clash not in self._clashes:
                self._clashes.add(clash)
                logger.warning("%s", clash)

    def _greeting(self) -> Greeting:
        seen = [
            (unit.name, hello.capabilities)
            for unit in self._units.values()
            if (hello := unit.supervisor.hello) is not None
        ]
        # A server that was never seen may yet come to offer anything.
        unseen = len(seen) < len(self._units)

        def offered(capability: str, feature: str | None = None) -> bool:
            own = [declared[capability] for _, declared in seen if capability in declared]
            return unseen or any(feature is None or _has(value, feature) for value in own)

        capabilities: Json = {"tools": {"listChanged": True}}
        if offered("prompts"):
            capabilities["prompts"] = {"listChanged": True}
        if offered("resources"):
            capabilities["resources"] = {"subscribe": offered("resources", "subscribe"), "listChanged": True}
        capabilities |= {name: {} for name in ("completions", "logging") if offered(name)}
        capabilities |= self._extensions.merged(seen)
        instructions = [
            f"# {unit.name}\n\n{unit.instructions}"
            for unit in self._units.values()
            if unit.up and unit.instructions
        ]
        complete = all(unit.up for unit in self._units.values())
        return Greeting(capabilities, "\n\n".join(instructions) or None, complete)

    def _key(self, caller: Caller) -> _Key:
        """Return all of a caller that decides what is declared for it, and so what it sees."""
        identity = caller.identity
        own = identity.session and any(unit.listings.differs(identity.key) for unit in self._units.values())
        return (
            self._extensions.known(caller.profile),
            caller.defers,
            identity.session is not None,
            identity.principal is not None,
            identity.key if own else None,
        )

    async def _started(self) -> None:
        left = self._open_until - self._clock.now()
        starting = [unit for unit in self._units.values() if not unit.settled.is_set()]
        if left <= 0 or not starting:
            return
        waits = [asyncio.ensure_future(unit.settled.wait()) for unit in starting]
        try:
            await all_done(waits, left, self._clock)
        finally:
            for wait in waits:
                wait.cancel()

    async def _owner_of_name(self, what: str, name: str, caller: Caller) -> Owned:
        owned = self._find(what, name, caller)
        if owned is None:
            candidates = await self._ask_candidates(name, caller)
            owned = self._find(what, name, caller)
            if owned is None:
                for unit in candidates:
                    await unit.check(caller)
                raise self._unknown(what, name, caller)
        await self._units[owned.server].check(caller)
        return owned

    def _find(self, what: str, name: str, caller: Caller) -> Owned | None:
        index = self._index(caller)
        return (index.tools if what == "tool" else index.prompts).get(name)

    async def _ask_candidates(self, name: str, caller: Caller) -> list[Unit]:
        """Ask those servers to list anew whose prefix the unknown name bears, else those without any.

        Returns the ones whose prefix it bears.
        """
        named = [u for u in self._units.values() if u.config.prefix and name.startswith(u.config.prefix)]
        if named:
            await asyncio.gather(*(unit.begun() for unit in named))
        else:
            await self._started()
        asked = named or [unit for unit in self._units.values() if not unit.config.prefix]
        await self._refresh(asked, caller)
        return named

    async def _refresh(self, units: Iterable[Unit], caller: Caller) -> None:
        """Have connected servers list what is not at hand, all at once."""
        due = [unit for unit in units if unit.up and not unit.listings.fresh(unit.slot(caller))]
        await asyncio.gather(*(unit.refresh(caller) for unit in due))

    def _unknown(self, what: str, name: str, caller: Caller) -> UnknownTarget:
        index = self._index(caller)
        names = [
            known for known, owned in (index.tools if what == "tool" else index.prompts).items() if owned.up
        ]
        near = difflib.get_close_matches(name[:100], names[:_LOOKED_AT], n=1)
        down = [unit.name for unit in self._units.values() if not unit.up]
        return UnknownTarget(
            f"no server has a {what} '{name[:200]}'"
            + (f"; did you mean '{near[0]}'?" if near else "")
            + (f" (not connected now: {', '.join(down)})" if down else "")
        )

    async def _owner_of_uri(self, uri: str, caller: Caller) -> str:
        server = self._index(caller).owner_of_uri(uri)
        if server is None:
            waiting = [unit for unit in self._units.values() if not unit.up]
            if len(waiting) == 1 and len(self._units) == 1:
                raise ServerUnavailable(waiting[0].name, waiting[0].supervisor.reason)
            raise UnknownTarget(f"no server has resources, so none owns '{uri[:200]}'")
        await self._units[server].check(caller)
        return server

    async def _locate_reference(self, params: Json, caller: Caller) -> Target:
        ref = params.get("ref")
        if not isinstance(ref, dict):
            raise InvalidCall("completion/complete: the parameter 'ref' is not an object")
        fields = cast("Json", ref)
        if fields.get("type") == "ref/resource":
            uri = _text(fields, "uri", "completion/complete")
            return Target(await self._owner_of_uri(uri, caller), params, uri)
        name = _text(fields, "name", "completion/complete")
        owned = await self._owner_of_name("prompt", name, caller)
        return Target(owned.server, {**params, "ref": {**fields, "name": owned.name}}, name)


def _shown(entries: Mapping[str, Owned]) -> tuple[Json, ...]:
    return tuple(owned.entry for owned in entries.values() if owned.up)


def _annotations(entry: Json) -> tuple[tuple[str, bool], ...]:
    said = entry.get("annotations")
    hints = cast("Json", said).items() if isinstance(said, dict) else ()
    return tuple((name, value) for name, value in hints if isinstance(value, bool))


def _has(value: Any, feature: str) -> bool:
    return isinstance(value, dict) and bool(cast("Json", value).get(feature))


def _text(params: Json, name: str, method: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidCall(f"{method}: the parameter '{name}' is missing or not a string")
    return value
