"""The benchmark's processes: started on chosen cores, awaited, measured, paused and ended as groups."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

START = 180.0
"""Seconds a process has to open its port; the slowest takes twenty, and a busy machine longer."""
STOP = 5.0
POLL = 0.002
SERVER = "benchmarks.speed.upstream_stdio"
"""The module of the server that gateways start themselves."""


class DidNotStart(Exception):
    """A process ended, or opened no port, in time; says what it wrote last."""


@dataclass(frozen=True)
class Pinning:
    """Which cores the gateway under test runs on, and which load and upstream share."""

    gateway: frozenset[int]
    load: frozenset[int]
    words: str


def pinning(cores: Sequence[int] | None = None) -> Pinning:
    """Choose the cores: two, the gateway under test alone on the first, everything else on the second."""
    have = sorted(os.sched_getaffinity(0) if cores is None else cores)
    if len(have) == 1:
        only = frozenset(have)
        return Pinning(only, only, f"one core only (core {have[0]}): gateway, load and upstream share it")
    spare = f"; {len(have) - 2} of {len(have)} cores left idle" if len(have) > 2 else ""
    words = f"gateway under test alone on core {have[0]}, load and upstream on core {have[1]}{spare}"
    return Pinning(frozenset(have[:1]), frozenset(have[1:2]), words)


@dataclass(frozen=True)
class Memory:
    """What a process and those below it hold, in bytes: resident, with shared pages divided, unshared."""

    rss: int
    pss: int
    uss: int


@dataclass
class Process:
    """A running process and its group; `log` is what it writes, `began` when it was started."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    began: float
    port: int = 0

    def memory(self) -> Memory:
        """Measure it with all its children, the benchmark's own server left out."""
        rss = pss = uss = 0
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                # A gateway may be told of the server on its own command line.
                if process.pid != self.popen.pid and SERVER in process.cmdline():
                    continue
                held = process.memory_full_info()
                rss, pss, uss = rss + held.rss, pss + held.pss, uss + held.uss
        return Memory(rss, pss, uss)

    def tree(self) -> list[psutil.Process]:
        """The process and everything below it."""
        try:
            root = psutil.Process(self.popen.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def pause(self) -> None:
        """Stop it from running, so that it costs those that are measured nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run again."""
        self._signal(signal.SIGCONT)

    async def stop(self) -> None:
        """End the whole group, kindly and then not, children that left the group included."""
        below = self.tree()
        self.resume()
        self._signal(signal.SIGTERM)
        await asyncio.to_thread(psutil.wait_procs, below, STOP)
        for process in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._signal(signal.SIGKILL)
        await asyncio.to_thread(self.popen.wait)

    def last_words(self, lines: int = 15) -> str:
        """The end of what it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _signal(self, number: int) -> None:
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def start(
    name: str,
    command: Sequence[str | Path],
    *,
    cores: frozenset[int],
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    port: int = 0,
) -> Process:
    """Start a process in a group of its own on the given cores; `env` is added to this process's."""
    began = time.perf_counter()
    with log.open("ab") as out:
        popen = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    return Process(name, popen, log, began, port)


async def listening(process: Process, seconds: float = START) -> None:
    """Wait until something accepts connections on the process's port.

    Raises:
        DidNotStart: it ended first, or took too long.
    """
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        if process.popen.poll() is not None:
            code = process.popen.returncode
            raise DidNotStart(f"{process.name} ended with status {code}:\n{process.last_words()}")
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", process.port)
            writer.close()
            return
        await asyncio.sleep(POLL)
    raise DidNotStart(f"{process.name} opened no port within {seconds:g} s:\n{process.last_words()}")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
