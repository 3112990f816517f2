"""Server subprocesses for tests, and what is left of them afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

ASKING = Path(__file__).parent / "servers" / "asking.py"
Transport = Literal["stdio", "http", "sse"]
Era = Literal["handshake", "modern"]

READY = 20.0
"""Seconds a server has to print its ready line; on a machine at rest it takes one."""
STOP = 5.0


class NotReady(AssertionError):
    """A server process ended, or said nothing, before its ready line."""


def asking_command(*options: str, transport: Transport = "stdio", era: Era = "handshake") -> list[str]:
    """Return the command line of an asking server."""
    return [sys.executable, str(ASKING), "--transport", transport, "--era", era, *options]


def asking_stdio(*options: str, era: Era = "handshake", **keys: Any) -> dict[str, Any]:
    """Return an entry of `mcpServers` that starts an asking server over stdio."""
    command, *arguments = asking_command(*options, era=era)
    return {"command": command, "args": arguments, **keys}


@dataclass(frozen=True)
class AskingHttp:
    """An asking server that listens; `url` is its endpoint."""

    url: str
    port: int
    process: asyncio.subprocess.Process
    transport: Transport

    def entry(self, **keys: Any) -> dict[str, Any]:
        """Return its entry of `mcpServers`."""
        return {"type": self.transport, "url": self.url, **keys}


@contextlib.asynccontextmanager
async def asking_http(
    *options: str, transport: Transport = "http", era: Era = "handshake"
) -> AsyncIterator[AskingHttp]:
    """Run an asking server over HTTP until the block ends."""
    async with running(asking_command(*options, transport=transport, era=era)) as (process, line):
        path = "sse" if transport == "sse" else "mcp"
        yield AskingHttp(f"http://127.0.0.1:{line}/{path}", int(line), process, transport)


@contextlib.asynccontextmanager
async def running(
    command: list[str], env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run `command` until the block ends; yields once it has printed a line, with that line.

    Raises:
        NotReady: it ended without a line, or took longer than `READY`.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=None if env is None else dict(env),
        cwd=cwd,
    )
    try:
        yield process, await ready_line(process)
    finally:
        await stop(process)


async def ready_line(process: asyncio.subprocess.Process) -> str:
    """Wait for the first line on standard output.

    Raises:
        NotReady: there is none.
    """
    assert process.stdout is not None, "started without a pipe for standard output"
    try:
        async with asyncio.timeout(READY):
            line = await process.stdout.readline()
    except TimeoutError:
        raise NotReady(f"process {process.pid} printed no line within {READY:g} s") from None
    if not line:
        raise NotReady(f"the process ended with status {await process.wait()} before its ready line")
    return line.decode().strip()


async def stop(process: asyncio.subprocess.Process) -> int:
    """End a process, kindly and then not; return its exit status."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP):
                await process.wait()
        except TimeoutError:
            process.kill()
    return await process.wait()


def descendants(pid: int | None = None) -> list[psutil.Process]:
    """Return the living processes below `pid` (this one by default), zombies left out."""
    try:
        below = psutil.Process(os.getpid() if pid is None else pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [process for process in below if alive(process)]


def alive(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def none_left(processes: Iterable[psutil.Process], seconds: float = STOP) -> None:
    """Wait until all have ended.

    Raises:
        AssertionError: some live on after `seconds`; names them.
    """
    listed = list(processes)
    _, left = await asyncio.to_thread(psutil.wait_procs, listed, seconds)
    living = [process for process in left if alive(process)]
    assert not living, f"still running: {[describe(process) for process in living]}"


def describe(process: psutil.Process) -> str:
    """Return a process's id and command line."""
    try:
        return f"{process.pid} {' '.join(process.cmdline())}"
    except psutil.NoSuchProcess:
        return f"{process.pid} (ended)"


async def file_says(path: Path, line: str, seconds: float = 10.0) -> None:
    """Wait until the file at `path` has `line`, which a server process writes there.

    Raises:
        AssertionError: it does not within `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            while not (path.exists() and line in path.read_text().splitlines()):
                await asyncio.sleep(0.01)
    except TimeoutError:
        written = path.read_text() if path.exists() else "nothing: there is no such file"
        raise AssertionError(f"{path.name} never said {line!r}; it says {written!r}") from None


async def first_line(path: Path, seconds: float = 15.0) -> str:
    """Wait for the first whole line that a server process writes to the file at `path`."""
    async with asyncio.timeout(seconds):
        while not (path.exists() and path.read_text().endswith("\n")):
            await asyncio.sleep(0.01)
    return path.read_text().splitlines()[0]
