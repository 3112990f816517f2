"""JSON-RPC batches over Streamable HTTP: of sessions of 2025-03-26, and of no others."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest

from gateway.config.resolved import Limits
from tests.support.front import Slow, ask, echo, progress
from tests.support.raw_http import EventStream, call, http

Json = dict[str, Any]
PING = {"jsonrpc": "2.0", "id": "p", "method": "ping"}
NEWS = {"jsonrpc": "2.0", "method": "notifications/initialized"}


async def opened(
    client: httpx2.AsyncClient, version: str = "2025-03-26", capabilities: Json | None = None
) -> dict[str, str]:
    params = {"protocolVersion": version, "capabilities": capabilities or {}, "clientInfo": {"name": "raw"}}
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    response = await client.post("/mcp", json=message)
    assert response.json()["result"]["protocolVersion"] == version
    return {"mcp-session-id": response.headers["mcp-session-id"]}


def by_id(messages: list[Json]) -> dict[Any, Json]:
    return {message["id"]: message for message in messages}


async def test_a_batch_is_answered_by_one_array_of_what_its_requests_are_owed(start_front) -> None:
    front = await start_front()
    front.servers.behaviours = {"echo": echo}
    async with http(front) as client:
        session = await opened(client)
        batch = [call("echo", 1, a=1), NEWS, PING, call("nope", 2), {"id": 3}, call("echo", 4, a=4)]
        response = await client.post("/mcp", json=batch, headers=session)
    assert response.headers["content-type"] == "application/json"
    answers = by_id(response.json())
    assert set(answers) == {1, "p", 2, None, 4}
    assert answers[4]["result"]["structuredContent"]["params"]["arguments"] == {"a": 4}
    assert answers["p"]["result"] == {}
    assert answers[2]["error"]["code"] == -32602
    assert answers[None]["error"]["code"] == -32600


async def test_a_batch_of_one_is_answered_by_an_array_of_one(start_front) -> None:
    async with http(await start_front()) as client:
        response = await client.post("/mcp", json=[PING], headers=await opened(client))
    assert response.json() == [{"jsonrpc": "2.0", "id": "p", "result": {}}]


async def test_a_batch_that_asks_for_nothing_is_acknowledged(start_front) -> None:
    async with http(await start_front()) as client:
        session = await opened(client)
        response = await client.post("/mcp", json=[NEWS, NEWS], headers=session)
    assert (response.status_code, response.content) == (202, b"")


async def test_questions_and_progress_of_a_batch_share_its_stream_with_the_answers(start_front) -> None:
    front = await start_front()
    front.servers.behaviours = {"ask": ask, "progress": progress, "echo": echo}
    async with http(front) as client:
        session = await opened(client, capabilities={"elicitation": {}})
        reporting = call("progress", 2)
        reporting["params"]["_meta"] = {"progressToken": "t"}
        seen: list[Json] = []
        sent = {"json": [call("ask", 1), reporting, call("echo", 3)], "headers": session}
        async with client.stream("POST", "/mcp", **sent) as response, asyncio.timeout(10):
            stream = EventStream(response)
            while len([message for message in seen if "method" not in message]) < 3:
                seen.append(message := await stream.message())
                if message.get("method") == "elicitation/create":
                    answer = {"jsonrpc": "2.0", "id": message["id"], "result": {"action": "decline"}}
                    # Responses come in batches of their own.
                    answered = await client.post("/mcp", json=[answer], headers=session)
                    assert answered.status_code == 202
    answers = by_id([message for message in seen if "method" not in message])
    assert set(answers) == {1, 2, 3}
    assert answers[1]["result"]["structuredContent"]["answer"] == {"action": "decline"}
    assert len([message for message in seen if message.get("method") == "notifications/progress"]) == 3


async def test_one_request_of_a_batch_can_be_cancelled_and_the_others_are_answered(start_front) -> None:
    front = await start_front()
    slow = Slow()
    front.servers.behaviours = {"slow": slow}
    async with http(front) as client:
        session = await opened(client)
        posting = asyncio.create_task(client.post("/mcp", json=[call("slow", 7), PING], headers=session))
        await slow.started.wait()
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
        await client.post("/mcp", json=[cancelled], headers=session)
        assert list(by_id((await posting).json())) == ["p"]


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25"])
async def test_other_revisions_have_no_batches_and_are_told_so(start_front, version) -> None:
    async with http(await start_front()) as client:
        response = await client.post("/mcp", json=[PING], headers=await opened(client, version))
    assert (response.status_code, response.json()["error"]["code"]) == (400, -32600)
    assert "2025-03-26" in response.json()["error"]["message"]


async def test_what_cannot_be_a_batch_is_refused_by_its_reason(start_front) -> None:
    front = await start_front(limits=Limits(max_calls_per_client=3))
    async with http(front) as client:
        session = await opened(client)
        for batch, reason in (([], "at least one"), ([PING] * 4, "limits.max_calls_per_client")):
            response = await client.post("/mcp", content=json.dumps(batch), headers=session)
            assert response.status_code == 400
            assert reason in response.json()["error"]["message"]
        first = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}
        (refused,) = (await client.post("/mcp", json=[first], headers=session)).json()
        assert refused["error"]["code"] == -32600
        assert "must not be part of a batch" in refused["error"]["message"]
