"""Servers that are started again between two calls: what a client calls next succeeds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from tests.support.gateway import running_gateway
from tests.support.parties import Person
from tests.support.raw.httpd import Httpd, Reply, Request
from tests.support.raw.session import Session, response

DEADLINE = 20
ERAS = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("count", "break")]


class Restarting(Session):
    """Answers 404 to sessions of before its last restart; `count` is how many calls it executed."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions = 0
        self.known: set[str] = set()
        self.count = 0

    async def post(self, request: Request, reply: Reply) -> None:
        method = request.json.get("method")
        if method == "initialize":
            self.sessions += 1
            self.known.add(name := f"session-{self.sessions}")
            result = {"protocolVersion": self.version, "capabilities": {"tools": {}}, "serverInfo": {}}
            await reply.send_json(response(request, **result), Mcp_Session_Id=name)
        elif method != "server/discover" and request.headers.get("mcp-session-id") not in self.known:
            error = {"code": -32001, "message": "Session not found"}
            await reply.send_json({"jsonrpc": "2.0", "id": "server-error", "error": error}, 404)
        elif method == "tools/list":
            await reply.send_json(response(request, tools=TOOLS))
        elif method == "tools/call":
            await self.call(request, reply)
        else:
            await super().post(request, reply)

    async def call(self, request: Request, reply: Reply) -> None:
        self.count += 1
        if request.json["params"]["name"] == "break":
            # One that has begun to answer has executed the call, whatever it says of the session later.
            self.known.clear()
            reply.abort()
            return
        await reply.send_json(response(request, content=[], structuredContent={"count": self.count}))


def served(httpd: Httpd) -> dict[str, Any]:
    server = {"name": "s", "type": "http", "url": f"{httpd.url}/mcp"}
    return {"external_mcp": {"servers": [server]}}


@asynccontextmanager
async def house(folder: Path, mode: str) -> AsyncIterator[tuple[Restarting, Client]]:
    """A server that restarts, and a client of the gateway before it."""
    server = Restarting()
    async with (
        asyncio.timeout(DEADLINE),
        Httpd(server) as httpd,
        running_gateway(folder, served(httpd)) as gateway,
        Person().client(gateway.url, mode) as client,
    ):
        yield server, client


@ERAS
async def test_a_call_that_a_restarted_server_did_not_take_is_sent_in_a_new_session(
    tmp_path: Path, mode: str
) -> None:
    async with house(tmp_path, mode) as (server, client):
        for count in (1, 2, 3):
            answer = await client.call_tool("s__count", {})
            assert answer.structured_content == {"count": count}
            server.known.clear()
        # Each restart cost new sessions alone: the call was executed once.
        assert server.count == 3


@ERAS
async def test_a_call_that_the_server_may_have_executed_is_never_sent_twice(
    tmp_path: Path, mode: str
) -> None:
    async with house(tmp_path, mode) as (server, client):
        await client.call_tool("s__count", {})
        with pytest.raises(MCPError, match="ended the connection during the call"):
            await client.call_tool("s__break", {})
        assert server.count == 2
        assert (await client.call_tool("s__count", {})).structured_content == {"count": 3}
