"""A whole gateway on a real port, from YAML as an operator writes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from ruamel.yaml import YAML

from gateway.app import Gateway
from gateway.config.loader import load
from gateway.downstream.connections import bounded_protocol
from tests.support.listening import free_port_socket


@dataclass
class Running:
    """`url` is the MCP endpoint, `base` the address of everything else."""

    gateway: Gateway
    base: str

    @property
    def url(self) -> str:
        return f"{self.base}/mcp"

    async def api(self, path: str, **headers: str) -> Any:
        async with httpx2.AsyncClient() as client:
            response = await client.get(f"{self.base}{path}", headers=headers)
            response.raise_for_status()
            return response.json()

    async def decisions(self) -> list[dict[str, Any]]:
        """Every decision so far, oldest first."""
        return list(reversed((await self.api("/api/decisions?limit=1000"))["decisions"]))


@asynccontextmanager
async def running_gateway(
    folder: Path, config: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """Write `config` as YAML into `folder`, load it, and serve until the block ends.

    Yields once every server has been connected or has failed once.
    """
    path = folder / "gateway.yaml"
    with path.open("w") as file:
        YAML(typ="safe").dump(dict(config), file)
    gateway = Gateway(load(path, environ or {}, dotenv_folders=()))
    listener = free_port_socket()
    server = uvicorn.Server(
        uvicorn.Config(
            gateway.app,
            log_config=None,
            lifespan="on",
            http=bounded_protocol(gateway.config.limits),
            proxy_headers=False,
            timeout_graceful_shutdown=3,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await gateway.fleet.settled(20)
        yield Running(gateway, f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        await gateway.stop_serving()
        server.should_exit = True
        await serving
        listener.close()
