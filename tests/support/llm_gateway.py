"""A gateway whose own LLM is made of scripted services, and a real server that asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from tests.support.gateway import Running, running_gateway
from tests.support.parties import Person
from tests.support.raw.peers import entry_of, raw_server

Json = dict[str, Any]


@dataclass
class Asking:
    """A gateway, a client of it, and through that client a server that asks."""

    gateway: Running
    person: Person
    client: Any
    key: str | None = None

    async def api(self, path: str) -> Any:
        """What an operator's page says."""
        headers = {} if self.key is None else {"authorization": f"Bearer {self.key}"}
        return await self.gateway.api(path, **headers)

    async def sampling(self, *messages: Json, **params: Any) -> Json:
        """Have the server ask; returns the response it got, as it was on the wire."""
        request = {
            "method": "sampling/createMessage",
            "params": {"messages": list(messages), "maxTokens": 64, **params},
        }
        result = await self.client.call_tool("raw__ask", {"requests": {"q": request}})
        return result.structured_content["answers"]["q"]

    async def text(self, question: str, **params: Any) -> str:
        """The text of the answer to a question."""
        message = {"role": "user", "content": {"type": "text", "text": question}}
        response = await self.sampling(message, **params)
        return response["result"]["content"]["text"]

    async def last_leg(self) -> Json:
        """The last leg of the last decision."""
        return (await self.api("/api/decisions"))["decisions"][0]["legs"][-1]


def pass_time(gateway: Running, seconds: float) -> None:
    """Let time pass for the circuits of every provider."""
    breakers = {link.service.breaker for chain in gateway.gateway.chains() for link in chain.links}
    for breaker in breakers:
        now = breaker._clock
        breaker._clock = lambda now=now: now() + seconds


@asynccontextmanager
async def asking_of(
    folder: Path,
    config: Json,
    environ: Mapping[str, str] | None = None,
    *,
    isolation: str = "session",
    key: str | None = None,
) -> AsyncIterator[Asking]:
    """Serve `config` with the server `raw` added; with isolation `call` it is asked concurrently.

    `key` is the client's API key.
    """
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(raw_server("stdio-handshake"))
        own = entry_of("raw", server, isolation=isolation)
        external = config.get("external_mcp", {})
        servers = [{**own, **extra} for extra in external.get("servers", [{}])]
        whole = {**config, "external_mcp": {**external, "servers": servers}}
        keys = {"TEST_LLM_KEY": "sk-test-of-the-provider", **(environ or {})}
        gateway = await stack.enter_async_context(running_gateway(folder, whole, keys))
        person = Person()
        client = await stack.enter_async_context(person_with_key(person, gateway.url, key))
        yield Asking(gateway, person, client, key)


@asynccontextmanager
async def person_with_key(person: Person, url: str, key: str | None) -> AsyncIterator[Any]:
    """A client of the SDK that brings an API key."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(url, http_client=http)
        async with person.client(transport) as client:
            yield client
