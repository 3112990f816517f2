"""What is left of the gateway's goodput when three times as much is asked of it as it can do."""

from __future__ import annotations

import time

from benchmarks.speed.driver import Handshake, Modern, Pool, call_bytes
from benchmarks.speed.figures import Row, Samples
from benchmarks.speed.gateways.port import Behind
from benchmarks.speed.gateways.registry import BACKCHANNEL
from benchmarks.speed.open_loop import ClosedLoop, OpenLoop, Tally
from benchmarks.speed.rows.clock import cpu_seconds
from benchmarks.speed.rows.questions import ERAS
from benchmarks.speed.stand import Stand

TIMES = 3
PEAKS = (16, 64, 128)
"""Connections at which the peak is looked for."""
MOST = 2048
"""Connections that the clients open in the end, if they are not served."""
LIMIT = 1.0
"""Seconds after which a client gives a request up."""
SECONDS = 6.0
UNITS = {
    "peak": "calls/s",
    "offered": "calls/s",
    "goodput": "calls/s",
    "of the peak": "%",
    "refused": "/s",
    "timed out": "/s",
    "no connection": "/s",
    "gateway busy": "%",
}
"""Where the gateway is not busy all the time, it was the load or the server that could not do more."""


async def measure(stand: Stand) -> list[Row]:
    """Find the peak with load that waits, then offer three times that without waiting."""
    rows: list[Row] = []
    for era in ERAS:
        samples = Samples(f"goodput at {TIMES} times the capacity, {era}, time-out {LIMIT:g} s", UNITS)
        notes: list[str] = []
        for _ in range(stand.options.runs):
            async with stand.running(BACKCHANNEL, Behind(era)) as running:
                pool = running.pool()
                client = await running.client(pool)
                data = request(client, running.tools["echo"])
                peak = await _peak(pool, data, stand.options.seconds)
                load = OpenLoop(pool, data, TIMES * peak, MOST, LIMIT)
                assert running.process is not None
                before, began = cpu_seconds(running.process), time.perf_counter()
                tally = await load.run(2.0 if stand.options.quick else SECONDS)
                busy = (cpu_seconds(running.process) - before) / (time.perf_counter() - began) * 100
                pool.close()
            samples.add(BACKCHANNEL.name, **_columns(peak, tally), **{"gateway busy": busy})
            notes.append(_told(tally))
        for row in samples.rows([BACKCHANNEL.name]):
            rows.append(Row(row.measurement, row.gateway, row.figures, row.no, notes[-1:]))
    return rows


def request(client: Modern | Handshake, tool: str) -> bytes:
    """Return the bytes of one call of a tool, to be sent again and again."""
    return call_bytes(client, tool, {"text": "overload", "count": 1})


async def _peak(pool: Pool, data: bytes, seconds: float) -> float:
    tallies = [await ClosedLoop(pool, data, connections).run(seconds) for connections in PEAKS]
    return max(tally.rate for tally in tallies)


def _columns(peak: float, tally: Tally) -> dict[str, float]:
    return {
        "peak": peak,
        "offered": tally.sent / tally.seconds,
        "goodput": tally.rate,
        "of the peak": tally.rate / peak * 100,
        "refused": tally.refused.total() / tally.seconds,
        "timed out": tally.timed_out / tally.seconds,
        "no connection": (tally.unsent + tally.broken) / tally.seconds,
    }


def _told(tally: Tally) -> str:
    by_status = ", ".join(f"{count} with HTTP {status}" for status, count in sorted(tally.refused.items()))
    return (
        f"of {tally.sent} requests {tally.good} were answered, refused: {by_status or 'none'} "
        f"({tally.without_retry_after} without Retry-After), {tally.timed_out} timed out, "
        f"{tally.broken} broke, {tally.unsent} found no connection"
    )
