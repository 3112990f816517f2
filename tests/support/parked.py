"""A gateway in front of one staged handshake-era server, and bare clients of 2026-07-28."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.gateway import Running, running_gateway
from tests.support.modern_client import ModernClient, modern_client
from tests.support.parties import ENVIRON, llm_config, speaking_llm
from tests.support.raw.stage import Stage, staged
from tests.support.scripted_http import ScriptedHttp

Json = dict[str, Any]
KEYS = {"ann": "key-of-ann-0123456789", "bob": "key-of-bob-0123456789"}


def blue(**more: Any) -> Json:
    """An answer to `parties.ELICITATION`."""
    return {"action": "accept", "content": {"colour": "client blue", **more}}


def said(text: str = "the client speaking") -> Json:
    """An answer to `parties.SAMPLING`."""
    content = {"type": "text", "text": text}
    return {"role": "assistant", "content": content, "model": "client-model", "stopReason": "endTurn"}


def answered(response: Json) -> Json:
    """Return the tool result that says what a question came to: its raw response, stamp removed."""
    result = response.get("result")
    bare = {key: value for key, value in result.items() if key != "_meta"} if result else response["error"]
    return {"content": [], "structuredContent": {"answer": bare}}


@dataclass
class Scene:
    """Everything that runs. `client` is anonymous; `known` holds a client for each API key."""

    gateway: Running
    stage: Stage
    llm: ScriptedHttp
    client: ModernClient
    known: dict[str, ModernClient]

    @property
    def parking(self) -> Any:
        return self.gateway.gateway._parking

    @property
    def latest(self) -> Json:
        """The latest decision."""
        return self.gateway.gateway.log.recent(1)[0]

    @property
    def legs(self) -> list[tuple[str, str]]:
        """Who was asked for the latest question, and how that ended."""
        latest = self.latest
        return [(leg["source"], leg["outcome"]) for leg in latest["legs"]]

    async def until_idle(self) -> None:
        """Wait until no call runs or is parked: not at the gateway, not on any lane."""
        servers = self.gateway.gateway.servers
        await until(lambda: not any(status.calls for status in servers()))
        await until(lambda: repr(self.parking).startswith("<Parking 0 parked, 0 running"))


async def until(reached: Callable[[], bool | Awaitable[bool]], seconds: float = 20) -> None:
    """Wait until something holds that tells nobody when it begins to."""
    async with asyncio.timeout(seconds):
        while not (await held if inspect.isawaitable(held := reached()) else held):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def scene(
    folder: Path,
    stage: Stage,
    strategy: str = "client_forwarded",
    *,
    keys: bool = False,
    limits: Json | None = None,
    timeout: float = 30,
    capabilities: Json | None = None,
    config: Json | None = None,
    **server: Any,
) -> AsyncIterator[Scene]:
    """Put a gateway before a stage named `s`. `timeout` is the limit of the client's leg in seconds.

    With `keys`, clients need one, and the anonymous one can do nothing.
    """
    routing = {
        kind: {"default_strategy": strategy, "timeout_seconds": timeout}
        for kind in ("sampling", "elicitation")
    }
    environ = {**ENVIRON, **{f"KEY_{name.upper()}": key for name, key in KEYS.items()}}
    async with AsyncExitStack() as stack:
        llm = await stack.enter_async_context(speaking_llm())
        url = await stack.enter_async_context(staged(stage))
        entry = {"name": "s", "url": url, "prefix": "none", "max_lanes": 32, **server}
        written: Json = {
            "sampling": {"llm_config": llm_config(llm)},
            "limits": limits or {},
            "external_mcp": {"servers": [entry], "external_routing": routing},
            **(config or {}),
        }
        if keys:
            accepted = [{"principal": name, "key_env": f"KEY_{name.upper()}"} for name in KEYS]
            written["auth"] = {"type": "api_key", "keys": accepted}
        gateway = await stack.enter_async_context(running_gateway(folder, written, environ))

        async def client(key: str | None = None) -> ModernClient:
            return await stack.enter_async_context(modern_client(gateway.base, capabilities, key))

        known = {name: await client(key) for name, key in KEYS.items()} if keys else {}
        yield Scene(gateway, stage, llm, await client(), known)
