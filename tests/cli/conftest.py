"""The real command line, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from ruamel.yaml import YAML

COMMAND = [sys.executable, "-m", "gateway.cli.main"]
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


Run = Callable[..., Awaitable[Ran]]


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without what would change a configuration."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("BACKCHANNEL_", "MCP_"))
    }
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200", **more}


@pytest.fixture
def backchannel(tmp_path: Path) -> Run:
    """Run a command to its end, in an empty folder."""

    async def run(*arguments: str | Path, environ: Mapping[str, str] | None = None) -> Ran:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *map(str, arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=tmp_path,
            env=clean_environment(**(environ or {})),
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    return run


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    """Write a configuration."""

    def write(**blocks: Any) -> Path:
        path = tmp_path / "gateway.yaml"
        with path.open("w") as file:
            YAML(typ="safe").dump(blocks, file)
        return path

    return write
