"""When the gateway takes no more, what it says of it, and what passes all the same."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from gateway.config.resolved import ApiKey, Limits
from gateway.downstream.load import Load
from gateway.errors import Overloaded, ServerBusy
from tests.support.front import Front, Held, Slow, ask, echo
from tests.support.raw_http import ENVELOPE, META, EventStream, call, exchange, http, initialize, modern

Json = dict[str, Any]
FORM: Json = {"elicitation": {"form": {}}}
ANSWER: Json = {"action": "accept", "content": {"x": "1"}}


@asynccontextmanager
async def holding(front: Front, request: Json, count: int) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Have `count` calls in flight, sent alike; they end with the block."""
    slow = front.servers.behaviours["slow"] = Held()
    async with http(front) as client:
        tasks = [asyncio.create_task(client.post("/mcp", **request)) for _ in range(count)]
        for _ in tasks:
            await slow.started.acquire()
        yield tasks
        slow.go_on.set()
        for response in await asyncio.gather(*tasks):
            assert "result" in response.json()


def refused(response: httpx2.Response, status: int, bottleneck: str, setting: str) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == -32603
    assert setting in error["message"]
    assert error["data"]["overloaded"] == bottleneck
    assert response.headers["retry-after"] == str(error["data"]["retry_after_seconds"])
    assert 1 <= error["data"]["retry_after_seconds"] <= 3


async def sent_away(front: Front, request: Json) -> None:
    """Refused for the loop's lag, on a connection of its own: it is not read from again for a while."""
    async with http(front) as client:
        refused(await client.post("/mcp", **request), 503, "lag", "limits.max_loop_lag_ms")


def weigh_down(front: Front) -> Load:
    """Make a loop that nobody measures late."""
    load = front.in_flight.load
    load._least = 0
    for _ in range(3):
        load.felt(9.0)
    return load


def test_hiccups_are_no_overload_three_in_a_row_are_and_it_ends_by_itself(caplog: Any) -> None:
    load = Load(Limits(max_loop_lag_ms=100, max_calls=1000))
    load.calls = 500
    for late in (0.2, 0.2, 0.0, 0.2, 0.05):
        load.felt(late)
        assert load.refusal() is None
    assert not caplog.records
    for _ in range(3):
        load.felt(0.2)
    refusal = load.refusal()
    assert refusal is not None
    assert (refusal.bottleneck, "limits.max_loop_lag_ms" in str(refusal)) == ("lag", True)
    load.felt(0.06)
    assert load.refusal(), "it is not over at once, or it would come and go"
    for _ in range(2):
        load.felt(0.05)
    assert load.refusal() is None, "there is room for as many again as there were"
    assert load.lagging
    for _ in range(10):
        load.felt(0.0)
    assert not load.lagging
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_room_shrinks_while_the_loop_is_late_but_for_a_few_calls_there_always_is() -> None:
    load = Load(Limits(max_loop_lag_ms=100))
    taken: list[int] = []
    load.calls = 1000
    for _ in range(30):
        load.felt(0.2)
        while load.refusal() is not None:
            load.calls -= 1
        taken.append(load.calls)
    assert taken == sorted(taken, reverse=True)
    assert taken[3] < 700
    assert taken[-1] == 31


async def test_of_what_came_at_once_no_more_is_taken_than_there_is_time_for(
    caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Load(Limits(max_loop_lag_ms=20))
    now = asyncio.get_running_loop().time()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    monkeypatch.setattr(time, "process_time", lambda: now)
    load.start()
    load.stop()
    refused = 0
    for _ in range(200):
        if load.refusal() is None:
            load.calls += 1
            now += 0.002  # what beginning a call costs
        else:
            refused += 1
    # The 50 ms to the next beat, and five times as late as is too late.
    assert load.calls == pytest.approx((0.05 + 5 * 0.02) / 0.002, abs=1)
    assert refused == 200 - load.calls
    assert (load.lagging, len(caplog.records)) == (True, 1)
    for _ in range(80):
        load.felt(0.0)
    assert not load.lagging


async def test_a_process_that_was_stopped_does_not_take_itself_for_overloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = Load(Limits(max_loop_lag_ms=20))
    load.start()
    load.stop()
    load.calls = 100
    later = asyncio.get_running_loop().time() + 60
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: later)
    assert load.refusal() is None
    load.felt(60.0)
    assert load.refusal() is None


