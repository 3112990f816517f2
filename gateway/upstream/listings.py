"""What one server lists: fetched whole, kept per declared profile, fetched again when it changed."""

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

Lend = Callable[[Profile, Caller | None], AbstractAsyncContextManager[Connection]]
"""Lends a connection that was dialed with a profile, on behalf of a caller if need be."""


@dataclass(slots=True, eq=False)
class _Record:
    """What is known of the listing for one profile.

    `stale` are the parts to fetch again, `expires` when a part's time to live ends.
    `behind` says that callers went on without waiting for the fetch; `announced` are the
    stale parts whose change clients have been told of.
    """

    listing: Listing | None = None
    stale: set[Part] = field(default_factory=lambda: set[Part](PARTS))
    expires: dict[Part, float] = field(default_factory=dict[Part, float])
    task: asyncio.Task[None] | None = None
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
        self._records: dict[Profile, _Record] = {}
        self._seen_since_news: set[Part] = set()

    def known(self, *profiles: Profile) -> Listing | None:
        """Return the last known listing for the first of these profiles that has one."""
        records = (self._records.get(profile) for profile in profiles)
        return next((record.listing for record in records if record is not None and record.listing), None)

    def fresh(self, profile: Profile) -> bool:
        """Whether the listing for a profile needs no fetch."""
        record = self._records.get(profile)
        if record is None or record.task is not None:
            return False
        self._age(record)
        return not record.stale

    async def refresh(self, profile: Profile, caller: Caller | None) -> None:
        """Bring the listing for a profile up to date, waiting for it within bounds.

        Only the first callers wait for a slow server, together and once: while a fetch that
        outlasted `wait` goes on, or after one that failed, callers get what is known at once,
        and `on_change` tells when there is more.
        """
        record = self._records.setdefault(profile, _Record())
        self._age(record)
        if record.task is None:
            if not record.stale:
                return
            record.began = self._clock.now()
            record.task = asyncio.create_task(self._fetch(record, profile, caller))
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

    def invalidate(self, parts: Iterable[Part]) -> bool:
        """Note that parts have changed at the server; True if this is news to those who listed."""
        changed = set(parts)
        for record in self._records.values():
            record.stale |= changed
            record.announced |= changed
        news = bool(changed & self._seen_since_news)
        self._seen_since_news -= changed
        return news

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
        record.stale |= {part for part, end in record.expires.items() if now >= end}

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
        ttl: float | None = None
        if capability in connection.hello.capabilities:
            try:
                entries, ttl = await read_all(connection, method, member, self._bounds)
            except PeerError as error:
                if error.code != METHOD_NOT_FOUND:
                    logger.warning("server '%s' answered %s with an error: %s", self._server, method, error)
                    return False
        record.expires.pop(part, None)
        if ttl is not None:
            record.expires[part] = self._clock.now() + ttl
        record.listing = _with(record.listing or Listing(), part, entries, connection)
        return True

    def _settle(self, record: _Record, before: Listing | None, *, failed: bool) -> None:
        behind, record.behind = record.behind, failed
        announced, record.announced = record.announced, set()
        changed: set[Part] = {
            part for part in PARTS if _entries(before, part) != _entries(record.listing, part)
        }
        if changed or (before is None) != (record.listing is None):
            self._touch()
        # Those who waited for this fetch have its result, and a change that the server told
        # of has been passed on already.
        news = changed if behind else changed - announced if before is not None else set[Part]()
        if news:
            self._on_change(news)


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
