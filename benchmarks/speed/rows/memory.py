"""What the gateway's process holds: for a session, a parked call, a large result, and much progress.

Each sample is of a gateway of its own, before which nothing but a warm-up of the same kind was done. What
is told is unshared memory (USS), which is what more of the same costs.
"""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import psutil

from benchmarks.speed.driver import Handshake, Modern
from benchmarks.speed.figures import Row, Samples
from benchmarks.speed.gateways.port import Behind, Era
from benchmarks.speed.gateways.registry import BACKCHANNEL
from benchmarks.speed.processes import Process
from benchmarks.speed.rows.flatness import idle_sessions
from benchmarks.speed.rows.questions import ERAS, config, opened
from benchmarks.speed.stand import Running, Stand
from benchmarks.speed.upstream_tools import BIG

SESSIONS = 2000
PARKED = 1000
WARM = 64
STEPS = 10_000
TOGETHER = 8
SETTLE = 2.0
"""Seconds for what is on its way to be over, and for the collector of the gateway to have run."""


async def measure(stand: Stand) -> list[Row]:
    """Measure all of it."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
    rows: list[Row] = []
    for listening in (False, True):
        rows += await _idle(stand, listening)
    for kind in ("sampling", "elicitation"):
        rows += await _parked(stand, kind)
    for era in ERAS:
        rows += await _large(stand, era, 1)
        rows += await _large(stand, era, TOGETHER)
        rows += await _progress(stand, era, slow=False)
    rows += await _progress(stand, "handshake", slow=True)
    return rows


async def _idle(stand: Stand, listening: bool) -> list[Row]:
    words = "with an open GET stream" if listening else "without a GET stream"
    samples = Samples(f"memory of an idle handshake session {words}", {"each": "KiB"})
    for _ in range(stand.options.runs):
        async with stand.running(BACKCHANNEL, Behind("handshake")) as running:
            pool = running.pool()
            await idle_sessions(pool, WARM, listening)
            before = await _settled(running)
            await idle_sessions(pool, SESSIONS, listening)
            after = await _settled(running)
            samples.add(BACKCHANNEL.name, each=(after - before) / SESSIONS / 1024)
            pool.close()
    return samples.rows([BACKCHANNEL.name])


async def _parked(stand: Stand, kind: str) -> list[Row]:
    """Park calls of modern clients at a handshake server, which takes a connection and session for each."""
    units = {"each": "KiB", "sockets each": ""}
    samples = Samples(f"memory of a parked call ({kind}), with its connection to the server", units)
    tool = {"sampling": "ask", "elicitation": "ask_elicit"}[kind]
    for _ in range(stand.options.runs):
        async with stand.running(BACKCHANNEL, _many_lanes()) as running:
            pool = running.pool()
            client = Modern(pool)
            room = asyncio.Semaphore(16)

            async def park(
                client: Modern = client, running: Running = running, room: asyncio.Semaphore = room
            ) -> None:
                async with room:
                    ended = await client.call(running.tools[tool], {})
                assert ended.result.get("resultType") == "input_required", ended.message

            await asyncio.gather(*(park() for _ in range(WARM)))
            before, sockets = await _settled(running), _sockets(running)
            await asyncio.gather(*(park() for _ in range(PARKED)))
            after = await _settled(running)
            each = (after - before) / PARKED / 1024
            samples.add(
                BACKCHANNEL.name, **{"each": each, "sockets each": (_sockets(running) - sockets) / PARKED}
            )
            pool.close()
    return samples.rows([BACKCHANNEL.name])


def _many_lanes() -> Behind:
    most = PARKED + WARM + 16
    limits = {"max_parked_calls": most, "max_parked_calls_per_client": most}
    more = config("client_forwarded")
    return Behind(
        "handshake",
        config={**more, "limits": limits},
        server={"max_lanes": most, "max_concurrent_questions": most},
    )


async def _large(stand: Stand, era: Era, together: int) -> list[Row]:
    """Call for a result of 1 MB, some at once, and watch the most that the process ever holds."""
    how = "one call" if together == 1 else f"{together} calls at once"
    units = {"most for each": "MB", "times its size": "x", "left after": "MB"}
    samples = Samples(f"extra memory of a 1 MB result, {how}, {era}", units)
    for _ in range(stand.options.runs):
        async with stand.running(BACKCHANNEL, Behind(era)) as running:
            pools = [running.pool() for _ in range(together)]
            clients = [await opened(pool, era) for pool in pools]
            big, echo = running.tools["big"], running.tools["echo"]
            for client in clients:
                assert (await client.call(echo, {"text": "warm"})).ok
            before = await _settled(running)
            assert running.process is not None
            held = _resident(running.process, "VmRSS")
            _forget_peak(running.process)
            ended = await asyncio.gather(*(client.call(big, {}) for client in clients))
            peak = _resident(running.process, "VmHWM")
            assert all(each.ok for each in ended), [each.message.get("error") for each in ended]
            after = await _settled(running)
            most = (peak - held) / together
            samples.add(
                BACKCHANNEL.name,
                **{
                    "most for each": most / 1e6,
                    "times its size": most / BIG,
                    "left after": (after - before) / 1e6,
                },
            )
            for pool in pools:
                pool.close()
    return samples.rows([BACKCHANNEL.name])


async def _progress(stand: Stand, era: Era, *, slow: bool) -> list[Row]:
    """Have a call tell of its progress very often, and see what the process has grown by after it."""
    reader = "a client that stops reading for a while" if slow else "a client that reads"
    words = f"growth by {STEPS:,} progress notifications to {reader}, {era}"
    samples = Samples(words, {"at most": "MB", "after": "MB", "told": ""})
    for _ in range(stand.options.runs):
        async with stand.running(BACKCHANNEL, Behind(era)) as running:
            pool = running.pool()
            client = await opened(pool, era)
            warm = await client.call(running.tools["progress"], {"steps": 500}, progressToken="warm")
            assert warm.ok, warm.message
            before = await _settled(running)
            assert running.process is not None
            held = _resident(running.process, "VmRSS")
            _forget_peak(running.process)
            told = await (_slowly(client, running) if slow else _told(client, running))
            peak = _resident(running.process, "VmHWM")
            after = await _settled(running)
            samples.add(
                BACKCHANNEL.name,
                **{"at most": (peak - held) / 1e6, "after": (after - before) / 1e6, "told": told},
            )
            pool.close()
    return samples.rows([BACKCHANNEL.name])


async def _told(client: Modern | Handshake, running: Running) -> int:
    ended = await client.call(running.tools["progress"], {"steps": STEPS}, progressToken="many")
    assert ended.ok, ended.message
    return ended.told


async def _slowly(client: Modern | Handshake, running: Running) -> int:
    """Read the first of it, then nothing until the gateway had all of it, then the rest."""
    assert isinstance(client, Handshake)
    reading = asyncio.ensure_future(_told(client, running))
    paused = False
    while not reading.done() and not paused:
        await asyncio.sleep(0.005)
        paused = client.pool.pause()
    await asyncio.sleep(SETTLE)
    client.pool.resume()
    return await reading


def _forget_peak(process: Process) -> None:
    """Begin to note anew the most that a process held (proc(5), `clear_refs`)."""
    Path(f"/proc/{process.popen.pid}/clear_refs").write_text("5")


def _resident(process: Process, field: str) -> int:
    """Return bytes from a process's status: VmRSS, what it holds, or VmHWM, the most it held."""
    for line in Path(f"/proc/{process.popen.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {field} in the status of {process.name}")


async def _settled(running: Running) -> int:
    """Wait a moment and return the process's unshared memory."""
    await asyncio.sleep(SETTLE)
    assert running.process is not None
    return running.process.memory().uss


def _sockets(running: Running) -> int:
    """How many sockets the gateway has open to the server behind it."""
    assert running.process is not None
    connections = psutil.Process(running.process.popen.pid).net_connections("tcp")
    return sum(
        1
        for each in connections
        if each.raddr and each.laddr.port != running.process.port and each.status == "ESTABLISHED"
    )
