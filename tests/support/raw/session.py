"""A Streamable HTTP server of the handshake era, in the test's own process, that a test can bend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from gateway.config.resolved import ServerConfig
from gateway.upstream.dial import dialer_for
from gateway.upstream.port import Connection
from tests.support.raw.httpd import Httpd, Reply, Request
from tests.support.raw.peers import HERE, PROFILE, Recorder

Json = dict[str, Any]
Tool = Callable[[Request, Reply], Awaitable[None]]
OK: Json = {"content": []}
LISTS = {"tools": {"listChanged": True}}


def response(request: Request, **result: Any) -> Json:
    return {"jsonrpc": "2.0", "id": request.json["id"], "result": result or OK}


class Session:
    """A server whose tool calls and GET streams are what a test makes of them.

    `got` counts GETs; each calls `get`. `closed` is set by DELETE.
    """

    def __init__(self, tool: Tool | None = None, get: Tool | None = None) -> None:
        self.tool, self.get = tool, get
        self.version = "2025-11-25"
        self.got = 0
        self.closed = asyncio.Event()
        self.initialized: list[Request] = []

    async def __call__(self, request: Request, reply: Reply) -> None:
        if request.method == "DELETE":
            self.closed.set()
            await reply.send(405)
        elif request.method == "GET":
            self.got += 1
            await (self.get(request, reply) if self.get else reply.send(405))
        else:
            await self.post(request, reply)

    async def post(self, request: Request, reply: Reply) -> None:
        method = request.json.get("method")
        if method == "server/discover":
            await reply.send(400, b"Bad Request: no session")
        elif method == "initialize":
            result = {"protocolVersion": self.version, "capabilities": LISTS, "serverInfo": {}}
            await reply.send_json(response(request, **result), Mcp_Session_Id="secret-session")
        elif method == "tools/call" and self.tool is not None:
            await self.tool(request, reply)
        elif method == "notifications/initialized":
            self.initialized.append(request)
            await reply.send(202)
        else:
            await reply.send(202)


def config_of(httpd: Httpd, path: str = "/mcp", **settings: Any) -> ServerConfig:
    return ServerConfig("web", "http", HERE, url=httpd.url + path, **settings)


@asynccontextmanager
async def session(
    server: Session, recorder: Recorder | None = None, **settings: Any
) -> AsyncGenerator[tuple[Httpd, Connection]]:
    async with Httpd(server) as httpd:
        dialer = dialer_for(config_of(httpd, **settings))
        connection = await dialer.dial(PROFILE, (recorder or Recorder()).listener)
        try:
            yield httpd, connection
        finally:
            await connection.aclose()
