"""Reading one list of a server whole, page by page, within bounds."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, cast

from gateway.calls.model import Json
from gateway.errors import PeerError
from gateway.upstream.port import Connection
from gateway.wire import jsonrpc

logger = logging.getLogger(__name__)

_LONGEST = 10**12
"""Milliseconds that are as good as for ever."""


@dataclass(frozen=True, slots=True)
class ListingBounds:
    """Most pages, entries and bytes (as JSON) of one list; what a server lists beyond is left out."""

    pages: int = 500
    entries: int = 50_000
    size: int = 64 * 1024 * 1024


async def read_all(
    connection: Connection, method: str, member: str, bounds: ListingBounds
) -> tuple[tuple[Json, ...], float | None, bool]:
    """Return all entries of all pages, the shortest time to live in seconds, if any, and if all are public.

    Entries that are not objects are dropped. Bounded, and safe against cursors that go round; what
    is left out is logged with the setting that bounds it.

    Raises:
        PeerError, ConnectionLost: as for any request.
    """
    entries: list[Json] = []
    cursors: set[str] = set()
    params: Json = {}
    ttl: float | None = None
    public = True
    size = 0
    for _ in range(bounds.pages):
        page = await connection.call(method, dict(params))
        if not isinstance(page, dict) or not isinstance(page.get(member), list):
            raise PeerError(-32603, f"the result has no list '{member}'")
        cursor = page.get("nextCursor")
        size += len(jsonrpc.encode([page[member], cursor]))
        if size > bounds.size:
            return (
                _cut(connection, method, entries, "limits.max_message_bytes bounds a whole list too"),
                ttl,
                public,
            )
        entries += [
            cast("Json", entry) for entry in cast("list[Any]", page[member]) if isinstance(entry, dict)
        ]
        ttl = _shortest(ttl, page.get("ttlMs"))
        public = public and page.get("cacheScope") == "public"
        if len(entries) > bounds.entries:
            kept = entries[: bounds.entries]
            return _cut(connection, method, kept, "more than limits.max_listing_entries"), ttl, public
        if not isinstance(cursor, str):
            return tuple(entries), ttl, public
        if cursor in cursors:
            return _cut(connection, method, entries, "a page comes twice"), ttl, public
        cursors.add(cursor)
        params = {"cursor": cursor}
    return _cut(connection, method, entries, "more pages than limits.max_listing_pages"), ttl, public


def _cut(connection: Connection, method: str, kept: list[Json], why: str) -> tuple[Json, ...]:
    logger.warning(
        "server '%s': %s does not end (%s); the first %d entries are used",
        connection.server,
        method,
        why,
        len(kept),
    )
    return tuple(kept)


def _shortest(ttl: float | None, value: object) -> float | None:
    """Fold one page's `ttlMs` in; a negative one counts as 0 (2026-07-28, server/utilities/caching)."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ttl
    seconds = min(max(0, value), _LONGEST) / 1000
    return seconds if ttl is None else min(ttl, seconds)
