"""Bounds on what a client may pile up, each by its setting's name."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx2

from gateway.config.resolved import Http, Limits
from gateway.downstream.pages import pages
from gateway.security.authentication import ApiKeys
from gateway.security.guard import Guard
from gateway.security.origins import Origins
from gateway.wire import jsonrpc
from tests.support.front import echo
from tests.support.raw_http import EventStream, call, exchange, http, initialize, modern


async def test_subscriptions_are_bounded_for_each_client_by_itself(start_front) -> None:
    front = await start_front(limits=Limits(max_subscriptions=2))
    async with http(front) as client:
        for _ in range(2):
            session = await initialize(client)
            for number in range(3):
                params = {"uri": f"a:{number}"}
                message = {"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": params}
                answer = (await client.post("/mcp", json=message, headers=session)).json()
                assert ("result" in answer) == (number < 2)
            assert "limits.max_subscriptions" in answer["error"]["message"]
        wanted = {"resourceSubscriptions": ["a:1", "a:2", "a:3"]}
        message = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen"}
        refused = await exchange(client, modern({**message, "params": {"notifications": wanted}}))
        assert "limits.max_subscriptions" in refused[-1]["error"]["message"]


async def test_a_client_that_does_not_read_its_sse_stream_is_told_so_before_answers_pile_up(
    start_front,
) -> None:
    front = await start_front(limits=Limits(max_backlog_messages=10))
    front.servers.behaviours["echo"] = echo
    async with http(front) as client, client.stream("GET", front.sse) as response:
        stream = EventStream(response, 1 << 26)
        path = (await stream.next()).data
        session = next(iter(front.sessions._sessions.values()))
        for number in range(30):
            session.general.put(jsonrpc.result(number, {"large": "x" * 2_000_000}))
        await asyncio.sleep(0)
        refused = await client.post(path, json=call("echo"))
        assert (refused.status_code, "limits.max_backlog_messages" in refused.text) == (503, True)
        for number in range(30):
            assert (await stream.message())["id"] == number
        assert (await client.post(path, json=call("echo"))).status_code == 202
        assert (await stream.message())["result"]["x-unknown"]


async def test_what_is_kept_of_ended_streams_is_bounded_for_all_of_them_together(start_front) -> None:
    front = await start_front(limits=Limits(max_replay_bytes=5000))

    async def talk(each: Any, scope: Any) -> Any:
        scope.notification("notifications/x", {"data": "x" * 1000})
        return {"content": []}

    front.servers.behaviours["talk"] = talk
    async with http(front) as client:
        session = await initialize(client)
        for number in range(10):
            assert len(await exchange(client, {"json": call("talk", number), "headers": session})) == 2
    (kept,) = front.handshake._streams.values()
    assert 3 <= len(kept) <= 5
    assert front.handshake._kept_bytes <= 5000


async def test_numbers_of_thousands_of_digits_are_refused_wherever_a_client_can_put_one(start_front) -> None:
    front = await start_front(limits=Limits(page_size=1))
    front.servers.behaviours |= {"a": echo, "b": echo}
    async with http(front) as client:
        session = await initialize(client)
        listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        cursor = (await client.post("/mcp", json=listing, headers=session)).json()["result"]["nextCursor"]
        listing["params"] = {"cursor": "9" * 5000 + "." + cursor.partition(".")[2]}
        answer = (await client.post("/mcp", json=listing, headers=session)).json()
        assert answer["error"]["code"] == jsonrpc.INVALID_PARAMS
        resumed = {**session, "last-event-id": "general:" + "9" * 5000}
        async with client.stream("GET", "/mcp", headers=resumed) as stream:
            assert stream.status_code == 200


async def test_operators_pages_survive_names_that_utf_8_cannot_hold_and_limits_without_end() -> None:
    @dataclass
    class Server:
        name: str = "\ud800"

    class Status:
        ready = True

        def servers(self) -> list[Server]:
            return [Server()]

        def decisions(self, *_: Any) -> list[Any]:
            return []

    app = pages(Status(), Guard(Origins(Http()), ApiKeys(())))
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        assert (await client.get("/api/servers")).text == '{"servers":[{"name":"\\ud800"}]}'
        assert (await client.get("/api/decisions", params={"limit": "9" * 5000})).status_code == 400
