"""ContextForge (PyPI `mcp-contextforge-gateway`): servers are registered over its API."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.speed import processes
from benchmarks.speed.gateways.others import Other
from benchmarks.speed.gateways.port import Behind, Launched, Site
from benchmarks.speed.processes import DidNotStart

REGISTER = 60.0
ADMINISTRATOR = "admin@example.com"
SECRET = "a-secret-of-the-benchmark-that-is-long-enough"


class ContextForge(Other):
    """One worker, SQLite and memory; a token with every request, no rate limits, plugins or UI.

    Without authentication it lets nobody register a server.
    """

    name = "ContextForge"
    about = "PyPI mcp-contextforge-gateway: one worker, SQLite, no rate limits, plugins or UI"
    registry = "pypi"
    requirement = "mcp-contextforge-gateway==1.0.7.post20260921"
    lacks = (("stdio", "takes servers by address only"),)

    async def launch(self, behind: Behind, site: Site) -> Launched:
        """Start it, and register the server behind."""
        env = {**os.environ, **settings(site.folder)}
        token = await asyncio.to_thread(self._token, env)
        headers = {"Authorization": f"Bearer {token}"}
        app = ["mcpgateway.main:app", "--host", "127.0.0.1", "--port", site.port, "--workers", "1"]
        process = self.run(site, "mcpgateway", *app, "--no-access-log", env=settings(site.folder))
        await processes.listening(process)
        await _register(f"http://127.0.0.1:{site.port}", site.upstream, headers)
        return Launched(f"http://127.0.0.1:{site.port}/mcp/", process, headers)

    def _token(self, env: dict[str, str]) -> str:
        """A token of the administrator, made by its own tool."""
        options = ["--username", ADMINISTRATOR, "--admin", "--exp", "1440", "--secret", SECRET]
        command = [self.bin("python"), "-m", "mcpgateway.utils.create_jwt_token", *options]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DidNotStart(f"no token could be made: {done.stderr[-300:]}")
        return done.stdout.strip().splitlines()[-1]


def settings(folder: Path) -> dict[str, str]:
    """Everything off that would cost it time and that the others do not do."""
    return {
        "DATABASE_URL": f"sqlite:///{folder}/forge.db",
        "CACHE_TYPE": "memory",
        "PLATFORM_ADMIN_EMAIL": ADMINISTRATOR,
        "JWT_SECRET_KEY": SECRET,
        "AUTH_ENCRYPTION_SECRET": SECRET,
        "BASIC_AUTH_PASSWORD": SECRET,
        "PLATFORM_ADMIN_PASSWORD": SECRET,
        "SSRF_ALLOW_LOCALHOST": "true",
        "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
        "RATE_LIMITING_ENABLED": "false",
        "TOOL_RATE_LIMIT": "1000000000",
        "PLUGINS_ENABLED": "false",
        "MCPGATEWAY_UI_ENABLED": "false",
        "LOG_LEVEL": "ERROR",
    }


async def _register(base: str, upstream: str, headers: dict[str, str]) -> None:
    body = json.dumps({"name": "bench", "url": upstream, "transport": "STREAMABLEHTTP"}).encode()
    deadline = time.perf_counter() + REGISTER
    last = "nothing answered"
    while time.perf_counter() < deadline:
        try:
            await asyncio.to_thread(_post, f"{base}/gateways", body, headers)
        except urllib.error.HTTPError as error:
            last = f"HTTP {error.code}: {error.read().decode(errors='replace')[:200]}"
            if error.code == 409:
                return
        except OSError as error:
            last = str(error)
        else:
            return
        await asyncio.sleep(0.2)
    raise DidNotStart(f"the server could not be registered: {last}")


def _post(url: str, body: bytes, headers: dict[str, str]) -> Any:
    request = urllib.request.Request(url, body, {"content-type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)
