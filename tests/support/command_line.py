"""The command `backchannel` as a shell runs it: in a process, in a folder, with an environment."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from ruamel.yaml import YAML

from gateway.cli.main import main
from tests.support.processes import running, stop

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).with_name("backchannel")


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment with nothing of this machine's settings, and wide lines."""
    trusted = os.environ["SSL_CERT_FILE"]  # of these tests
    return {"PATH": os.environ["PATH"], "HOME": str(home), "COLUMNS": "250", "SSL_CERT_FILE": trusted, **more}


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of the installed program."""
    return [str(PROGRAM), *map(str, arguments)]


async def run(*arguments: str | Path, cwd: Path, **environ: str) -> Ended:
    """Run the program until it ends by itself. No traceback is ever acceptable."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env=environment(cwd, **environ),
    )
    try:
        out, err = await process.communicate()
    finally:
        await stop(process)
    ended = Ended(process.returncode or 0, out.decode(), err.decode())
    assert "Traceback" not in ended.err, ended.err
    return ended


def run_here(*arguments: str | Path, cwd: Path, **environ: str) -> Ended:
    """The same in this process, for rows of what a whole process has shown; nothing may be running."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, environment(cwd, **environ), clear=True),
        mock.patch.object(sys, "argv", ["backchannel", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Ended(status, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Served:
    """A gateway that `backchannel serve` runs; `line` is the one it printed when ready."""

    line: str
    process: asyncio.subprocess.Process

    @property
    def url(self) -> str:
        return next(word for word in self.line.split() if word.startswith("http://"))

    @property
    def base(self) -> str:
        return self.url.removesuffix("/mcp")


@asynccontextmanager
async def serving(
    folder: Path, config: Mapping[str, Any], *options: str, **environ: str
) -> AsyncIterator[Served]:
    """Write `config` into `folder` and serve it on a free port until the block ends."""
    path = write(folder, config)
    line = command("serve", "--config", path, "--port", "0", *options)
    async with running(line, environment(folder, **environ), folder) as (process, ready):
        yield Served(ready, process)


def write(folder: Path, config: Mapping[str, Any]) -> Path:
    """Write `gateway.yaml` into `folder`."""
    path = folder / "gateway.yaml"
    with path.open("w") as file:
        YAML(typ="safe").dump(dict(config), file)
    return path
