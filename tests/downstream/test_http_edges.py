"""The MCP endpoint as raw HTTP: what no well-behaved SDK client would send, and what breaks on the way."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.calls.model import Call, CallOutcome
from gateway.config.resolved import ApiKey, Http, Limits
from gateway.wire import sse
from tests.support.front import Held, Slow, ask, echo
from tests.support.raw_http import ENVELOPE, META, EventStream, call, http, initialize, modern


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, -32700),
        (b"{", 400, -32700),
        (b"[" * 100_000, 400, -32700),
        (b"[]", 400, -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', 400, -32600),
        (b'"text"', 400, -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', 400, -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}', 400, -32600),
    ],
)
async def test_what_is_no_message_is_refused_with_a_reason(start_front, body, status, code) -> None:
    async with http(await start_front()) as client:
        response = await client.post("/mcp", content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"]["message"]


async def test_a_body_beyond_the_limit_is_refused_by_the_settings_name(start_front) -> None:
    front = await start_front(limits=Limits(max_body_bytes=1000))
    async with http(front) as client:
        response = await client.post("/mcp", content=b" " * 1001)
        assert response.status_code == 413
        assert "limits.max_body_bytes" in response.text

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b" " * 100

        assert (await client.post("/mcp", content=chunks())).status_code == 413


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("PUT", {}, 405),
        ("GET", {"mcp-protocol-version": "2026-07-28"}, 405),
        ("DELETE", {"mcp-protocol-version": "2026-07-28"}, 405),
        ("GET", {}, 400),
        ("DELETE", {}, 400),
        ("GET", {"mcp-session-id": "unknown"}, 404),
        ("POST", {"mcp-session-id": "unknown"}, 404),
        ("POST", {"content-type": "text/plain"}, 415),
        ("POST", {"host": "evil.example"}, 403),
        ("POST", {"origin": "https://evil.example"}, 403),
    ],
)
async def test_requests_that_cannot_be_served_get_their_status(start_front, method, headers, status) -> None:
    async with http(await start_front()) as client:
        message = {"jsonrpc": "2.0", "id": 1, "method": "ping"} if method == "POST" else None
        response = await client.request(method, "/mcp", json=message, headers=headers)
    assert response.status_code == status, response.text


async def test_a_session_has_its_own_revision_and_its_stream_is_one_of_events(start_front) -> None:
    async with http(await start_front()) as client:
        session = await initialize(client)
        assert (
            await client.get("/mcp", headers={**session, "accept": "application/json"})
        ).status_code == 406
        older = {**session, "mcp-protocol-version": "2024-01-01"}
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        refused = await client.post("/mcp", json=ping, headers=older)
        assert refused.status_code == 400


async def test_a_key_is_asked_for_and_a_session_belongs_to_its_principal(start_front) -> None:
    keys = tuple(ApiKey(name, hashlib.sha256(name.encode()).hexdigest()) for name in ("ann", "bob"))
    front = await start_front(keys=keys)
    async with http(front) as client:
        refused = await client.post("/mcp", json=call("echo"))
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
    async with http(front, authorization="Bearer ann") as client:
        session = await initialize(client)
        assert (await client.post("/mcp", json=call("nope"), headers=session)).status_code == 200
        stolen = await client.post(
            "/mcp", json=call("nope"), headers={**session, "authorization": "Bearer bob"}
        )
        assert stolen.status_code == 404


async def test_sessions_are_bounded_and_idle_ones_end(start_front) -> None:
    front = await start_front(limits=Limits(max_sessions=2, session_idle_seconds=60))
    async with http(front) as client:
        await initialize(client)
        await initialize(client)
        full = await client.post(
            "/mcp", json={"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}}
        )
        assert full.status_code == 503
        assert "limits.max_sessions" in full.text
        for session in list(front.sessions._sessions.values()):
            session.used -= 61
        await front.sessions.expire_now()
        assert len(front.sessions) == 0
        await initialize(client)


async def test_a_session_that_was_ended_is_gone_and_its_calls_are_cancelled(start_front) -> None:
    front = await start_front()
    slow = front.servers.behaviours["slow"] = Slow()
    async with http(front) as client:
        session = await initialize(client)
        calling = asyncio.create_task(client.post("/mcp", json=call("slow"), headers=session))
        await slow.started.wait()
        assert (await client.delete("/mcp", headers=session)).status_code == 200
        await asyncio.wait_for(slow.ended.wait(), 5)
        await calling
        assert (await client.post("/mcp", json=call("slow"), headers=session)).status_code == 404


async def test_a_client_that_uses_one_id_for_everything_is_served(start_front) -> None:
    front = await start_front()
    front.servers.behaviours["echo"] = echo
    async with http(front) as client:
        session = await initialize(client)
        posts = [client.post("/mcp", json=call("echo", 1, n=n), headers=session) for n in range(10)]
        answers = [response.json() for response in await asyncio.gather(*posts)]
    seen = [answer["result"]["structuredContent"]["params"]["arguments"]["n"] for answer in answers]
    assert seen == list(range(10))
    assert all(answer["id"] == 1 for answer in answers)


async def test_a_client_that_takes_no_event_stream_gets_answers_and_is_never_asked(start_front) -> None:
    front = await start_front()
    front.servers.behaviours.update(echo=echo, ask=ask)
    async with http(front) as client:
        session = {**await initialize(client, {"elicitation": {}}), "accept": "application/json"}
        fine = await client.post("/mcp", json=call("echo"), headers=session)
        assert fine.headers["content-type"] == "application/json"
        asked = await client.post("/mcp", json=call("ask"), headers=session)
        assert "stream" in asked.json()["error"]["message"]


async def test_a_broken_stream_does_not_cancel_and_can_be_resumed_where_it_broke(start_front) -> None:
    front = await start_front()
    go_on = asyncio.Event()

    async def talk(_: Call, scope: Any) -> CallOutcome:
        for number in range(3):
            scope.notification("notifications/progress", {"progressToken": 1, "progress": number})
        await go_on.wait()
        scope.notification("notifications/progress", {"progressToken": 1, "progress": 3})
        return {"content": [], "structuredContent": {"finished": True}}

    front.servers.behaviours["talk"] = talk
    async with http(front) as client:
        session = await initialize(client)
        async with client.stream("POST", "/mcp", json=call("talk", 77), headers=session) as response:
            stream = EventStream(response)
            first = await stream.next()
            assert json.loads(first.data)["params"]["progress"] == 0
        go_on.set()
        resume = {**session, "last-event-id": first.id}
        async with client.stream("GET", "/mcp", headers=resume) as response:
            stream = EventStream(response)
            rest = [await stream.message() for _ in range(4)]
    assert [message["params"]["progress"] for message in rest[:3]] == [1, 2, 3]
    assert (rest[3]["id"], rest[3]["result"]["structuredContent"]) == (77, {"finished": True})


async def test_a_question_is_withdrawn_from_the_client_when_it_is_no_longer_open(start_front) -> None:
    front = await start_front()

    async def impatient(call: Call, scope: Any) -> CallOutcome:
        try:
            async with asyncio.timeout(0.05):
                return await ask(call, scope)
        except TimeoutError:
            return {"content": [], "structuredContent": {"gave": "up"}}

    front.servers.behaviours["impatient"] = impatient
    async with http(front) as client:
        session = await initialize(client, {"elicitation": {}})
        async with client.stream("POST", "/mcp", json=call("impatient"), headers=session) as response:
            stream = EventStream(response)
            question, withdrawn, answer = [await stream.message() for _ in range(3)]
        late = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}}
        assert (await client.post("/mcp", json=late, headers=session)).status_code == 202
    assert question["method"] == "elicitation/create"
    assert question["params"]["x-own"] is True
    assert withdrawn["params"]["requestId"] == question["id"]
    assert answer["result"]["structuredContent"] == {"gave": "up"}


async def test_a_cancelled_call_is_never_answered(start_front) -> None:
    front = await start_front()
    started = asyncio.Event()

    async def slow(_: Call, scope: Any) -> CallOutcome:
        scope.notification("notifications/progress", {"progressToken": 1, "progress": 1})
        started.set()
        await asyncio.Event().wait()
        return {}

    front.servers.behaviours["slow"] = slow
    async with http(front) as client:
        session = await initialize(client)
        async with client.stream("POST", "/mcp", json=call("slow", 5), headers=session) as response:
            await started.wait()
            params = {"requestId": 5}
            cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            assert (await client.post("/mcp", json=cancel, headers=session)).status_code == 202
            body = (await response.aread()).decode()
    assert "notifications/progress" in body
    assert '"result"' not in body
    assert '"error"' not in body


async def test_a_quiet_stream_is_kept_alive(start_front) -> None:
    front = await start_front(http=Http(keepalive_seconds=0.02))
    go_on = asyncio.Event()

    async def quiet(_: Call, scope: Any) -> CallOutcome:
        await go_on.wait()
        return {"content": []}

    front.servers.behaviours["quiet"] = quiet
    async with http(front) as client:
        async with client.stream("POST", "/mcp", **modern(call("quiet"))) as response:
            assert response.headers["content-type"] == "text/event-stream"
            chunks = response.aiter_bytes()
            assert await anext(chunks) == sse.KEEPALIVE
            go_on.set()
            rest = b"".join([chunk async for chunk in chunks])
    assert b'"result"' in rest


@pytest.mark.parametrize(
    ("headers", "code", "status"),
    [
        ({"mcp-method": "tools/list"}, -32020, 400),
        ({"mcp-name": "other"}, -32020, 400),
        ({"mcp-protocol-version": "2030-01-01"}, -32020, 400),
    ],
)
async def test_headers_that_contradict_a_modern_body_are_refused(start_front, headers, code, status) -> None:
    front = await start_front()
    front.servers.behaviours["echo"] = echo
    async with http(front) as client:
        response = await client.post("/mcp", **modern(call("echo"), **headers))
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


async def test_mirrored_parameters_are_checked_against_the_exposed_tool(start_front) -> None:
    front = await start_front()
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    front.servers.behaviours["mirrored"] = echo
    front.servers.schemas["mirrored"] = schema
    async with http(front) as client:
        message = call("mirrored", region="eu")
        agreeing = await client.post("/mcp", **modern(message, **{"mcp-param-region": "eu"}))
        assert agreeing.status_code == 200
        for headers in ({"mcp-param-region": "us"}, {}):
            response = await client.post("/mcp", **modern(message, **headers))
            assert (response.status_code, response.json()["error"]["code"]) == (400, -32020)


@pytest.mark.parametrize("method", ["ping", "logging/setLevel", "resources/subscribe", "initialize", "own/x"])
async def test_methods_that_a_modern_client_does_not_have_are_unknown(start_front, method) -> None:
    async with http(await start_front()) as client:
        response = await client.post("/mcp", **modern({"jsonrpc": "2.0", "id": 1, "method": method}))
    assert (response.status_code, response.json()["error"]["code"]) == (404, -32601)


async def test_a_version_nobody_knows_is_told_which_ones_are_served(start_front) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    request = modern(message, **{"mcp-protocol-version": "2030-01-01"})
    request["json"]["params"]["_meta"] = {**ENVELOPE, META + "protocolVersion": "2030-01-01"}
    async with http(await start_front()) as client:
        response = await client.post("/mcp", **request)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, -32022)
    assert error["data"] == {"supported": ["2026-07-28"], "requested": "2030-01-01"}


async def test_modern_results_carry_their_type_and_caching_hints(start_front) -> None:
    front = await start_front()
    front.servers.behaviours["echo"] = echo
    async with http(front) as client:
        listing = (
            await client.post("/mcp", **modern({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
        ).json()
        called = (await client.post("/mcp", **modern(call("echo")))).json()
    assert listing["result"]["resultType"] == "complete"
    assert listing["result"]["cacheScope"] == "private"
    assert listing["result"]["tools"][0]["x-own"] == {"kept": 1}
    assert called["result"]["resultType"] == "complete"
    assert called["result"]["x-unknown"] == [1, {"deep": None}]
    assert "ttlMs" not in called["result"]


async def test_long_lists_come_in_pages_whose_cursors_end_with_the_list(start_front) -> None:
    front = await start_front(limits=Limits(page_size=3))
    for number in range(7):
        front.servers.behaviours[f"tool{number}"] = echo
    async with http(front) as client:
        session = await initialize(client)

        async def page(cursor: str | None) -> Any:
            params = {} if cursor is None else {"cursor": cursor}
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params}
            return (await client.post("/mcp", json=message, headers=session)).json()

        names, cursor = [], None
        for _ in range(3):
            result = (await page(cursor))["result"]
            names += [tool["name"] for tool in result["tools"]]
            kept, cursor = cursor, result.get("nextCursor")
        assert names == [f"tool{number}" for number in range(7)]
        assert cursor is None
        front.servers.behaviours["new"] = echo
        assert (await page(kept))["error"]["code"] == -32602
        assert (await page("nonsense"))["error"]["code"] == -32602


async def test_one_client_cannot_have_more_calls_in_flight_than_its_bound(start_front) -> None:
    front = await start_front(limits=Limits(max_calls_per_client=2))
    slow = front.servers.behaviours["slow"] = Held()
    async with http(front) as client:
        session, other = await initialize(client), await initialize(client)
        running = [
            asyncio.create_task(client.post("/mcp", json=call("slow", n), headers=session)) for n in (1, 2)
        ]
        for _ in running:
            await slow.started.acquire()
        refused = (await client.post("/mcp", json=call("slow", 3), headers=session)).json()
        assert "limits.max_calls_per_client" in refused["error"]["message"]
        unharmed = asyncio.create_task(client.post("/mcp", json=call("slow", 1), headers=other))
        await slow.started.acquire()
        slow.go_on.set()
        for response in await asyncio.gather(*running, unharmed):
            assert "result" in response.json()
