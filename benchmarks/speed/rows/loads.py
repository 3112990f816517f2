"""Calls under load by wrk: small ones of both eras, large results, streams, long listings, stdio behind."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.speed import load
from benchmarks.speed.driver import Broken, Handshake, Refused
from benchmarks.speed.figures import Row, Samples
from benchmarks.speed.gateways.port import Behind, NotInstalled
from benchmarks.speed.gateways.registry import DIRECT
from benchmarks.speed.load import NUMBER, Call, Load, LoadFailed, NoResponse, Shot
from benchmarks.speed.stand import Running, Stand
from benchmarks.speed.upstream_tools import BIG

UNITS = {"requests/s": "/s", "p50": "µs", "p99": "µs", "added p50": "µs"}
WARM_UP = 1.0
"""Seconds of load before anything is measured, once for each gateway and kind of call."""

ECHO = Call(
    "tools/call", {"name": "echo", "arguments": {"text": f"bench-{NUMBER}", "count": NUMBER}}, ("bench-",)
)
LARGE = Call("tools/call", {"name": "big", "arguments": {"count": NUMBER}}, ("x" * 1000,), least=BIG)
STEPS = Call(
    "tools/call",
    {"name": "progress", "arguments": {"steps": 100, "count": NUMBER}},
    ("100 steps", "step 99 of 100"),
    {"progressToken": NUMBER},
)
THOUSAND = 1000
LISTING = Call("tools/list", {}, ("0993",), least=THOUSAND * 100)

PATIENCE = 20.0
"""Seconds of load for a gateway that answers nothing in the usual time."""


@dataclass(frozen=True)
class Kind:
    """One measurement of a line-up."""

    title: str
    call: Call
    connections: int

    def named(self, behind: Behind) -> str:
        """What the table calls it."""
        s = "" if self.connections == 1 else "s"
        return f"{behind.era} {self.title}, {self.connections} connection{s}"


ECHOES = tuple(Kind("tools/call", ECHO, connections) for connections in (1, 16, 128))
WHOLE = (
    *ECHOES,
    Kind(f"{BIG // 1_000_000} MB result", LARGE, 4),
    Kind("100 progress notifications", STEPS, 4),
)


async def modern(stand: Stand) -> list[Row]:
    """2026-07-28 clients and server."""
    return await measure(stand, Behind("modern"), WHOLE)


async def handshake(stand: Stand) -> list[Row]:
    """Clients and server with sessions."""
    return await measure(stand, Behind("handshake"), WHOLE)


async def stdio(stand: Stand) -> list[Row]:
    """A stdio server behind, clients of both eras before."""
    kinds = [Kind("tools/call, stdio server", ECHO, connections) for connections in (1, 16)]
    rows: list[Row] = []
    for era in ("modern", "handshake"):
        rows += await measure(stand, Behind(era, "stdio"), kinds)
    return rows


async def listings(stand: Stand) -> list[Row]:
    """Listings of many tools, by clients of both eras."""
    rows: list[Row] = []
    for era in ("modern", "handshake"):
        kind = Kind(f"tools/list of {THOUSAND:,} tools", LISTING, 4)
        rows += await measure(stand, Behind(era, tools=THOUSAND), [kind])
    return rows


async def measure(stand: Stand, behind: Behind, kinds: Sequence[Kind]) -> list[Row]:
    """Load every player with each kind of call, gateways taking turns."""
    refused: dict[str, str] = {}
    rows: list[Row] = []
    most = max(kind.connections for kind in kinds)
    async with stand.lineup(behind, refused) as lineup:
        sessions: dict[str, list[str]] = {}
        for running in lineup:
            try:
                with stand.turn(running):
                    sessions[running.name] = await _sessions(running, most)
            except LoadFailed as error:
                stand.say(f"{running.name}: {error}")
                refused[running.name] = str(error)
        for kind in kinds:
            samples = Samples(kind.named(behind), UNITS, refused=dict(refused))
            await _take(stand, lineup, kind, samples, sessions)
            rows += samples.rows(stand.order)
    return rows


async def _take(
    stand: Stand,
    lineup: Sequence[Running],
    kind: Kind,
    samples: Samples,
    sessions: dict[str, list[str]],
) -> None:
    """Take the samples of one measurement: a warm-up, then run k of every gateway before run k+1."""
    for run in range(0 if stand.options.quick else -1, stand.options.runs):
        base: Load | None = None
        for running in lineup:
            if running.name in samples.refused:
                continue
            seconds = WARM_UP if run < 0 else stand.options.seconds
            try:
                with stand.turn(running):
                    shot = _shot(running, kind, sessions[running.name][: kind.connections])
                    taken = await _fire(shot, kind.connections, seconds, stand.folder)
            except (LoadFailed, NotInstalled) as error:
                stand.say(f"{kind.named(running.behind)}, {running.name}: {error}")
                samples.refuse(running.name, str(error))
                continue
            if running.name == DIRECT.name:
                base = taken
            if run < 0:
                continue
            samples.add(running.name, **{"requests/s": taken.rate, "p50": taken.p50, "p99": taken.p99})
            if base is not None and base is not taken:
                samples.add(running.name, **{"added p50": taken.p50 - base.p50})
        stand.say(
            f"{samples.measurement}: " + (f"run {run + 1} of {stand.options.runs}" if run >= 0 else "warm")
        )


async def _fire(shot: Shot, connections: int, seconds: float, folder: Path) -> Load:
    """Load a gateway; one that is too slow to answer anything in that time gets more of it."""
    try:
        return await load.fire(shot, connections, seconds, folder)
    except NoResponse:
        return await load.fire(shot, connections, PATIENCE, folder)


def _shot(running: Running, kind: Kind, sessions: Sequence[str]) -> Shot:
    call = kind.call
    if "name" in call.params:
        call = replace(call, params={**call.params, "name": running.tools[call.params["name"]]})
    launched = running.launched
    if running.behind.era == "modern":
        return load.modern(launched.url, call, launched.headers)
    return load.handshake(launched.url, call, launched.headers, sessions)


async def _sessions(running: Running, count: int) -> list[str]:
    """Open sessions at a gateway, as many as the most connections of a load.

    Raises:
        LoadFailed: it did not open them all.
    """
    if running.behind.era == "modern":
        return []
    opened: list[str] = []
    pool = running.pool()
    with contextlib.closing(pool):
        for _ in range(count):
            try:
                opened.append((await Handshake(pool, {}).open()).session)
            except (OSError, Broken, Refused, AssertionError) as error:
                raise LoadFailed(f"opened only {len(opened)} of {count} sessions: {error!r}") from error
    return opened
