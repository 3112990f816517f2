"""Calls of 2026-07-28 clients that wait while their handshake-era server waits: how they end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.modern_client import ModernClient, Round
from tests.support.parked import answered, blue, scene, until
from tests.support.parties import ELICITATION, SAMPLING
from tests.support.raw.stage import Show, Stage

Json = dict[str, Any]
CANCELLED = -32800
INVALID = -32602


async def ask(show: Show) -> Json:
    return answered(await show.ask(ELICITATION["method"], ELICITATION["params"]))


async def sample(show: Show) -> Json:
    return answered(await show.ask(SAMPLING["method"], SAMPLING["params"]))


async def ask_then_hang(show: Show) -> Json:
    await show.ask(ELICITATION["method"], ELICITATION["params"])
    await asyncio.Event().wait()
    raise AssertionError


async def hang(show: Show) -> Json:
    await show.progress(1)
    await asyncio.Event().wait()
    raise AssertionError


def outcome(last: Round) -> Any:
    return last.result["structuredContent"]["answer"]


async def park(client: ModernClient, count: int) -> list[Round]:
    return [await client.tool("ask", n=number).send() for number in range(count)]


async def test_closing_the_first_requests_stream_cancels_the_servers_call(tmp_path) -> None:
    stage = Stage(hang=hang)
    async with scene(tmp_path, stage) as s:
        request = s.client.tool("hang").begin(progressToken="p")
        await stage.until(lambda stage: stage.started == 1)
        request.cancel()
        await stage.until(lambda stage: stage.cancelled == 1)
        await s.until_idle()


async def test_closing_a_retrys_stream_cancels_it_and_the_next_one_is_told_to_start_again(tmp_path) -> None:
    stage = Stage(ask=ask_then_hang)
    async with scene(tmp_path, stage) as s:
        call = s.client.tool("ask")
        first = await call.send()
        retry = call.begin(first, {first.key: blue()})
        await stage.until(lambda stage: stage.answers)
        retry.cancel()
        await stage.until(lambda stage: stage.cancelled == 1)
        again = await call.send(first, {first.key: blue()})
    assert (again.error["code"], again.error["message"]) == (
        CANCELLED,
        "the call was cancelled: its client closed the response stream; start it again",
    )


async def test_of_two_retries_that_wait_together_the_last_to_leave_cancels(tmp_path) -> None:
    gate = asyncio.Event()

    async def slow(show: Show) -> Json:
        answer = await show.ask(ELICITATION["method"], ELICITATION["params"])
        await show.progress(1)
        await gate.wait()
        return answered(answer)

    stage = Stage(ask=slow)
    async with scene(tmp_path, stage) as s:
        call = s.client.tool("ask")
        first = await call.send(progressToken=1)
        one = call.begin(first, {first.key: blue()})
        await stage.until(lambda stage: stage.answers)
        two = call.begin(first, {first.key: blue()})
        (waiting,) = s.parking._parked.values()
        await until(lambda: len(waiting._clients) == 2)
        one.cancel()
        await until(lambda: len(waiting._clients) == 1)
        gate.set()
        assert outcome(await two) == blue()
        assert stage.cancelled == 0


@pytest.mark.parametrize("strategy", ["client_first", "client_forwarded"])
async def test_a_client_that_never_retries_has_its_call_reaped(tmp_path, strategy) -> None:
    """Nothing else could be told it, so no LLM is asked in its place."""
    stage = Stage(ask=ask)
    async with scene(tmp_path, stage, strategy, timeout=0.3) as s:
        call = s.client.tool("ask")
        first = await call.send()
        await stage.until(lambda stage: stage.cancelled == 1)
        late = await call.send(first, {first.key: blue()})
        assert s.llm.requests == []
        await s.until_idle()
        assert s.latest["outcome"] == "cancelled"
    assert late.error["code"] == CANCELLED
    assert late.error["message"] == (
        "the call was cancelled, since its client did not answer within 0.3 s; start it again"
    )


async def test_a_result_is_kept_for_its_time_and_then_it_is_start_again(tmp_path) -> None:
    async with scene(tmp_path, Stage(ask=ask), limits={"parked_result_seconds": 0.5}) as s:
        call = s.client.tool("ask")
        first = await call.send()
        assert outcome(await call.answer(first, blue(n=1))) == blue(n=1)
        assert outcome(await call.answer(first, blue(n=2))) == blue(n=1)
        await until(lambda: "0 over" in repr(s.parking))
        gone = await call.answer(first, blue())
        assert s.stage.started == 1
    assert (gone.error["code"], gone.status) == (INVALID, 400)
    assert gone.error["message"].endswith("has ended and its result is no longer kept; start it again")


async def test_what_the_server_fails_with_is_what_the_retry_gets(tmp_path) -> None:
    gate = asyncio.Event()

    async def breaks(show: Show) -> Json:
        await show.ask(ELICITATION["method"], ELICITATION["params"])
        await gate.wait()
        show._reply.abort()
        return {"content": []}

    async with scene(tmp_path, Stage(ask=breaks)) as s:
        call = s.client.tool("ask")
        first = await call.send()
        retry = call.begin(first, {first.key: blue()})
        gate.set()
        error = (await retry).error
        assert error["code"] == -32603
        assert "'s'" in error["message"]
        assert (await call.send(first)).error == error


async def test_places_are_bounded_and_the_named_error_or_the_llm_takes_over(tmp_path) -> None:
    limits = {"max_parked_calls": 8, "max_parked_calls_per_client": 3}
    stage = Stage(ask=ask, sample=sample)
    config = {"capabilities": {"paths": ["tools"]}}
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "t.yaml").write_text("tools: [{name: sample, sampling_strategy: client_first}]\n")
    async with scene(tmp_path, stage, keys=True, limits=limits, config=config) as s:
        parked = await park(s.known["ann"], 3)
        refused = outcome(await s.known["ann"].tool("ask").send())
        assert refused["code"] == -32601
        assert "3 calls wait" in refused["message"]
        assert "limits.max_parked_calls_per_client" in refused["message"]
        fallen = await s.known["ann"].tool("sample").send()
        assert outcome(fallen)["content"]["text"] == "the LLM speaking"
        assert s.legs == [("client", "unavailable"), ("llm", "success")]
        assert (await park(s.known["bob"], 1))[0].requests
        call = s.known["ann"].tool("ask", n=1)
        assert outcome(await call.answer(parked[1], blue())) == blue()
        assert (await s.known["ann"].tool("sample").send()).requests


async def test_a_quarter_of_the_places_is_left_to_clients_with_a_key(tmp_path) -> None:
    """Where there are no keys, nothing is reserved."""
    async with scene(tmp_path, Stage(ask=ask), limits={"max_parked_calls": 4}) as s:
        await park(s.client, 4)
        refused = outcome(await s.client.tool("ask").send())
        assert "4 calls wait" in refused["message"]
        assert "limits.max_parked_calls" in refused["message"]


async def test_when_the_gateway_stops_the_servers_calls_end(tmp_path) -> None:
    stage = Stage(ask=ask, hang=hang)
    async with scene(tmp_path, stage) as s:
        await park(s.client, 3)
        await s.gateway.gateway.stop_serving()
        assert stage.cancelled == 3
        await s.until_idle()


async def test_a_call_may_be_parked_for_longer_than_its_server_may_take(tmp_path) -> None:
    """The clock of the server stands still; it runs again once the answer is there."""
    stage = Stage(ask=ask, ask_then_hang=ask_then_hang)
    async with scene(tmp_path, stage, timeout_seconds=0.4) as s:
        call, other = s.client.tool("ask"), s.client.tool("ask_then_hang")
        first, second = await call.send(), await other.send()
        passed = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.8, passed.set_result, None)
        await passed
        assert outcome(await call.answer(first, blue())) == blue()
        error = (await other.answer(second, blue())).error
        await stage.until(lambda stage: stage.cancelled == 1)
    assert "did not finish tools/call 'ask_then_hang' within 0.4 s" in error["message"]


async def test_nothing_outlives_the_time_of_a_whole_call(tmp_path) -> None:
    stage = Stage(ask=ask)
    async with scene(tmp_path, stage, limits={"max_call_seconds": 0.5}) as s:
        call = s.client.tool("ask")
        first = await call.send()
        await stage.until(lambda stage: stage.cancelled == 1)
        error = (await call.answer(first, blue())).error
    assert error["code"] == -32603
    assert "limits.max_call_seconds" in error["message"]


@pytest.mark.parametrize("answer", [{"action": "decline"}, {"action": "cancel"}])
async def test_what_the_client_declines_no_llm_fills_in(tmp_path, answer) -> None:
    async with scene(tmp_path, Stage(ask=ask), "client_first") as s:
        call = s.client.tool("ask")
        assert outcome(await call.answer(await call.send(), answer)) == answer
        assert s.llm.requests == []


@pytest.mark.parametrize(
    ("answer", "legs"),
    [
        ({"action": "accept", "content": {"colour": 7}}, [("client", "failed"), ("llm", "success")]),
        ({"action": "perhaps"}, [("client", "failed"), ("llm", "success")]),
        ({}, [("client", "failed"), ("llm", "success")]),
    ],
)
async def test_an_answer_that_cannot_be_used_is_the_llms_to_give(tmp_path, answer, legs) -> None:
    async with scene(tmp_path, Stage(ask=ask), "client_first") as s:
        call = s.client.tool("ask")
        got = outcome(await call.answer(await call.send(), answer))
        assert got["content"] == {"colour": "llm blue"}
        assert s.legs == legs


async def test_a_client_without_the_capability_is_never_parked(tmp_path) -> None:
    async with scene(tmp_path, Stage(sample=sample), "client_first", capabilities={"roots": {}}) as s:
        got = await s.client.tool("sample").send()
        assert outcome(got)["content"]["text"] == "the LLM speaking"
    async with scene(tmp_path, Stage(sample=sample), "client_first", capabilities={}) as s:
        assert outcome(await s.client.tool("sample").send())["model"] == "gpt-test"
