"""A modern server that refuses a request as old servers do: it is asked again what it is, and believed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.config.resolved import ServerConfig
from gateway.errors import CallError, ConnectionLost, PeerError
from gateway.upstream.dial import dialer_for
from tests.support.raw.httpd import Httpd, Reply, Request
from tests.support.raw.peers import HERE, PROFILE, Recorder, call
from tests.support.raw.session import response

MODERN: dict[str, Any] = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "x", "version": "1"},
}


class Changing:
    """Refuses calls with `refusal`, a status and a code; `discover` answers the question of its era."""

    def __init__(self, refusal: tuple[int, int | None]) -> None:
        self.refusal = refusal
        self.discover: Any = self.modern
        self.asked = 0

    async def __call__(self, request: Request, reply: Reply) -> None:
        if request.json["method"] == "server/discover":
            self.asked += 1
            await self.discover(request, reply)
        else:
            await self.refuse(request, reply)

    async def modern(self, request: Request, reply: Reply) -> None:
        await reply.send_json(response(request, **MODERN))

    async def silent(self, request: Request, reply: Reply) -> None:
        await reply.left.wait()

    async def broken(self, request: Request, reply: Reply) -> None:
        await reply.send(503)

    async def refuse(self, request: Request, reply: Reply) -> None:
        status, code = self.refusal
        if code is None:
            await reply.send(status, b"no")
        else:
            error = {"code": code, "message": "no"}
            await reply.send_json({"jsonrpc": "2.0", "id": request.json["id"], "error": error}, status)


@pytest.mark.parametrize("refusal", [(400, -32600), (400, -32022), (404, None), (400, None)])
async def test_a_server_that_says_it_is_modern_no_more_ends_all_its_connections(
    refusal: tuple[int, int | None],
) -> None:
    server = Changing(refusal)
    async with Httpd(server) as httpd:
        dialer = dialer_for(ServerConfig("web", "http", HERE, url=f"{httpd.url}/mcp"))
        one = await dialer.dial(PROFILE, Recorder().listener)
        other = await dialer.dial(PROFILE, Recorder().listener)
        server.discover = server.refuse
        with pytest.raises(ConnectionLost, match="of another protocol era than before"):
            await call(one, "t")
        assert one.closed.is_set()
        assert other.closed.is_set()
        await asyncio.gather(one.aclose(), other.aclose())


@pytest.mark.parametrize("answer", ["modern", "silent", "broken"])
async def test_a_server_that_does_not_say_so_keeps_its_connections_and_its_words_are_passed_on(
    answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.upstream.probe._DOUBT", 0.05)
    server = Changing((400, -32600))
    async with Httpd(server) as httpd:
        dialer = dialer_for(ServerConfig("web", "http", HERE, url=f"{httpd.url}/mcp"))
        connection = await dialer.dial(PROFILE, Recorder().listener)
        server.discover = getattr(server, answer)
        outcomes = await asyncio.gather(*(call(connection, "t") for _ in range(20)), return_exceptions=True)
        assert {(type(one), one.code) for one in outcomes if isinstance(one, PeerError)} == {
            (PeerError, -32600)
        }
        assert len(outcomes) == 20
        assert not connection.closed.is_set()
        # Asked once to connect, and once for all of these.
        assert server.asked == 2
        await connection.aclose()


@pytest.mark.parametrize("refusal", [(400, -32602), (404, -32601), (401, None), (429, None), (500, None)])
async def test_a_refusal_that_modern_servers_have_reason_for_raises_no_doubt(
    refusal: tuple[int, int | None],
) -> None:
    server = Changing(refusal)
    async with Httpd(server) as httpd:
        dialer = dialer_for(ServerConfig("web", "http", HERE, url=f"{httpd.url}/mcp"))
        connection = await dialer.dial(PROFILE, Recorder().listener)
        with pytest.raises((PeerError, CallError)):
            await call(connection, "t")
        assert server.asked == 1
        assert not connection.closed.is_set()
        await connection.aclose()
