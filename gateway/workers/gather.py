"""The operators' pages where there are several workers: what each of them knows, in one answer.

Numbers are summed (of times in milliseconds the longest is told), lists are joined with each
entry's worker in it. What is shared is asked of one alone (`/api/costs`). A worker that does not
answer in time is listed under `missing`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, cast
from urllib.parse import parse_qs

import orjson

from gateway.downstream.exchange import Scope, Send, respond
from gateway.wire import jsonrpc
from gateway.wire.jsonrpc import Json
from gateway.workers.forward import Fetched, Forwarder
from gateway.workers.ownership import Seat

PAGES: Final = frozenset({"/api/servers", "/api/calls", "/api/llm", "/api/decisions"})
_JSON: Final = [(b"content-type", b"application/json")]

Parts = Sequence[tuple[int, Json]]
"""What each worker that answered says, with its number."""


async def gathered(forwarder: Forwarder, seat: Seat, scope: Scope, send: Send) -> None:
    """Answer one GET request for all workers; a refusal of this worker's stands for all."""
    asked = await asyncio.gather(*(forwarder.fetch(index, scope) for index in range(seat.count)))
    own = asked[seat.index]
    if own is None or own.status != 200:
        await _refused(own, send)
        return
    parts = [
        (index, orjson.loads(one.body))
        for index, one in enumerate(asked)
        if one is not None and one.status == 200
    ]
    shown = _ways.get(scope["path"], merged)(parts)
    if scope["path"] == "/api/decisions":
        shown["decisions"] = shown["decisions"][: _limit(scope)]
    missing = sorted(set(range(seat.count)) - {index for index, _ in parts})
    if missing:
        shown["missing"] = missing
    await respond(send, 200, jsonrpc.encode(shown), _JSON)


async def _refused(own: Fetched | None, send: Send) -> None:
    if own is None:
        await respond(send, 503, jsonrpc.encode({"error": "this worker does not answer; ask again"}), _JSON)
        return
    headers = [(name, value) for name, value in own.headers if name.lower() != b"content-length"]
    await respond(send, own.status, own.body, headers)


def merged(parts: Parts) -> Json:
    """Return what several workers say as one: see the module."""
    return {
        name: _merge(name, [(index, said[name]) for index, said in parts if name in said])
        for name in parts[0][1]
    }


def calls(parts: Parts) -> Json:
    """Return the sums over all workers, and what each has."""
    return {**merged(parts), "workers": [{"worker": index, **said} for index, said in parts]}


def decisions(parts: Parts) -> Json:
    """Return the decisions of all workers, newest first."""
    shown = merged(parts)
    shown["decisions"].sort(key=itemgetter("at"), reverse=True)
    return shown


_ways: Final = {"/api/calls": calls, "/api/decisions": decisions}


def _merge(name: str, values: Sequence[tuple[int, Any]]) -> Any:
    first = values[0][1]
    if isinstance(first, bool) or first is None or isinstance(first, str):
        return first if all(value == first for _, value in values) else [value for _, value in values]
    if isinstance(first, int | float):
        # Times do not add up; the longest is the one to look at.
        return (max if name.endswith("_ms") else sum)(value for _, value in values)
    if isinstance(first, dict):
        return merged(cast("Parts", values))
    return [_told_by(index, entry) for index, entries in values for entry in entries]


def _told_by(index: int, entry: Any) -> Any:
    return {**cast("Mapping[str, Any]", entry), "worker": index} if isinstance(entry, dict) else entry


def _limit(scope: Scope) -> int:
    """Return how many decisions were asked for; this worker has found that it is a number."""
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    return int(query.get("limit", ["100"])[-1])
