"""Third-party servers as these tests run them: alone for a direct connection, and behind one gateway."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.interop.clients import INSTALLED, NODE
from tests.interop.recorder import Tape, http_tap, stdio_tap
from tests.support.clients import Mode
from tests.support.gateway import Running, running_gateway
from tests.support.processes import stop

Json = dict[str, Any]
EVERYTHING = INSTALLED / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
ERAS: Mapping[str, Mode] = {"everything": "handshake", "web": "handshake", "time": "modern", "git": "modern"}
"""The servers by their configured names, each with the era in which the gateway speaks to it."""

WORLD = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "TZ": "UTC",
    "LANG": "C.UTF-8",
    **{f"GIT_{who}_NAME": "Ada" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "ada@example.com" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_DATE": "2026-01-02T03:04:05+00:00" for who in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}
"""The whole environment of every server: with it, what they print of it is the same each time."""


def command(*arguments: str) -> list[str]:
    """Return a command line that runs in `WORLD` and nothing else."""
    return ["env", "-i", *(f"{name}={value}" for name, value in WORLD.items()), *arguments]


COMMANDS: Mapping[str, Sequence[str]] = {
    "everything": command(NODE, str(EVERYTHING), "stdio"),
    "time": command(sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC"),
    "git": command(sys.executable, "-m", "mcp_server_git"),
}


def scratch_repository(folder: Path) -> Path:
    """Make a repository with two commits, a staged change and one that is not. Same hashes each time."""

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=folder, env=WORLD, check=True, capture_output=True)

    folder.mkdir()
    git("init", "--initial-branch", "main")
    for number in (1, 2):
        (folder / "poem.txt").write_text(f"line {number}\n" * number)
        git("add", "poem.txt")
        git("commit", "--message", f"Write {number}")
    (folder / "poem.txt").write_text("line 3\nünïcödé\n")
    (folder / "new.txt").write_text("new\n")
    return folder


def copy_of(repository: Path, to: Path) -> str:
    """Copy a scratch repository, so that each client changes one of its own."""
    shutil.copytree(repository, to)
    return str(to)


@asynccontextmanager
async def everything_http() -> AsyncIterator[str]:
    """Run server-everything over Streamable HTTP on a port that the system picks; yields its URL."""
    assert EVERYTHING.exists(), "the third-party servers are not installed: run scripts/interop"
    process = await asyncio.create_subprocess_exec(
        *command("PORT=0", NODE, str(EVERYTHING), "streamableHttp"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(20):
            while b"listening on port" not in (line := await process.stderr.readline()):
                assert line, "server-everything ended before it listened"
        (port,) = {
            connection.laddr.port
            for connection in psutil.Process(process.pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        await stop(process)


@dataclass
class Field:
    """A gateway in front of all servers, with a tape at every place."""

    gateway: Running
    url: str
    front: Tape
    behind: Mapping[str, Tape]
    web: str
    """Where `web` listens, for a direct connection."""


@asynccontextmanager
async def field(folder: Path, **more: Any) -> AsyncIterator[Field]:
    """Run every server behind one gateway whose strategy is `client_forwarded`."""
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(everything_http())
        tapped_web, web_tape = await stack.enter_async_context(http_tap(web))
        # With a session of its own each client has the state, and the roots, that it would have directly.
        servers: list[Json] = [{"name": "web", "type": "http", "url": tapped_web, "isolation": "session"}]
        behind = {"web": web_tape}
        for name, line in COMMANDS.items():
            tapped, behind[name] = stdio_tap(folder / f"behind-{name}", *line)
            servers.append({"name": name, "command": tapped[0], "args": tapped[1:]})
        config = {
            "sampling": {"default_sampling_strategy": "client_forwarded"},
            "elicitation": {"default_elicitation_strategy": "client_forwarded"},
            "external_mcp": {"servers": sorted(servers, key=lambda each: list(ERAS).index(each["name"]))},
            **more,
        }
        gateway = await stack.enter_async_context(running_gateway(folder, config))
        url, front = await stack.enter_async_context(http_tap(gateway.url))
        yield Field(gateway, url, front, behind, web)


@asynccontextmanager
async def directly(name: str, folder: Path, web: str) -> AsyncIterator[tuple[str | list[str], Tape]]:
    """Yield where a client connects to a server without a gateway, and the tape of it."""
    if name == "web":
        async with http_tap(web) as (url, tape):
            yield url, tape
    else:
        yield stdio_tap(folder / f"direct-{name}", *COMMANDS[name])
