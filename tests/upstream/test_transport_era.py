"""How a server's era is found out, and found out again."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.resolved import ServerConfig
from gateway.errors import ServerUnavailable
from gateway.upstream.dial import dialer_for
from tests.support.raw.httpd import Httpd, Reply, Request
from tests.support.raw.peers import HERE, PROFILE, Recorder
from tests.support.raw.stateless import Stateless, connected


def discovering(*answers: Any) -> Any:
    """A server that gives these answers to `server/discover`, then speaks the handshake."""
    left = list(answers)

    async def handle(request: Request, reply: Reply) -> None:
        message = request.json if request.body else {}
        if message.get("method") == "server/discover":
            await left.pop(0)(request, reply)
        elif message.get("method") == "initialize":
            result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {}}
            await reply.send_json({"jsonrpc": "2.0", "id": message["id"], "result": result})
        else:
            await reply.send(202 if request.method == "POST" else 405)

    return handle


def error(code: int, status: int = 400, data: Any = None) -> Any:
    async def answer(request: Request, reply: Reply) -> None:
        body = {"code": code, "message": "no", "data": data}
        await reply.send_json({"jsonrpc": "2.0", "id": request.json["id"], "error": body}, status)

    return answer


def plain(status: int, body: bytes = b"", **headers: str) -> Any:
    async def answer(request: Request, reply: Reply) -> None:
        await reply.send(status, body, **headers)

    return answer


def discovered(*versions: Any) -> Any:
    async def answer(request: Request, reply: Reply) -> None:
        await reply.send_json(Stateless.result(request, supportedVersions=list(versions), capabilities={}))

    return answer


@pytest.mark.parametrize(
    ("answers", "era"),
    [
        ((discovered("2025-11-25", "2026-07-28"),), "modern"),
        ((error(-32022, data={"supported": ["2026-07-28"]}), discovered("2026-07-28")), "modern"),
        ((discovered("2025-11-25"),), "handshake"),
        ((discovered(),), "handshake"),
        ((discovered(7, None),), "handshake"),
        ((error(-32601, 404),), "handshake"),
        ((error(-32601, 200),), "handshake"),
        ((error(-32602),), "handshake"),
        ((error(-32000),), "handshake"),
        ((error(-32022, data={"supported": ["2025-06-18"]}),), "handshake"),
        ((error(-32022),), "handshake"),
        ((plain(400, b"Bad Request"),), "handshake"),
        ((plain(404),), "handshake"),
        ((plain(405),), "handshake"),
        ((plain(500, b"<html>"),), "handshake"),
        ((plain(202),), "handshake"),
        ((plain(200, b"hello", content_type="text/html"),), "handshake"),
        ((plain(200, b"{}", content_type="application/json"),), "handshake"),
    ],
)
async def test_the_era_is_judged_by_the_answer_to_discover(answers: Any, era: str) -> None:
    async with connected(discovering(*answers)) as (_, connection):
        assert connection.hello.era == era


async def test_a_modern_server_that_shares_no_revision_is_named_with_what_it_speaks() -> None:
    async with Httpd(discovering(error(-32022, data={"supported": ["2031-01-01", "2032-01-01"]}))) as httpd:
        config = ServerConfig("web", "http", HERE, url=httpd.url)
        with pytest.raises(
            ServerUnavailable, match="it speaks 2031-01-01, 2032-01-01, and the gateway does not"
        ):
            await dialer_for(config).dial(PROFILE, Recorder().listener)


async def test_refused_credentials_are_no_verdict_on_the_era() -> None:
    async with Httpd(discovering(plain(401))) as httpd:
        config = ServerConfig("web", "http", HERE, url=httpd.url)
        with pytest.raises(ServerUnavailable, match="HTTP 401"):
            await dialer_for(config).dial(PROFILE, Recorder().listener)
    assert len(httpd.requests) == 1


async def test_a_server_that_became_modern_is_found_out_when_it_refuses_the_handshake() -> None:
    server: Any = discovering(error(-32601))

    async def changing(request: Request, reply: Reply) -> None:
        await server(request, reply)

    async def now_modern(request: Request, reply: Reply) -> None:
        if request.json["method"] == "initialize":
            await error(-32022, data={"supported": ["2026-07-28"]})(request, reply)
        else:
            await Stateless()(request, reply)

    async with Httpd(changing) as httpd:
        dialer = dialer_for(ServerConfig("web", "http", HERE, url=httpd.url))
        old = await dialer.dial(PROFILE, Recorder().listener)
        await old.aclose()
        server = now_modern
        new = await dialer.dial(PROFILE, Recorder().listener)
        assert (old.hello.era, new.hello.era) == ("handshake", "modern")
        await new.aclose()
