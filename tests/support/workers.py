"""A gateway of several workers, as its command runs it, in front of a staged handshake-era server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.support.command_line import Served, serving
from tests.support.processes import descendants, none_left, stop
from tests.support.raw.stage import Stage, staged
from tests.support.raw_http import BOTH, initialize

Json = dict[str, Any]


@dataclass
class Workers:
    """`folder` is where the gateway puts its private directory; `http` opens a connection a request."""

    served: Served
    folder: Path
    http: httpx2.AsyncClient
    ends: int = 0
    """The status with which the gateway is to end."""

    @property
    def base(self) -> str:
        return self.served.base

    def processes(self) -> list[psutil.Process]:
        """The workers that live now, and nothing else that the gateway runs."""
        children = descendants(self.served.process.pid)
        return [child for child in children if "gateway.cli.worker" in " ".join(child.cmdline())]

    async def api(self, path: str) -> Any:
        """What an operator's page says."""
        response = await self.http.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    async def forwarded(self) -> int:
        """How many requests were handed on so far."""
        return (await self.api("/api/calls"))["forwarded"]

    async def sessions(self, count: int) -> dict[int, dict[str, str]]:
        """Open a session at each of the workers; returns its headers by the worker's number."""
        opened: dict[int, dict[str, str]] = {}
        async with asyncio.timeout(20):
            while len(opened) < count:
                sent = await initialize(self.http, {"elicitation": {}})
                opened[int(sent["mcp-session-id"].partition(".")[0])] = sent
        return opened

    async def ping(self, sent: dict[str, str]) -> int:
        """Send a request in a session; returns the status."""
        message = {"jsonrpc": "2.0", "id": "ping", "method": "ping"}
        return (await self.http.post("/mcp", json=message, headers={**BOTH, **sent})).status_code


@asynccontextmanager
async def workers_of(
    folder: Path, stage: Stage | None = None, *options: str, config: Json | None = None, **environ: str
) -> AsyncIterator[Workers]:
    """Serve a stage named `s` by two workers; afterwards nothing of them may be left."""
    own = folder / "tmp"
    own.mkdir()
    async with staged(stage or Stage()) as url:
        written = {
            "external_mcp": {"servers": [{"name": "s", "url": url, "prefix": "none"}]},
            "http": {"workers": 2},
            **(config or {}),
        }
        async with serving(folder, written, *options, TMPDIR=str(own), **environ) as served:
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
            async with httpx2.AsyncClient(
                base_url=served.base, headers=BOTH, timeout=30, limits=limits
            ) as http:
                workers = Workers(served, own, http)
                yield workers
            left = descendants(served.process.pid)
            assert await stop(served.process) == workers.ends
            await none_left(left)
    assert list(own.iterdir()) == []
