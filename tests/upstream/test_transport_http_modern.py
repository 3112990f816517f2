"""Streamable HTTP of the modern era: the envelope, mirrored headers, subscriptions."""

from __future__ import annotations

import asyncio

import pytest

from gateway.calls.model import LATER, Suspended
from gateway.errors import ConnectionLost, PeerError, ServerUnavailable
from gateway.upstream.dial import dialer_for
from gateway.upstream.modern_connection import ModernConnection
from tests.support.raw.httpd import Reply, Request
from tests.support.raw.peers import MODERN, PROFILE, Recorder, call, raw_server
from tests.support.raw.stateless import META, Json, Stateless, connected, tool

ANNOTATED: Json = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
    },
}
BROKEN: Json = {"type": "object", "properties": {"x": {"type": "number", "x-mcp-header": "X"}}}


async def test_every_request_says_who_asks_and_what_it_can_answer_and_mirrors_it_in_headers() -> None:
    server = Stateless()
    async with connected(server) as (httpd, connection):
        meta = {
            "com.example/a": 1,
            META + "protocolVersion": "the client's own",
            META + "clientInfo": {"name": "somebody"},
            META + "clientCapabilities": {"everything": {}},
            META + "logLevel": "debug",
        }
        await connection.call("tools/call", {"name": "t", "_meta": meta})
        await connection.call("resources/read", {"uri": "file:///ä"})
        await connection.call("x/y", {"name": "not mirrored"})
    for request in httpd.requests:
        stamped = request.json["params"]["_meta"]
        assert stamped[META + "protocolVersion"] == request.headers["mcp-protocol-version"] == "2026-07-28"
        assert stamped[META + "clientInfo"]["name"] == "backchannel"
        assert set(stamped[META + "clientCapabilities"]) == {"sampling", "elicitation", "roots"}
        assert request.headers["mcp-method"] == request.json["method"]
        assert "mcp-session-id" not in request.headers
    called, read, other = server.calls
    assert called.json["params"]["_meta"]["com.example/a"] == 1
    assert called.json["params"]["_meta"][META + "logLevel"] == "debug"
    assert called.headers["mcp-name"] == "t"
    assert read.headers["mcp-name"] == "=?base64?ZmlsZTovLy/DpA==?="
    assert "mcp-name" not in other.headers


async def test_annotated_arguments_become_headers_once_the_tool_has_been_listed() -> None:
    server = Stateless(tool("t", ANNOTATED))
    async with connected(server) as (_, connection):
        await connection.call("tools/list", {})
        await call(connection, "t", region="Zürich", deep={"n": 7})
        await call(connection, "t", region=None)
    first, second = server.calls
    assert first.headers["mcp-param-region"] == "=?base64?WsO8cmljaA==?="
    assert first.headers["mcp-param-n"] == "7"
    assert not any(name.startswith("mcp-param") for name in second.headers)


async def test_a_header_mismatch_lists_every_page_again_and_retries_once() -> None:
    server = Stateless(tool("a", {}), tool("t", ANNOTATED))
    server.demands = {"mcp-param-region": "eu"}
    async with connected(server) as (httpd, connection):
        await call(connection, "t", region="eu")
        assert len(server.calls) == 2
        server.demands = {"mcp-param-other": "x"}
        with pytest.raises(PeerError) as raised:
            await call(connection, "t", region="eu")
    assert raised.value.code == -32020
    assert len(server.calls) == 4
    assert server.calls[0].json["id"] != server.calls[1].json["id"]
    assert sum(request.json["method"] == "tools/list" for request in httpd.requests) == 4


async def test_a_tool_whose_annotations_are_invalid_is_left_out_and_the_others_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = tool("good", ANNOTATED)
    server = Stateless(tool("bad", BROKEN), good)
    async with connected(server) as (_, connection):
        first = await connection.call("tools/list", {})
        second = await connection.call("tools/list", {"cursor": "2"})
    assert first == {"resultType": "complete", "tools": [], "nextCursor": "2"}
    assert isinstance(second, dict)
    assert second["tools"] == [good]
    assert "tool 'bad' of server web is left out" in caplog.text


async def test_list_changes_are_listened_to_where_offered_and_lose_their_stamp() -> None:
    server = Stateless(
        capabilities={"tools": {"listChanged": True}, "prompts": {}, "resources": {"listChanged": False}}
    )
    recorder = Recorder()
    async with connected(server, recorder):
        await server.listened.wait()
        await server.announce(0, "tools/list_changed", x=1, _meta={"com.example/a": 2})
        told = await recorder.told("notifications/tools/list_changed")
    assert [wanted for wanted, _, _ in server.listens] == [{"toolsListChanged": True}]
    assert told == ("listener", {"x": 1, "_meta": {"com.example/a": 2}})
    assert [method for _, method, _ in recorder.notifications] == ["notifications/tools/list_changed"]


async def test_nothing_is_listened_to_where_nothing_is_offered() -> None:
    server = Stateless()
    async with connected(server) as (httpd, connection):
        await call(connection, "t")
    assert server.listens == []
    assert len(httpd.requests) == 2


async def test_a_listen_stream_that_breaks_is_opened_again_and_counts_as_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.upstream.subscriptions._FIRST_BACKOFF", 0.01)
    server = Stateless(capabilities={"tools": {"listChanged": True}})
    recorder = Recorder()
    async with connected(server, recorder):
        await server.listened.wait()
        server.listens[0][1].abort()
        await recorder.told("notifications/tools/list_changed")
        assert len(server.listens) == 2
        await server.listens[1][1].event(Stateless.result(_Asked(server.listens[1][2])))
        recorder.notifications.clear()
        await recorder.told("notifications/tools/list_changed")
        assert len(server.listens) == 3


