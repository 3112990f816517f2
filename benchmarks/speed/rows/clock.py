"""How the rows that are driven from Python take their samples."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks.speed.driver import Ended
from benchmarks.speed.processes import Process

Work = Callable[[], Awaitable[Ended]]


async def seconds(work: Work) -> float:
    """Do something once, check that it ended well, and return how long it took."""
    began = time.perf_counter()
    ended = await work()
    took = time.perf_counter() - began
    assert ended.ok, ended.message
    return took


async def interleaved(works: Sequence[Work], rounds: int) -> list[float]:
    """Do several things in turns, and return the median seconds of each."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for samples, work in zip(taken, works, strict=True):
            samples.append(await seconds(work))
    return [statistics.median(samples) for samples in taken]


def cpu_seconds(process: Process) -> float:
    """Processor time that a process and its children have had, to the nanosecond where the system says."""
    total = 0
    for each in process.tree():
        for task in Path(f"/proc/{each.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9
