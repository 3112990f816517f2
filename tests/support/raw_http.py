"""A client of the MCP endpoint that speaks bare HTTP, so that it can misbehave."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from gateway.wire import sse
from tests.support.front import Front

BOTH = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
META = "io.modelcontextprotocol/"
ENVELOPE = {META + "protocolVersion": "2026-07-28", META + "clientCapabilities": {}}


def call(name: str, request_id: Any = 1, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


def modern(message: dict[str, Any], **headers: str) -> dict[str, Any]:
    params = {**message.get("params", {}), "_meta": ENVELOPE}
    sent = {"mcp-protocol-version": "2026-07-28", "mcp-method": message["method"]}
    if "name" in params:
        sent["mcp-name"] = params["name"]
    return {"json": {**message, "params": params}, "headers": {**BOTH, **sent, **headers}}


@asynccontextmanager
async def http(front: Front, **headers: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=front.base, headers={**BOTH, **headers}, timeout=60) as client:
        yield client


async def initialize(
    client: httpx2.AsyncClient, capabilities: dict[str, Any] | None = None, name: str = "raw"
) -> dict[str, str]:
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": capabilities or {},
        "clientInfo": {"name": name, "version": "1"},
    }
    response = await client.post(
        "/mcp", json={"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    )
    assert response.status_code == 200, response.text
    return {"mcp-session-id": response.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}


async def exchange(
    client: httpx2.AsyncClient, request: dict[str, Any], answers: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """POST a request and return every message of its response, in order.

    A question is answered with what `answers` has for its method, in a POST of its own.
    """
    async with client.stream("POST", "/mcp", **request) as response:
        if response.headers["content-type"] != "text/event-stream":
            return [json.loads(await response.aread())]
        messages: list[dict[str, Any]] = []
        stream = EventStream(response)
        while not messages or "method" in messages[-1]:
            messages.append(message := await stream.message())
            if "method" in message and "id" in message:
                answer = {"jsonrpc": "2.0", "id": message["id"], "result": (answers or {})[message["method"]]}
                sent = await client.post("/mcp", json=answer, headers=request["headers"])
                assert sent.status_code == 202
        return messages


class EventStream:
    """Events of a response, one at a time."""

    def __init__(self, response: httpx2.Response, limit: int = 1 << 20) -> None:
        self._chunks = response.aiter_bytes()
        self._reader = sse.Reader(limit)
        self._events: list[sse.Event] = []

    async def next(self) -> sse.Event:
        while not self._events:
            self._events.extend(self._reader.feed(await anext(self._chunks)))
        return self._events.pop(0)

    async def message(self) -> dict[str, Any]:
        return json.loads((await self.next()).data)