async def test_the_log_has_one_line_for_many_refusals_and_one_when_they_are_over(caplog: Any) -> None:
    load = Load()
    for _ in range(100):
        load.refused(Overloaded("limits.max_calls_per_client", "client", "ann"))
        load.refused(ServerBusy("server 's' is busy", "s"))
    assert len(caplog.records) == 2
    status = load.status()
    assert status["shed"] == {"client": 100, "server": 100, "gateway": 0, "lag": 0}
    assert status["shedding"] == ["client ann", "server s"]
    now = asyncio.get_running_loop().time()
    load._end_spells(now + 0.5)
    assert len(caplog.records) == 2
    load._end_spells(now + 2)
    assert [record.getMessage() for record in caplog.records[2:]] == [
        "no calls are refused any more (client ann): 100 were",
        "no calls are refused any more (server s): 100 were",
    ]
    assert load.status()["shedding"] == []


async def test_the_more_are_sent_away_the_later_they_come_back_and_not_together() -> None:
    load = Load()

    def away(count: int) -> list[int]:
        errors = [Overloaded("full", "gateway") for _ in range(count)]
        for error in errors:
            load.refused(error)
        return [error.retry_after for error in errors]

    assert set(away(100)) == {1, 2, 3}
    many = away(3000)
    assert max(many) > 15
    assert max(map(many.count, set(many))) < 600
    assert max(away(20_000)) <= 30


async def test_a_loop_that_is_kept_from_its_work_is_seen_and_so_is_its_recovery() -> None:
    load = Load(Limits(max_loop_lag_ms=20))
    load.start()
    try:
        async with asyncio.timeout(20):
            while not load.lagging:
                asyncio.get_running_loop().call_soon(time.sleep, 0.08)
                await asyncio.sleep(0)
            while load.lagging:  # noqa: ASYNC110 - nothing else says when
                await asyncio.sleep(0.01)
    finally:
        load.stop()


async def test_a_client_with_too_many_calls_gets_429_and_others_are_served(start_front) -> None:
    keys = tuple(
        ApiKey(name, hashlib.sha256(f"key-of-{name}".encode()).hexdigest()) for name in ("ann", "bob")
    )
    front = await start_front(keys=keys, limits=Limits(max_calls_per_client=2))
    front.servers.behaviours["echo"] = echo

    def request(name: str, tool: str) -> Any:
        sent = modern(call(tool))
        return {**sent, "headers": {**sent["headers"], "authorization": f"Bearer key-of-{name}"}}

    async with holding(front, request("ann", "slow"), 2), http(front) as client:
        nonsense = {**request("ann", "echo"), "json": None, "content": b"{" * 1000}
        for sent in (request("ann", "echo"), nonsense):
            refused(await client.post("/mcp", **sent), 429, "client", "limits.max_calls_per_client")
        assert "result" in (await client.post("/mcp", **request("bob", "echo"))).json()
    async with http(front) as client:
        assert (await client.post("/mcp", **request("ann", "echo"))).status_code == 200


async def test_clients_that_cannot_be_told_apart_have_no_bound_of_one_client(start_front) -> None:
    front = await start_front(limits=Limits(max_calls_per_client=2))
    async with holding(front, modern(call("slow")), 5):
        assert front.in_flight.load.calls == 5


async def test_beyond_all_calls_a_call_gets_503_before_its_body_is_looked_at(start_front) -> None:
    front = await start_front(limits=Limits(max_calls=2))
    front.servers.behaviours["echo"] = echo
    async with holding(front, modern(call("slow")), 2), http(front) as client:
        refused(await client.post("/mcp", **modern(call("echo"))), 503, "gateway", "limits.max_calls")
        nonsense = {**modern(call("echo")), "json": None, "content": b"{" * 1000}
        refused(await client.post("/mcp", **nonsense), 503, "gateway", "limits.max_calls")
        hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}
        refused(await client.post("/mcp", json=hello), 503, "gateway", "limits.max_calls")
        assert len(front.servers.calls) == 2
    async with http(front) as client:
        assert (await client.post("/mcp", **modern(call("echo")))).status_code == 200
    assert front.in_flight.load.calls == 0


async def test_who_asks_again_at_once_is_not_read_from_before_its_time_while_the_loop_is_late(
    start_front, monkeypatch: Any
) -> None:
    front = await start_front()
    front.servers.behaviours["echo"] = echo
    load = weigh_down(front)
    monkeypatch.setattr(load, "_come_back", lambda _: 0.3)
    async with http(front) as client:
        assert (await client.post("/mcp", **modern(call("echo")))).status_code == 503
        refused_at = time.monotonic()
        load.felt(0)
        assert (await client.post("/mcp", **modern(call("echo")))).status_code == 200
        assert time.monotonic() - refused_at > 0.25
        async with http(front) as other:
            assert (await other.post("/mcp", **modern(call("echo")))).status_code == 200


