"""A Streamable HTTP server of the modern era, in the test's own process, that a test can bend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from gateway.config.resolved import ServerConfig
from gateway.upstream.dial import dialer_for
from gateway.upstream.port import Connection
from tests.support.raw.httpd import Httpd, Reply, Request
from tests.support.raw.peers import HERE, PROFILE, Recorder

Json = dict[str, Any]
META = "io.modelcontextprotocol/"


class Stateless:
    """A modern server whose tool listing and calls a test can change."""

    def __init__(self, *tools: Json, capabilities: Json | None = None) -> None:
        self.tools = list(tools)
        self.capabilities = capabilities or {"tools": {}}
        self.calls: list[Request] = []
        self.demands: dict[str, str] = {}
        self.listens: list[tuple[Json, Reply, int]] = []
        self.listened = asyncio.Event()
        self.honor = True

    async def __call__(self, request: Request, reply: Reply) -> None:
        message = request.json
        method = message["method"]
        if method == "server/discover":
            await reply.send_json(
                self.result(request, supportedVersions=["2026-07-28"], capabilities=self.capabilities)
            )
        elif method == "tools/list":
            first = "cursor" not in message["params"]
            more = {"nextCursor": "2"} if first and len(self.tools) > 1 else {}
            tools = self.tools[:1] if first else self.tools[1:]
            await reply.send_json(self.result(request, tools=tools, **more))
        elif method == "subscriptions/listen":
            await self.listen(request, reply)
        else:
            await self.call(request, reply)

    async def call(self, request: Request, reply: Reply) -> None:
        self.calls.append(request)
        wrong = [name for name, value in self.demands.items() if request.headers.get(name) != value]
        if wrong:
            error = {"code": -32020, "message": f"Header mismatch: {wrong[0]}"}
            await reply.send_json({"jsonrpc": "2.0", "id": request.json["id"], "error": error}, 400)
        else:
            await reply.send_json(self.result(request, content=[]))

    async def listen(self, request: Request, reply: Reply) -> None:
        wanted, number = request.json["params"]["notifications"], request.json["id"]
        await reply.stream()
        self.listens.append((wanted, reply, number))
        await self.announce(-1, "subscriptions/acknowledged", notifications=wanted if self.honor else {})
        self.listened.set()
        await reply.left.wait()

    async def announce(self, which: int, name: str, **params: Any) -> None:
        _, reply, number = self.listens[which]
        stamped = {**params, "_meta": {META + "subscriptionId": number, **params.get("_meta", {})}}
        await reply.event({"jsonrpc": "2.0", "method": f"notifications/{name}", "params": stamped})

    @staticmethod
    def result(request: Request, **result: Any) -> Json:
        return {"jsonrpc": "2.0", "id": request.json["id"], "result": {"resultType": "complete", **result}}


def tool(name: str, schema: Json) -> Json:
    return {"name": name, "inputSchema": schema, "x-unknown": 1}


@asynccontextmanager
async def connected(
    server: Any, recorder: Recorder | None = None, **settings: Any
) -> AsyncGenerator[tuple[Httpd, Connection]]:
    async with Httpd(server) as httpd:
        config = ServerConfig("web", "http", HERE, url=httpd.url + "/mcp", **settings)
        connection = await dialer_for(config).dial(PROFILE, (recorder or Recorder()).listener)
        try:
            yield httpd, connection
        finally:
            await connection.aclose()
