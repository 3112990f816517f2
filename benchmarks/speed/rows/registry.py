"""Every measurement, in the order of the table, by the name that `--only` takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from benchmarks.speed.figures import Row
from benchmarks.speed.rows import flatness, loads, memory, overload, policy, questions, start
from benchmarks.speed.stand import Stand

Measure = Callable[[Stand], Awaitable[list[Row]]]

ROWS: Mapping[str, Measure] = {
    "modern": loads.modern,
    "handshake": loads.handshake,
    "stdio": loads.stdio,
    "listings": loads.listings,
    "start": start.start,
    "questions": questions.measure,
    "flatness": flatness.measure,
    "policy": policy.measure,
    "memory": memory.measure,
    "overload": overload.measure,
}
