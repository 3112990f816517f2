"""Streamable HTTP of the handshake era: sessions, streams that break, the GET stream, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.config.resolved import ServerConfig
from gateway.errors import BackchannelError, CallError, ConnectionLost, PeerError, ServerUnavailable
from gateway.upstream.dial import dialer_for
from gateway.upstream.port import Connection
from tests.support.raw.httpd import Httpd, Reply, Request
from tests.support.raw.peers import HERE, PROFILE, Recorder, call, raw_server

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


async def test_every_later_request_names_the_session_and_the_agreed_revision_and_closing_deletes_it() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        await reply.send_json(response(request))

    server = Session(tool)
    server.version = "2025-06-18"
    async with session(server, headers={"Authorization": "Bearer k"}) as (httpd, connection):
        await call(connection, "t")
    assert server.closed.is_set()
    first = next(r for r in httpd.requests if r.body and r.json["method"] == "initialize")
    assert "mcp-session-id" not in first.headers
    assert "mcp-protocol-version" not in first.headers
    later = httpd.requests[httpd.requests.index(first) + 1 :]
    assert {r.method for r in later} == {"POST", "GET", "DELETE"}
    for request in later:
        assert request.headers["mcp-session-id"] == "secret-session"
        assert request.headers["mcp-protocol-version"] == "2025-06-18"
    assert all(r.headers["authorization"] == "Bearer k" for r in httpd.requests)
    assert "secret-session" not in repr(connection)


async def test_calls_one_after_the_other_share_one_tcp_connection_even_over_streams() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        await reply.stream()
        await reply.event(response(request))
        await reply.end()

    async with session(Session(tool)) as (httpd, connection):
        for _ in range(10):
            await call(connection, "t")
    assert httpd.connections <= 3


async def test_a_stream_that_breaks_after_an_event_id_is_resumed_where_it_stood() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        asked = request.json["id"]
        server.get = lambda get, again: resumed(asked, get, again)
        await reply.stream()
        await reply.chunk(b"id: e-1\nretry: 10\ndata:\n\n")
        reply.abort()

    async def resumed(asked: int, request: Request, reply: Reply) -> None:
        last = request.headers.get("last-event-id")
        if last == "e-1":
            await reply.stream()
            progress = {"progressToken": asked, "progress": 1}
            await reply.event(
                {"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}, "e-2"
            )
            await reply.end()
        elif last == "e-2":
            await reply.stream()
            await reply.event({"jsonrpc": "2.0", "id": asked, "result": {"resumed": True}}, "e-3")
            await reply.end()
        else:
            await reply.send(405)

    server = Session(tool)
    recorder = Recorder()
    async with session(server, recorder) as (_, connection):
        params = {"name": "t", "_meta": {"progressToken": "mine"}}
        assert await connection.call("tools/call", params, recorder.scope) == {"resumed": True}
    assert recorder.notifications == [
        ("scope", "notifications/progress", {"progressToken": "mine", "progress": 1})
    ]


async def test_a_stream_that_cannot_be_resumed_ends_its_call_alone() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        if request.json["params"]["name"] == "fine":
            await reply.send_json(response(request))
            return
        server.get = resumed
        await reply.stream()
        await reply.chunk(b"id: e-1\nretry: 1\ndata:\n\n")
        reply.abort()

    async def resumed(request: Request, reply: Reply) -> None:
        await reply.stream()
        reply.abort()

    server = Session(tool)
    async with session(server) as (_, connection):
        with pytest.raises(ConnectionLost, match="could not be resumed in 5 attempts"):
            await call(connection, "breaks")
        assert await call(connection, "fine") == OK
        assert not connection.closed.is_set()


@pytest.mark.parametrize("ending", ["abort", "end"])
async def test_a_stream_that_ends_without_a_response_or_an_event_id_ends_its_call_alone(ending: str) -> None:
    async def tool(request: Request, reply: Reply) -> None:
        if request.json["params"]["name"] == "fine":
            await reply.send_json(response(request))
            return
        await reply.stream()
        await (reply.end() if ending == "end" else asyncio.to_thread(reply.abort))

    async with session(Session(tool)) as (_, connection):
        with pytest.raises(ConnectionLost):
            await call(connection, "breaks")
        assert await call(connection, "fine") == OK


async def test_a_forgotten_session_closes_the_connection_and_its_calls_and_is_not_deleted() -> None:
    held = asyncio.Event()

    async def tool(request: Request, reply: Reply) -> None:
        if request.json["params"]["name"] == "held":
            held.set()
            await reply.left.wait()
            return
        error = {"code": -32001, "message": "Session not found"}
        await reply.send_json({"jsonrpc": "2.0", "id": "server-error", "error": error}, 404)

    server = Session(tool)
    async with session(server) as (_, connection):
        waiting = asyncio.create_task(call(connection, "held"))
        await held.wait()
        with pytest.raises(ConnectionLost, match="forgot its session"):
            await call(connection, "t")
        with pytest.raises(ConnectionLost, match="forgot its session"):
            await waiting
        assert connection.why_closed == "the server forgot its session"
    assert not server.closed.is_set()


async def test_an_unknown_method_with_status_404_is_no_forgotten_session() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        error = {"code": -32601, "message": "no such method"}
        await reply.send_json({"jsonrpc": "2.0", "id": request.json["id"], "error": error}, 404)

    async with session(Session(tool)) as (_, connection):
        with pytest.raises(PeerError, match="no such method"):
            await call(connection, "t")
        assert not connection.closed.is_set()


async def test_the_get_stream_brings_what_names_no_call_and_is_taken_up_after_it_breaks() -> None:
    again = asyncio.Event()

    async def get(request: Request, reply: Reply) -> None:
        await reply.stream()
        if request.headers.get("last-event-id") is None:
            await reply.chunk(b"retry: 10\n\n")
            asked = {"jsonrpc": "2.0", "id": 1, "method": "roots/list"}
            await reply.event(asked, "g-1")
            await again.wait()
            await reply.end()
            return
        changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        await reply.event(changed, "g-2")
        await reply.left.wait()

    recorder = Recorder({"roots/list": {"roots": []}})
    async with session(Session(get=get), recorder) as (httpd, _):
        await recorder.asked_event.wait()
        again.set()
        assert await recorder.told("notifications/tools/list_changed") == ("listener", {})
    assert [place for place, _ in recorder.questions] == ["listener"]
    answers = [r.json for r in httpd.requests if r.body and "result" in r.json]
    assert answers == [{"jsonrpc": "2.0", "id": 1, "result": {"roots": []}}]
    assert [r.headers.get("last-event-id") for r in httpd.requests if r.method == "GET"] == [None, "g-1"]


async def test_a_get_stream_that_was_closed_for_a_while_counts_as_a_change_of_every_list() -> None:
    async def get(request: Request, reply: Reply) -> None:
        await reply.stream()
        await reply.chunk(b"retry: 10\n\n")
        if server.got == 1:
            await reply.end()
        else:
            await reply.left.wait()

    server, recorder = Session(get=get), Recorder()
    async with session(server, recorder):
        assert await recorder.told("notifications/tools/list_changed") == ("listener", {})


async def test_a_question_on_the_get_stream_cannot_be_lost_between_the_handshake_and_the_first_call() -> None:
    opened = False

    async def get(request: Request, reply: Reply) -> None:
        nonlocal opened
        await reply.stream()
        opened = True
        await reply.left.wait()

    async with session(Session(get=get)):
        assert opened


async def test_unrelated_questions_go_to_the_listener_and_are_answered() -> None:
    recorder = Recorder({"roots/list": {"roots": [{"uri": "file:///x"}]}})
    async with raw_server("http-handshake", "--unrelated") as config:
        connection = await dialer_for(config).dial(PROFILE, recorder.listener)
        result = await call(connection, "ask", recorder.scope, requests={"a": {"method": "roots/list"}})
        await connection.aclose()
    assert result["answers"]["a"]["result"] == {"roots": [{"uri": "file:///x"}]}
    assert [place for place, _ in recorder.questions] == ["listener"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            401,
            r"HTTP 401 Unauthorized; set `headers` \(.*\) of server 'web' in servers.yaml:3",
        ),
        (403, "HTTP 403 Forbidden; set `headers`"),
        (404, r"HTTP 404 Not Found; check the `url` .* and its `type`"),
        (405, "HTTP 405 Method Not Allowed; check the `url`"),
        (503, "HTTP 503 Service Unavailable"),
    ],
)
async def test_a_refused_connection_says_what_to_do(status: int, words: str) -> None:
    async def refuse(request: Request, reply: Reply) -> None:
        await reply.send(status, b"<html>no</html>")

    async with Httpd(refuse) as httpd:
        with pytest.raises(ServerUnavailable, match=words):
            await dialer_for(config_of(httpd)).dial(PROFILE, Recorder().listener)


async def test_nothing_listening_is_said_in_the_systems_words() -> None:
    config = ServerConfig("web", "http", HERE, url="http://127.0.0.1:1/mcp")
    with pytest.raises(ServerUnavailable, match=r"127.0.0.1:1/mcp cannot be reached: .*[Cc]onnect"):
        await dialer_for(config).dial(PROFILE, Recorder().listener)


async def test_no_secret_of_the_address_is_in_an_error_or_a_repr() -> None:
    config = ServerConfig("web", "http", HERE, url="http://me:secret@127.0.0.1:1/mcp?token=secret#secret")
    dialer = dialer_for(config)
    with pytest.raises(ServerUnavailable) as raised:
        await dialer.dial(PROFILE, Recorder().listener)
    assert "secret" not in f"{raised.value} {dialer!r}"


@pytest.mark.parametrize("url", ["http://[", "ftp://x/", "/mcp", "http://x:99999/"])
async def test_an_address_that_is_none_makes_the_server_unavailable(url: str) -> None:
    with pytest.raises(ServerUnavailable, match="cannot be reached"):
        await dialer_for(ServerConfig("web", "http", HERE, url=url)).dial(PROFILE, Recorder().listener)


async def test_cookies_stay_with_the_connection_that_was_given_them() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        await reply.send_json(response(request, cookie=request.headers.get("cookie")))

    class Sticky(Session):
        replica = 0

        async def post(self, request: Request, reply: Reply) -> None:
            if request.json.get("method") == "initialize":
                self.replica += 1
                result = {"protocolVersion": self.version, "capabilities": {}, "serverInfo": {}}
                await reply.send_json(response(request, **result), Set_Cookie=f"replica={self.replica}")
            else:
                await super().post(request, reply)

    async with Httpd(Sticky(tool)) as httpd:
        dialer = dialer_for(config_of(httpd))
        one = await dialer.dial(PROFILE, Recorder().listener)
        two = await dialer.dial(PROFILE, Recorder().listener)
        cookies = [(await call(connection, "t"))["cookie"] for connection in (one, two)]
        await asyncio.gather(one.aclose(), two.aclose())
    assert cookies == ["replica=1", "replica=2"]


async def test_a_session_id_and_an_event_id_beyond_ascii_break_nothing() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        number = request.json["id"]

        async def get(request: Request, reply: Reply) -> None:
            await reply.stream()
            result = {"last": request.headers["last-event-id"].encode("latin-1").decode()}
            await reply.event({"jsonrpc": "2.0", "id": number, "result": result})
            await reply.end()

        server.get = get
        await reply.stream()
        await reply.chunk("id: é-1\nretry: 1\ndata:\n\n".encode())
        await reply.end()

    server = Session(tool)
    async with session(server) as (_, connection):
        assert await call(connection, "t") == {"last": "é-1"}


async def test_a_server_that_never_answers_is_unavailable_within_its_start_timeout() -> None:
    async def silent(request: Request, reply: Reply) -> None:
        await reply.left.wait()

    async with Httpd(silent) as httpd:
        dialer = dialer_for(config_of(httpd, start_timeout=0.3), probe_timeout=0.1)
        with pytest.raises(ServerUnavailable, match=r"not ready within 0.3 s"):
            await dialer.dial(PROFILE, Recorder().listener)


@pytest.mark.parametrize("path", ["/mcp/", "http://127.0.0.1:{port}/moved"])
async def test_redirects_within_the_origin_are_followed(path: str) -> None:
    async def tool(request: Request, reply: Reply) -> None:
        await reply.send_json(response(request))

    server = Session(tool)

    async def redirecting(request: Request, reply: Reply) -> None:
        if request.path == "/mcp":
            await reply.send(307, location=path.format(port=httpd.port))
        else:
            await server(request, reply)

    async with Httpd(redirecting) as httpd:
        connection = await dialer_for(config_of(httpd)).dial(PROFILE, Recorder().listener)
        assert await call(connection, "t") == OK
        await connection.aclose()


async def test_a_redirect_to_another_origin_is_not_followed_and_no_credentials_leave() -> None:
    async with Httpd(Session()) as other:

        async def redirecting(request: Request, reply: Reply) -> None:
            await reply.send(308, location=f"{other.url}/mcp?token=x")

        async with Httpd(redirecting) as httpd:
            config = config_of(httpd, headers={"Authorization": "Bearer k"})
            with pytest.raises(ServerUnavailable, match=f"to {other.url}/mcp, which is not followed"):
                await dialer_for(config).dial(PROFILE, Recorder().listener)
    assert other.requests == []


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda request, reply: reply.send(202), "answered tools/call with HTTP 202"),
        (
            lambda request, reply: reply.send(200, b"hi", content_type="text/plain"),
            "content type 'text/plain'",
        ),
        (lambda request, reply: reply.send(200, b"{", content_type="application/json"), "without a response"),
        (lambda request, reply: reply.send(500, b"oops"), "HTTP 500 Internal Server Error"),
    ],
)
async def test_an_answer_that_is_none_ends_the_call_and_says_what_came(write: Tool, words: str) -> None:
    async with session(Session(write)) as (_, connection):
        with pytest.raises(CallError, match=words):
            await call(connection, "t")
        assert not connection.closed.is_set()


async def test_an_error_without_an_id_answers_the_request_whose_response_it_is() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        error = {"code": -32700, "message": "unreadable"}
        await reply.send_json({"jsonrpc": "2.0", "id": None, "error": error}, 400)

    async with session(Session(tool)) as (_, connection):
        with pytest.raises(PeerError, match="unreadable"):
            await call(connection, "t")


async def test_cancelling_posts_the_notification_before_the_stream_closes() -> None:
    order: list[str] = []
    begun = asyncio.Event()

    async def tool(request: Request, reply: Reply) -> None:
        await reply.stream()
        begun.set()
        await reply.left.wait()
        order.append("closed")

    class Noting(Session):
        async def post(self, request: Request, reply: Reply) -> None:
            if request.json.get("method") == "notifications/cancelled":
                order.append(f"cancelled {request.json['params']['requestId']}")
            await super().post(request, reply)

    async with session(Noting(tool)) as (httpd, connection):
        calling = asyncio.create_task(call(connection, "t"))
        await begun.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
    asked = next(r.json["id"] for r in httpd.requests if r.body and r.json.get("method") == "tools/call")
    assert order == [f"cancelled {asked}", "closed"]


async def test_a_batch_of_messages_is_taken_apart() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        log = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": 1}}
        await reply.send_json([log, response(request)])

    recorder = Recorder()
    async with session(Session(tool), recorder) as (_, connection):
        assert await call(connection, "t", recorder.scope) == OK
    assert recorder.notifications == [("scope", "notifications/message", {"data": 1})]


async def test_the_era_is_asked_once_and_again_only_after_the_server_was_lost() -> None:
    async def tool(request: Request, reply: Reply) -> None:
        await reply.send(404)

    def probes() -> int:
        return sum(r.body != b"" and r.json.get("method") == "server/discover" for r in httpd.requests)

    async with Httpd(Session(tool)) as httpd:
        dialer = dialer_for(config_of(httpd))
        first = await dialer.dial(PROFILE, Recorder().listener)
        await first.aclose()
        second = await dialer.dial(PROFILE, Recorder().listener)
        assert probes() == 1
        with pytest.raises(BackchannelError):
            await call(second, "t")
        await second.aclose()
        third = await dialer.dial(PROFILE, Recorder().listener)
        assert probes() == 2
        await third.aclose()
