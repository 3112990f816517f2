"""A handshake-era client that speaks bare JSON over HTTP, and treats questions as a test wants it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.support.raw_http import BOTH, EventStream, call, initialize

Json = dict[str, Any]
Behaviour = Callable[[Json], Json | None]
"""What becomes of a question: `{"result": …}`, `{"error": …}`, or None for no answer at all."""


@dataclass
class HandshakeClient:
    """One session. `sent` are the headers that belong to it, `told` the notifications of its calls."""

    http: httpx2.AsyncClient
    sent: dict[str, str]
    behaviour: Behaviour
    told: list[Json] = field(default_factory=list)
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def call(self, name: str, arguments: Json) -> tuple[Json, list[Json]]:
        """Call a tool; returns the response, and the questions that came on its stream."""
        asked: list[Json] = []
        message, headers = call(name, next(self._ids), **arguments), {**BOTH, **self.sent}
        async with self.http.stream("POST", "/mcp", json=message, headers=headers) as response:
            if response.headers["content-type"] != "text/event-stream":
                body = await response.aread()
                return httpx2.Response(200, content=body).json(), asked
            stream = EventStream(response)
            while "method" in (said := await stream.message()):
                if "id" not in said:
                    self.told.append(said)
                    continue
                asked.append(said)
                answer = self.behaviour(said)
                if answer is not None:
                    await self.answer(said, answer)
            return said, asked

    async def answer(self, question: Json, answer: Json) -> None:
        """Answer a question, in time or not: `{"result": …}` or `{"error": …}`."""
        message = {"jsonrpc": "2.0", "id": question["id"], **answer}
        response = await self.http.post("/mcp", json=message, headers={**BOTH, **self.sent})
        assert response.status_code == 202, response.text


@asynccontextmanager
async def handshake_client(
    base: str, capabilities: Json, behaviour: Behaviour, name: str = "raw", *, fresh: bool = False
) -> AsyncIterator[HandshakeClient]:
    """Open a session at a gateway's base address, and end it afterwards.

    `fresh`: each request comes on a TCP connection of its own.
    """
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0 if fresh else None)
    async with httpx2.AsyncClient(base_url=base, headers=BOTH, timeout=60, limits=limits) as http:
        sent = await initialize(http, capabilities, name)
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        await http.post("/mcp", json=ready, headers={**BOTH, **sent})
        try:
            yield HandshakeClient(http, sent, behaviour)
        finally:
            await http.delete("/mcp", headers=sent)
