"""Streamable HTTP of the handshake era: sessions, streams that break, the GET stream."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import ConnectionLost, PeerError
from gateway.upstream.dial import dialer_for
from tests.support.raw.httpd import Reply, Request
from tests.support.raw.peers import PROFILE, Recorder, call, raw_server
from tests.support.raw.session import OK, Session, response, session


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
