"""What one server lists: fetched whole, kept, fetched again when it changed or its time is over.

There is one record for each declared profile, which all clients share, and one for each client
session whose own connection has been listed: a server on such a connection may list what the
session has made of it. A session's record lives as long as its connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from gateway.calls.model import Caller, Json, Profile
from gateway.errors import BackchannelError, PeerError
from gateway.upstream.clock import Clock, all_done
from gateway.upstream.paging import ListingBounds, read_all
from gateway.upstream.port import Connection, Listing
from gateway.wire.jsonrpc import METHOD_NOT_FOUND

logger = logging.getLogger(__name__)

Part = Literal["tools", "prompts", "resources", "templates"]

PARTS: Final[tuple[Part, ...]] = ("tools", "prompts", "resources", "templates")

_METHODS: Final[Mapping[Part, tuple[str, str, str]]] = {
    # part: the capability that offers it, the method, the member of its result
    "tools": ("tools", "tools/list", "tools"),
    "prompts": ("prompts", "prompts/list", "prompts"),
    "resources": ("resources", "resources/list", "resources"),
    "templates": ("resources", "resources/templates/list", "resourceTemplates"),
}

Slot = tuple[Profile, str | None]
"""Whose listing: the profile declared, and the session (None: everybody's)."""

Lend = Callable[[Profile, Caller | None], AbstractAsyncContextManager[Connection]]
"""Lends a connection that was dialed with a profile, on behalf of a caller if need be."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What a server says of caching one list (2026-07-28, server/utilities/caching).

    `expires` is the clock's time from which on it is stale, None if the server gave no hint;
    `public` says that it is the same for everybody.
    """

    expires: float | None = None
    public: bool = False


@dataclass(slots=True, eq=False)
class _Record:
    """What is known of the listing for one slot.

    `stale` are the parts to fetch again, `hints` those of the parts that the server offers.
    `own` is the session on whose connection it is being fetched for everybody.
    `behind` says that callers went on without waiting for the fetch; `announced` are the
    stale parts whose change clients have been told of.
    """

    listing: Listing | None = None
    stale: set[Part] = field(default_factory=lambda: set[Part](PARTS))
    hints: dict[Part, Hint] = field(default_factory=dict[Part, Hint])
    task: asyncio.Task[None] | None = None
    own: str | None = None
    began: float = 0.0
    behind: bool = False
    announced: set[Part] = field(default_factory=set[Part])


class Listings:
    """The listings of one server.

    Args:
        lend: where connections come from.
        touch: called whenever what `known` returns may have changed.
        on_change: told which parts are now different from what callers were shown.
        timeout: seconds that one fetch may take.
        bounds: how much of one list is read.
        wait: seconds that a caller waits for one fetch, before what was known (or nothing) is used.
    """

    def __init__(
        self,
        server: str,
        lend: Lend,
        clock: Clock,
        touch: Callable[[], None],
        on_change: Callable[[set[Part]], None],
        *,
        timeout: float,
        wait: float,
        bounds: ListingBounds | None = None,
    ) -> None:
        self._server = server
        self._lend = lend
        self._clock = clock
        self._touch = touch
        self._on_change = on_change
        self._timeout = timeout
        self._wait = wait
        self._bounds = bounds or ListingBounds()
        self._records: dict[Slot, _Record] = {}
        self._differing: frozenset[str] = frozenset()
        self._seen_since_news: set[Part] = set()

    def known(self, *slots: Slot) -> Listing | None:
        """Return the last known listing of the first of these slots that has one."""
        record = self._first(slots)
        return None if record is None else record.listing

    def hint(self, part: Part, *slots: Slot) -> Hint | None:
        """Return what to tell of caching a part of `known`; None if the server offers no such part.

        A part that is due to be fetched again has expired.
        """
        record = self._first(slots)
        if record is None or (hint := record.hints.get(part)) is None:
            return None
        self._age(record)
        return replace(hint, expires=self._clock.now()) if part in record.stale else hint

    def differs(self, session: str) -> bool:
        """Whether the session's own connection lists anything else than others of the same profile."""
        return session in self._differing

    def fetching(self, profile: Profile, session: str | None) -> bool:
        """Whether a session's connection is being listed for everybody: then that is its own as well."""
        record = self._records.get((profile, None))
        return record is not None and record.task is not None and record.own == session

    def fresh(self, slot: Slot) -> bool:
        """Whether the listing of a slot needs no fetch."""
        record = self._records.get(slot)
        if record is None or record.task is not None:
            return False
        self._age(record)
        return not record.stale

    async def refresh(self, slot: Slot, caller: Caller | None, own: str | None = None) -> None:
        """Bring the listing of a slot up to date, waiting for it within bounds.

        Only the first callers wait for a slow server, together and once: while a fetch that
        outlasted `wait` goes on, or after one that failed, callers get what is known at once,
        and `on_change` tells when there is more. `own` is the session whose connection a fetch
        for everybody opens: what it lists there is the session's as well.
        """
        record = self._records.setdefault(slot, _Record())
        self._age(record)
        if record.task is None:
            if not record.stale:
                return
            record.began = self._clock.now()
            record.own = own
            record.task = asyncio.create_task(self._fetch(record, slot[0], caller))
        if record.behind:
            return
        left = record.began + self._wait - self._clock.now()
        if not await all_done([record.task], left, self._clock) and not record.behind:
            record.behind = True
            logger.warning(
                "server '%s' has not listed what it offers within %g s; going on without",
                self._server,
                self._wait,
            )

    def invalidate(self, parts: Iterable[Part], session: str | None = None) -> bool:
        """Note that parts have changed at the server; True if this is news to those who listed.

        With a session, on its own connection alone.
        """
        changed = set(parts)
        for (_, owner), record in self._records.items():
            if session in (None, owner):
                record.stale |= changed
                record.announced |= changed
        if session is not None:
            return True
        news = bool(changed & self._seen_since_news)
        self._seen_since_news -= changed
        return news

    def forget(self, session: str) -> bool:
        """Forget what a session's own connection listed; True if that was not what others see."""
        differed = session in self._differing
        for slot in [slot for slot in self._records if slot[1] == session]:
            del self._records[slot]
        self._differing -= {session}
        if differed:
            self._touch()
        return differed

    def expect_news(self) -> None:
        """Note that somebody new listens, who may have listed before the last change."""
        self._seen_since_news |= set(PARTS)

    def renew(self) -> None:
        """Note that the server was connected anew, which clients are told of: everything may differ."""
        self.invalidate(PARTS)
        for record in self._records.values():
            record.behind = False

    async def aclose(self) -> None:
        """Stop every fetch."""
        tasks = [record.task for record in self._records.values() if record.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _age(self, record: _Record) -> None:
        now = self._clock.now()
        record.stale |= {
            part for part, hint in record.hints.items() if hint.expires is not None and now >= hint.expires
        }

    def _first(self, slots: Iterable[Slot]) -> _Record | None:
        records = (self._records.get(slot) for slot in slots)
        return next((record for record in records if record is not None and record.listing), None)

    async def _fetch(self, record: _Record, profile: Profile, caller: Caller | None) -> None:
        """Fetch the stale parts; a failure leaves them stale, to be tried again on the next listing."""
        before = record.listing
        failed = set(record.stale)
        try:
            async with asyncio.timeout(self._timeout), self._lend(profile, caller) as connection:
                failed = await self._fetch_parts(record, connection)
        except TimeoutError:
            logger.warning("server '%s' did not list what it offers within %g s", self._server, self._timeout)
        except BackchannelError as error:
            logger.warning("server '%s' could not be listed: %s", self._server, error)
        finally:
            record.task = None
            record.stale |= failed
            if record.own is not None and not failed:
                self._records[profile, record.own] = _Record(
                    record.listing, set(record.stale), dict(record.hints)
                )
            self._settle(record, before, failed=bool(failed))

    async def _fetch_parts(self, record: _Record, connection: Connection) -> set[Part]:
        """Fetch what is stale, and once more what changes meanwhile; return what failed."""
        failed = set[Part]()
        for _ in range(2):
            parts: list[Part] = [part for part in PARTS if part in record.stale]
            record.stale -= set(parts)
            self._seen_since_news |= set(parts)
            for part in parts:
                if not await self._fetch_part(record, connection, part):
                    failed.add(part)
            if not record.stale:
                break
        return failed

    async def _fetch_part(self, record: _Record, connection: Connection, part: Part) -> bool:
        capability, method, member = _METHODS[part]
        entries: tuple[Json, ...] = ()
        hint: Hint | None = None
        if capability in connection.hello.capabilities:
            try:
                entries, ttl, public = await read_all(connection, method, member, self._bounds)
                if connection.hello.era == "handshake":
                    # What it has under these names is its own, and means nothing here.
                    ttl, public = None, False
                hint = Hint(None if ttl is None else self._clock.now() + ttl, public)
            except PeerError as error:
                if error.code != METHOD_NOT_FOUND:
                    logger.warning("server '%s' answered %s with an error: %s", self._server, method, error)
                    return False
        record.hints.pop(part, None)
        if hint is not None:
            record.hints[part] = hint
        record.listing = _with(record.listing or Listing(), part, entries, connection)
        return True

    def _settle(self, record: _Record, before: Listing | None, *, failed: bool) -> None:
        behind, record.behind = record.behind, failed
        announced, record.announced = record.announced, set()
        changed: set[Part] = {
            part for part in PARTS if _entries(before, part) != _entries(record.listing, part)
        }
        self._compare()
        if changed or (before is None) != (record.listing is None):
            self._touch()
        # Those who waited for this fetch have its result, and a change that the server told
        # of has been passed on already.
        news = changed if behind else changed - announced if before is not None else set[Part]()
        if news:
            self._on_change(news)

    def _compare(self) -> None:
        """Let sessions whose own connection lists what others see share it, and note the rest."""
        found: set[str] = set()
        for (profile, session), record in self._records.items():
            if session is None or record.listing is None:
                continue
            shared = self._records.get((profile, None))
            if shared is None or shared.listing is None or shared.listing != record.listing:
                found.add(session)
            else:
                record.listing = shared.listing
        differing = frozenset(found)
        if differing != self._differing:
            self._differing = differing
            self._touch()


def _entries(listing: Listing | None, part: Part) -> tuple[Json, ...]:
    if listing is None:
        return ()
    return {
        "tools": listing.tools,
        "prompts": listing.prompts,
        "resources": listing.resources,
        "templates": listing.templates,
    }[part]


def _with(listing: Listing, part: Part, entries: tuple[Json, ...], connection: Connection) -> Listing:
    if part == "tools":
        return replace(listing, tools=entries, hello=connection.hello)
    if part == "prompts":
        return replace(listing, prompts=entries, hello=connection.hello)
    if part == "resources":
        return replace(listing, resources=entries, hello=connection.hello)
    return replace(listing, templates=entries, hello=connection.hello)
