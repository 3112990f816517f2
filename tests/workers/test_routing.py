"""What a worker passes on to its siblings, what it adds, and what it believes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from gateway.config.resolved import Limits
from gateway.workers.forward import Forwarder
from gateway.workers.ownership import Seat
from gateway.workers.routing import FromSiblings, Routing
from tests.support.parked import until

Json = dict[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
OURS = [(b"mcp-session-id", b"1.abc"), (b"host", b"gateway.example"), (b"x-two", b"1"), (b"x-two", b"2")]


@asynccontextmanager
async def owner(folder: Path, app: App) -> AsyncIterator[Routing]:
    """Serve `app` as worker 1; yields worker 0, whose own application says 404.

    The scope's ``break off`` ends every connection to worker 1 as its death would.
    """

    async def unknown(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"here"})

    async def breakable(scope: Any, receive: Any, send: Any) -> None:
        await FromSiblings(app)({**scope, "break off": break_off}, receive, send)

    def break_off() -> None:
        for connection in list(server.server_state.connections):
            connection.transport.abort()

    config = uvicorn.Config(
        breakable,
        uds=str(folder / "1.sock"),
        log_config=None,
        log_level="critical",
        lifespan="off",
        server_header=False,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    seat = Seat(0, 3, folder)
    forwarder = Forwarder(seat)
    try:
        yield Routing(unknown, seat, forwarder, Limits(max_body_bytes=100), lambda _: None)
    finally:
        forwarder.close()
        server.should_exit = True
        await serving


class Exchange:
    """One request as the HTTP server puts it to a worker."""

    def __init__(self, method: str = "POST", *parts: bytes, headers: Any = OURS, **scope: Any) -> None:
        self.scope = {
            "type": "http",
            "method": method,
            "path": "/mcp",
            "raw_path": b"/mcp",
            "query_string": b"a=%20b",
            "headers": headers,
            "client": ("192.0.2.7", 4242),
            **scope,
        }
        self._parts = list(parts) or [b""]
        self.sent: list[Json] = []
        self.leave = asyncio.Event()
        self.told = asyncio.Event()

    async def receive(self) -> Json:
        if self._parts:
            part = self._parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self._parts)}
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Json) -> None:
        self.sent.append(message)
        self.told.set()

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


async def test_a_request_arrives_as_it_was_sent_and_so_does_its_response(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, await receive()))
        headers = [(b"x-mark", "ä".encode("latin-1")), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 418, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    sent = [*OURS, (b"x-raw", b"\xe4\xff"), (b"connection", b"close"), (b"transfer-encoding", b"chunked")]
    exchange = Exchange(
        "POST", b"first ", b"second", headers=[*sent, (b"x-backchannel-peer", b"127.0.0.1 1")]
    )
    async with owner(tmp_path, app) as worker:
        await worker(exchange.scope, exchange.receive, exchange.send)
    ((scope, body),) = seen
    assert (scope["method"], scope["path"], scope["query_string"]) == ("POST", "/mcp", b"a=%20b")
    assert scope["client"] == ("192.0.2.7", 4242), "not what a client's own header says"
    assert [*OURS, (b"x-raw", b"\xe4\xff"), (b"content-length", b"12")] == scope["headers"]
    assert body["body"] == b"first second"
    assert (exchange.status, exchange.body) == (418, b"ok")
    assert exchange.sent[0]["headers"] == [(b"x-mark", b"\xe4"), (b"content-length", b"2")]


async def test_parts_of_a_stream_come_as_they_are_sent_and_its_end_when_the_client_leaves(
    tmp_path: Path,
) -> None:
    left = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    exchange = Exchange("GET")
    async with owner(tmp_path, app) as worker, asyncio.timeout(10):
        serving = asyncio.ensure_future(worker(exchange.scope, exchange.receive, exchange.send))
        while exchange.body != b"one":
            exchange.told.clear()
            await exchange.told.wait()
        exchange.leave.set()
        await serving
        await left.wait()


@pytest.mark.parametrize("begun", [False, True], ids=["before its answer", "in the middle of it"])
async def test_an_owner_that_breaks_off_is_not_taken_for_one_that_answered(
    tmp_path: Path, begun: bool
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        scope["break off"]()

    exchange = Exchange()
    async with owner(tmp_path, app) as worker:
        await worker(exchange.scope, exchange.receive, exchange.send)
    if begun:
        assert exchange.body == b"half"
        assert exchange.sent[-1]["more_body"], "left incomplete"
    else:
        assert exchange.status == 502
        assert b"may have been done" in exchange.body


async def test_what_no_sibling_can_be_asked_is_answered_here(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("not for worker 1")

    gone = [(b"mcp-session-id", b"2.abc")]
    mine = [(b"mcp-session-id", b"0.abc")]
    async with owner(tmp_path, app) as worker:
        for exchange in (
            Exchange(headers=gone),
            Exchange(headers=mine),
            Exchange(headers=[]),
            Exchange("POST", b"x" * 101),  # more than limits.max_body_bytes
            Exchange("POST", b'{"params": {"requestState": "x"}}', headers=[]),
            Exchange("POST", b'{"params": {"requestState": ', headers=[]),
            Exchange("POST", b"x", path="/messages", query_string=b"session_id=2.abc"),
        ):
            await worker(exchange.scope, exchange.receive, exchange.send)
            assert (exchange.status, exchange.body) == (404, b"here")
