"""HTTP+SSE: the endpoint event, what may end the stream, and what a failing POST means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.config.resolved import ServerConfig
from gateway.errors import ConnectionLost, ServerUnavailable
from gateway.upstream.dial import dialer_for
from gateway.upstream.port import Connection
from tests.support.raw.httpd import Httpd, Reply, Request
from tests.support.raw.peers import HERE, PROFILE, Recorder, call


class Old:
    """A 2024-11-05 server; `on_call` is what it does with a tool call, given its stream."""

    def __init__(self, endpoint: str = "/messages?session=1") -> None:
        self.endpoint = endpoint
        self.stream: Reply | None = None
        self.done = asyncio.Event()
        self.on_call: Callable[[Request, Reply, Reply], Awaitable[None]] | None = None

    async def __call__(self, request: Request, reply: Reply) -> None:
        if request.method == "GET":
            await reply.stream()
            self.stream = reply
            await reply.event(self.endpoint, name="endpoint")
            left, done = asyncio.ensure_future(reply.left.wait()), asyncio.ensure_future(self.done.wait())
            await asyncio.wait({left, done}, return_when=asyncio.FIRST_COMPLETED)
            left.cancel()
            done.cancel()
            return
        assert self.stream is not None
        message = request.json
        if message["method"] == "initialize":
            await reply.send(202, b"Accepted")
            result = {"protocolVersion": "2024-11-05", "capabilities": {}, "serverInfo": {}}
            await self.stream.event({"jsonrpc": "2.0", "id": message["id"], "result": result})
        elif message["method"] == "tools/call" and self.on_call is not None:
            await self.on_call(request, reply, self.stream)
        else:
            await reply.send(202)


@asynccontextmanager
async def connected(server: Old) -> AsyncGenerator[tuple[Httpd, Connection]]:
    async with Httpd(server) as httpd:
        config = ServerConfig("old", "sse", HERE, url=httpd.url + "/sse", headers={"X-Key": "k"})
        connection = await dialer_for(config).dial(PROFILE, Recorder().listener)
        try:
            yield httpd, connection
        finally:
            await connection.aclose()


@pytest.mark.parametrize(
    "endpoint", ["/messages?session=1", "messages?session=1", "{url}/messages?session=1"]
)
async def test_messages_go_where_the_endpoint_event_says(endpoint: str) -> None:
    server = Old()

    async def answer(request: Request, reply: Reply, stream: Reply) -> None:
        await reply.send(202)
        await stream.event({"jsonrpc": "2.0", "id": request.json["id"], "result": {"x": 1}})

    server.on_call = answer
    async with Httpd(server) as httpd:
        server.endpoint = endpoint.format(url=httpd.url)
        config = ServerConfig("old", "sse", HERE, url=httpd.url + "/sse", headers={"X-Key": "k"})
        connection = await dialer_for(config).dial(PROFILE, Recorder().listener)
        assert connection.hello.protocol_version == "2024-11-05"
        assert await call(connection, "t") == {"x": 1}
        await connection.aclose()
    assert {request.path for request in httpd.requests} == {"/sse", "/messages?session=1"}
    assert {request.headers["x-key"] for request in httpd.requests} == {"k"}


@pytest.mark.parametrize(
    "endpoint", ["http://elsewhere.example/messages", "https://127.0.0.1/messages", "http://["]
)
async def test_an_endpoint_of_another_origin_is_refused(endpoint: str) -> None:
    async with Httpd(Old(endpoint)) as httpd:
        config = ServerConfig("old", "sse", HERE, url=httpd.url + "/sse")
        with pytest.raises(ServerUnavailable, match="its endpoint event"):
            await dialer_for(config).dial(PROFILE, Recorder().listener)
    assert {request.method for request in httpd.requests} == {"GET"}


async def test_the_end_of_the_stream_is_the_end_of_the_connection_and_its_calls() -> None:
    server = Old()

    async def end(request: Request, reply: Reply, stream: Reply) -> None:
        await reply.send(202)
        await stream.end()
        server.done.set()

    server.on_call = end
    async with connected(server) as (_, connection):
        with pytest.raises(ConnectionLost, match="its event stream ended"):
            await call(connection, "t")
        assert connection.closed.is_set()


async def test_a_message_that_is_not_taken_ends_its_call_alone() -> None:
    server = Old()

    async def refuse(request: Request, reply: Reply, stream: Reply) -> None:
        await reply.send(500, b"no")

    server.on_call = refuse
    async with connected(server) as (_, connection):
        with pytest.raises(ServerUnavailable, match="HTTP 500 Internal Server Error"):
            await call(connection, "t")
        assert not connection.closed.is_set()


@pytest.mark.parametrize(
    ("status", "words"), [(401, "set `headers`"), (404, "its `type`"), (405, "its `type`")]
)
async def test_a_refused_stream_says_what_to_do(status: int, words: str) -> None:
    async def refuse(request: Request, reply: Reply) -> None:
        await reply.send(status)

    async with Httpd(refuse) as httpd:
        config = ServerConfig("old", "sse", HERE, url=httpd.url + "/sse")
        with pytest.raises(ServerUnavailable, match=f"HTTP {status}.*{words}"):
            await dialer_for(config).dial(PROFILE, Recorder().listener)