async def test_a_session_is_refused_in_the_answer_to_its_request_since_another_status_would_end_it(
    start_front,
) -> None:
    front = await start_front()
    front.servers.behaviours["echo"] = echo
    async with http(front) as client:
        session = await initialize(client)
        load = weigh_down(front)
        answer = await client.post("/mcp", json=call("echo", 7), headers=session)
        assert answer.json()["id"] == 7
        refused(answer, 200, "lag", "limits.max_loop_lag_ms")
        alive = {"jsonrpc": "2.0", "id": 8, "method": "ping"}
        assert (await client.post("/mcp", json=alive, headers=session)).json()["result"] == {}
        load.felt(0)
        assert "result" in (await client.post("/mcp", json=call("echo"), headers=session)).json()
        assert load.status()["shed"]["lag"] == 1


async def test_the_answer_to_a_question_and_a_cancellation_pass_whatever_the_load(start_front) -> None:
    front = await start_front()
    front.servers.behaviours["ask"] = ask
    async with http(front) as client:
        session = await initialize(client, FORM)
        asking = {"json": call("ask"), "headers": session}
        async with client.stream("POST", "/mcp", **asking) as response:
            stream = EventStream(response)
            question = await stream.message()
            weigh_down(front)
            answer = {"jsonrpc": "2.0", "id": question["id"], "result": ANSWER}
            assert (await client.post("/mcp", json=answer, headers=session)).status_code == 202
            assert (await stream.message())["result"]["structuredContent"] == {"answer": ANSWER}


async def test_a_cancellation_passes_whatever_the_load(start_front) -> None:
    front = await start_front()
    slow = front.servers.behaviours["slow"] = Slow()
    async with http(front) as client:
        session = await initialize(client)
        calling = asyncio.create_task(client.post("/mcp", json=call("slow", 5), headers=session))
        await slow.started.wait()
        weigh_down(front)
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
        assert (await client.post("/mcp", json=cancelled, headers=session)).status_code == 202
        await asyncio.wait_for(slow.ended.wait(), 20)
        await calling


async def test_a_retry_that_brings_answers_passes_whatever_the_load(start_front) -> None:
    front = await start_front()
    front.servers.behaviours |= {"ask": ask, "echo": echo}
    async with http(front) as client:
        able = {**ENVELOPE, META + "clientCapabilities": FORM}
        request = modern(call("ask"))
        request["json"]["params"]["_meta"] = able
        (asked,) = await exchange(client, request)
        weigh_down(front)
        await sent_away(front, request)
        await sent_away(front, modern(call("echo", text='"requestState"')))
        params = request["json"]["params"]
        params["requestState"] = asked["result"]["requestState"]
        params["inputResponses"] = dict.fromkeys(asked["result"]["inputRequests"], ANSWER)
        (done,) = await exchange(client, request)
        assert done["result"]["structuredContent"]["answer"] == ANSWER


async def test_over_sse_the_refusal_comes_on_the_stream(start_front, caplog: Any) -> None:
    caplog.set_level(logging.WARNING)
    front = await start_front()
    front.servers.behaviours["echo"] = echo
    async with http(front) as client, client.stream("GET", front.sse) as response:
        stream = EventStream(response)
        path = (await stream.next()).data
        load = weigh_down(front)
        assert (await client.post(path, json=call("echo", 3))).status_code == 202
        answer = await stream.message()
        assert (answer["id"], answer["error"]["data"]["overloaded"]) == (3, "lag")
        while load.lagging:
            load.felt(0)
        assert (await client.post(path, json=call("echo", 4))).status_code == 202
        assert "result" in await stream.message()
    assert "1 were refused" in caplog.text


async def test_a_batch_is_refused_message_by_message_unless_it_has_an_answer_in_it(start_front) -> None:
    front = await start_front()
    front.servers.behaviours["echo"] = echo
    async with http(front) as client:
        hello = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {}}
        message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
        opened = await client.post("/mcp", json=message)
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        weigh_down(front)
        answers = (await client.post("/mcp", json=[call("echo", 1), call("echo", 2)], headers=session)).json()
        assert [(each["id"], each["error"]["data"]["overloaded"]) for each in answers] == [
            (1, "lag"),
            (2, "lag"),
        ]
        late = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
        assert (await client.post("/mcp", json=[late], headers=session)).status_code == 202


async def test_what_is_refused_for_too_many_sessions_says_when_to_come_back(start_front) -> None:
    front = await start_front(limits=Limits(max_sessions=1))
    async with http(front) as client:
        await initialize(client)
        hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}
        response = await client.post("/mcp", json=hello)
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
