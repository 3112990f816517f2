"""What is left of the gateway's goodput when three times as much is asked of it as it can do.

The load is `hey`'s, whose requests cost it little: those of 2,048 users who each want something several
times a second, give up after some seconds, and come back with the next whatever became of the last. Only
clients of 2026-07-28 are played: they are refused by HTTP status, which is all that hey looks at.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed import load
from benchmarks.speed.figures import Row, Samples
from benchmarks.speed.gateways.port import Behind, NotInstalled
from benchmarks.speed.gateways.registry import BACKCHANNEL
from benchmarks.speed.rows.clock import cpu_seconds
from benchmarks.speed.stand import Running, Stand

TIMES = 3
PEAK = 64
"""Users at which the peak is taken: as many as keep the gateway busy, and no more."""
MOST = 2048
LIMIT = 5
"""Seconds after which a user gives up; the SDKs of MCP wait for a minute and longer."""
SECONDS = 8
UNITS = {
    "peak": "calls/s",
    "offered": "calls/s",
    "goodput": "calls/s",
    "of the peak": "%",
    "refused": "/s",
    "given up": "/s",
    "gateway busy": "%",
}

_STATUS = re.compile(r"^\s*\[(\d{3})\]\s+(\d+) responses$", re.MULTILINE)
_FAILED = re.compile(r"^\s*\[(\d+)\]\s+(?:Post|Get) ", re.MULTILINE)


@dataclass(frozen=True)
class Tally:
    """What came of one load, a second: answers in time, refusals, and requests that were given up."""

    good: float
    refused: float
    given_up: float


def parse(output: str, seconds: float) -> Tally:
    """Read hey's report."""
    by_status = {int(status): int(count) for status, count in _STATUS.findall(output)}
    good = by_status.pop(200, 0)
    lost = sum(int(count) for count in _FAILED.findall(output))
    return Tally(good / seconds, sum(by_status.values()) / seconds, lost / seconds)


async def measure(stand: Stand) -> list[Row]:
    """Find the peak with users who wait, then have three times as much asked by users who do not."""
    samples = Samples(f"goodput at {TIMES} times the capacity, modern, time-out {LIMIT} s", UNITS)
    seconds = 2 if stand.options.quick else SECONDS
    for _ in range(stand.options.runs):
        try:
            async with stand.running(BACKCHANNEL, Behind("modern")) as running:
                await _run(running, samples, seconds, stand.folder)
        except NotInstalled as error:
            samples.refuse(BACKCHANNEL.name, str(error))
            break
    return samples.rows([BACKCHANNEL.name])


async def _run(running: Running, samples: Samples, seconds: int, folder: Path) -> None:
    assert running.process is not None
    peak = (await _hey(running, PEAK, None, seconds, folder)).good
    each = math.ceil(TIMES * peak / MOST)
    before = cpu_seconds(running.process)
    tally = await _hey(running, MOST, each, seconds, folder)
    samples.add(
        BACKCHANNEL.name,
        **{
            "peak": peak,
            "offered": float(each * MOST),
            "goodput": tally.good,
            "of the peak": tally.good / peak * 100,
            "refused": tally.refused,
            "given up": tally.given_up,
            "gateway busy": (cpu_seconds(running.process) - before) / seconds * 100,
        },
    )


async def _hey(running: Running, users: int, each: int | None, seconds: int, folder: Path) -> Tally:
    """Let `users` ask for some seconds, each so many times a second, or as often as they are answered."""
    found = shutil.which("hey")
    if found is None:
        raise NotInstalled("hey is not installed: apt-get install hey")
    arguments = {"text": "overload", "count": 1}
    call = load.Call("tools/call", {"name": running.tools["echo"], "arguments": arguments}, ("overload",))
    shot = load.modern(running.launched.url, call, running.launched.headers)
    body = folder / "overload.json"
    body.write_text(json.dumps(shot.message).replace(f'"{load.NUMBER}"', "1"))
    command = [found, "-z", f"{seconds}s", "-c", str(users), "-t", str(LIMIT), "-m", "POST"]
    command += ["-T", "application/json", "-D", str(body)]
    command += ["-q", str(each)] if each is not None else []
    for name, value in shot.headers[0].items():
        command += ["-H", f"{name}: {value}"]
    process = await asyncio.create_subprocess_exec(
        *command,
        running.launched.url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "GOMAXPROCS": "1"},
    )
    out, _ = await process.communicate()
    return parse(out.decode(errors="replace"), seconds)