async def test_updates_of_resources_follow_subscribe_and_unsubscribe_as_in_the_other_era() -> None:
    server = Stateless(capabilities={"resources": {"subscribe": True}})
    recorder = Recorder()
    async with connected(server, recorder) as (_, connection):
        assert await connection.call("resources/subscribe", {"uri": "file:///a"}) == {}
        await asyncio.gather(
            *(connection.call("resources/subscribe", {"uri": f"file:///{name}"}) for name in "bc")
        )
        await server.announce(-1, "resources/updated", uri="file:///b")
        assert await recorder.told("notifications/resources/updated") == ("listener", {"uri": "file:///b"})
        for name in "abc":
            await connection.call("resources/unsubscribe", {"uri": f"file:///{name}"})
        for _, reply, _ in server.listens:
            await reply.left.wait()
    wanted = [wanted["resourceSubscriptions"] for wanted, _, _ in server.listens]
    assert wanted[0] == ["file:///a"]
    assert wanted[2] == ["file:///a", "file:///b", "file:///c"]
    assert wanted[-1] == ["file:///c"]


async def test_a_subscription_the_server_does_not_honor_is_an_error_and_changes_nothing() -> None:
    server = Stateless(capabilities={"resources": {}})
    async with connected(server) as (_, connection):
        assert isinstance(connection, ModernConnection)
        await connection.listen_resources(frozenset({"file:///a"}))
        server.honor = False
        with pytest.raises(PeerError, match="does not announce updates of file:///b"):
            await connection.call("resources/subscribe", {"uri": "file:///b"})
        server.honor = True
        await server.listens[1][1].left.wait()
        assert not server.listens[0][1].left.is_set()


@pytest.mark.parametrize("kind", MODERN)
async def test_a_subscription_works_over_every_transport(kind: str) -> None:
    recorder = Recorder()
    async with raw_server(kind) as config:
        connection = await dialer_for(config).dial(PROFILE, recorder.listener)
        await connection.call("resources/subscribe", {"uri": "file:///a"})
        await call(connection, "until", listeners=2)
        await call(
            connection, "announce", method="notifications/resources/updated", params={"uri": "file:///a"}
        )
        assert await recorder.told("notifications/resources/updated") == ("listener", {"uri": "file:///a"})
        await connection.call("resources/unsubscribe", {"uri": "file:///a"})
        await call(connection, "until", listeners=1)
        await connection.aclose()


@pytest.mark.parametrize("kind", MODERN)
async def test_a_suspended_call_is_resumed_with_the_servers_state(kind: str) -> None:
    requests = {
        "now": {"method": "sampling/createMessage", "params": {"messages": []}},
        "later": {"method": "elicitation/create", "params": {"message": "?", "x-unknown": 1}},
    }
    recorder = Recorder({"sampling/createMessage": {"model": "m"}, "elicitation/create": LATER})
    params = {"name": "ask", "arguments": {"requests": requests}}
    async with raw_server(kind) as config:
        dialer = dialer_for(config)
        connection = await dialer.dial(PROFILE, recorder.listener)
        outcome = await connection.call("tools/call", params, recorder.scope)
        assert isinstance(outcome, Suspended)
        assert outcome.requests == {"later": requests["later"]}
        await connection.aclose()
        answered = {**outcome.resume.answers, "later": {"action": "decline"}}
        resume = type(outcome.resume)(outcome.resume.state, answered, outcome.resume.round)
        again = await dialer.dial(PROFILE, recorder.listener)
        result = await again.call("tools/call", params, recorder.scope, resume)
        await again.aclose()
    assert isinstance(result, dict)
    assert result["answers"] == {"now": {"model": "m"}, "later": {"action": "decline"}}
    assert result["requestState"] == '{"ö": 1}#1'


async def test_json_responses_serve_as_well_as_streams() -> None:
    async with raw_server("http-modern", "--json") as config:
        connection = await dialer_for(config).dial(PROFILE, Recorder().listener)
        assert (await call(connection, "echo", x=1))["structuredContent"] == {"x": 1}
        await connection.aclose()


async def test_a_stream_that_breaks_ends_its_call_alone_for_it_cannot_be_resumed() -> None:
    class Breaking(Stateless):
        async def call(self, request: Request, reply: Reply) -> None:
            if request.json["params"]["name"] == "breaks":
                await reply.stream()
                await reply.chunk(b"id: e-1\ndata:\n\n")
                reply.abort()
            else:
                await super().call(request, reply)

    async with connected(Breaking()) as (httpd, connection):
        with pytest.raises(ConnectionLost):
            await call(connection, "breaks")
        assert await call(connection, "fine") == {"resultType": "complete", "content": []}
        assert {request.method for request in httpd.requests} == {"POST"}


async def test_revoked_credentials_end_the_call_and_say_what_to_set() -> None:
    class Revoking(Stateless):
        async def call(self, request: Request, reply: Reply) -> None:
            error = {"code": -32001, "message": "who are you?"}
            await reply.send_json({"jsonrpc": "2.0", "id": None, "error": error}, 401)

    async with connected(Revoking()) as (_, connection):
        with pytest.raises(ServerUnavailable, match="HTTP 401 Unauthorized; set `headers`"):
            await call(connection, "t")


class _Asked(Request):
    """A request of which only the id is known."""

    def __init__(self, number: int) -> None:
        super().__init__("POST", "", {}, b'{"id": %d}' % number, 0)
