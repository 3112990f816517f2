"""Calls of 2026-07-28 clients that wait while their handshake-era server waits: the rounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mcp import StdioServerParameters

from tests.support.clients import Person, connect
from tests.support.command_line import command, environment, write
from tests.support.modern_client import Round
from tests.support.parked import answered, blue, said, scene
from tests.support.parties import ELICITATION, SAMPLING, untied
from tests.support.raw.stage import Show, Stage, staged

Json = dict[str, Any]
ROOTS: Json = {"method": "roots/list"}
URL: Json = {
    "method": "elicitation/create",
    "params": {"mode": "url", "message": "Sign in", "url": "https://x.test/1", "elicitationId": "e-1"},
}


def once(request: Json) -> Any:
    async def play(show: Show) -> Json:
        return answered(await show.ask(request["method"], request.get("params")))

    return play


def outcome(last: Round) -> Any:
    return last.result["structuredContent"]["answer"]


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (ELICITATION, blue()),
        (ELICITATION, {"action": "decline"}),
        (ELICITATION, {"action": "cancel"}),
        (URL, {"action": "accept"}),
        (SAMPLING, said()),
        (ROOTS, {"roots": [{"uri": "file:///home"}]}),
    ],
    ids=["form accepted", "form declined", "form dismissed", "url", "sampling", "roots"],
)
async def test_a_question_is_put_in_the_result_and_answered_by_the_retry(tmp_path, request_, answer) -> None:
    async with scene(tmp_path, Stage(ask=once(request_)), isolation="call") as s:
        call = s.client.tool("ask", x=1)
        first = await call.send()
        assert first.result.keys() == {"resultType", "inputRequests", "requestState", "_meta"}
        (asked,) = first.requests.values()
        last = await call.answer(first, answer)
        assert outcome(last) == answer
        assert last.result["resultType"] == "complete"
    shown = dict(request_.get("params", {}))
    if "message" in shown:
        shown["message"] = f"[s] {shown['message']}"
    shown.pop("elicitationId", None)
    assert {**asked, "params": untied(asked["params"])} == {"method": request_["method"], "params": shown}


async def test_a_call_takes_as_many_rounds_as_its_server_asks(tmp_path) -> None:
    async def chat(show: Show) -> Json:
        colours = [await show.ask(ELICITATION["method"], ELICITATION["params"]) for _ in range(4)]
        return {"content": [], "structuredContent": {"got": [c["result"]["content"] for c in colours]}}

    async with scene(tmp_path, Stage(chat=chat)) as s:
        call, states = s.client.tool("chat"), []
        last = await call.send()
        for number in range(4):
            states.append(last.state)
            last = await call.answer(last, blue(n=number))
        assert [each["n"] for each in last.result["structuredContent"]["got"]] == [0, 1, 2, 3]
        assert len(set(states)) == 4
        assert s.stage.started == 1


async def test_all_that_is_asked_by_then_goes_into_one_round_and_the_rest_is_asked_again(tmp_path) -> None:
    """The first question flushes what is pending; an unanswered one comes again under its key."""

    async def several(show: Show) -> Json:
        told = await show.ask_all(ELICITATION, SAMPLING, ELICITATION)
        return {"content": [], "structuredContent": {"got": [each["result"] for each in told]}}

    async with scene(tmp_path, Stage(several=several)) as s:
        call = s.client.tool("several")
        one = await call.send()
        requests, shown = dict(one.requests), one
        while len(requests) < 3:  # what came a moment later is in the next round
            shown = await call.send(shown, {})
            requests |= shown.requests
        first, second, third = requests
        two = await call.send(shown, {second: said(), "no such": blue(), third: None})
        assert two.requests.keys() == {first, third}
        last = await call.send(two, {first: blue(n=1), third: blue(n=3), second: said("too late")})
        kinds = [each.get("role") or each["content"]["n"] for each in last.result["structuredContent"]["got"]]
        assert kinds == [1, "assistant", 3]


@pytest.mark.parametrize(
    ("strategy", "final", "legs"),
    [
        ("client_first", "llm blue", [("client", "failed"), ("llm", "success")]),
        ("client_forwarded", -32603, [("client", "failed")]),
    ],
)
async def test_a_key_missing_from_two_retries_fails_the_clients_leg(tmp_path, strategy, final, legs) -> None:
    async with scene(tmp_path, Stage(ask=once(ELICITATION)), strategy) as s:
        call = s.client.tool("ask")
        first = await call.send()
        second = await call.send(first)
        assert second.requests == first.requests
        got = outcome(await call.send(second, {}))
        assert (got["content"]["colour"] if "content" in got else got["code"]) == final
        assert s.legs == legs


async def test_a_state_of_an_earlier_round_brings_the_current_one_and_its_answers_count_nothing(
    tmp_path,
) -> None:
    async def twice(show: Show) -> Json:
        await show.ask(ELICITATION["method"], ELICITATION["params"])
        return answered(await show.ask(ELICITATION["method"], ELICITATION["params"]))

    async with scene(tmp_path, Stage(twice=twice)) as s:
        call = s.client.tool("twice")
        one = await call.send()
        two = await call.answer(one, blue(n=1))
        late = await call.send(one, {one.key: blue(n="late"), two.key: blue(n="guessed")})
        assert late.requests == two.requests
        assert len(s.stage.answers) == 1
        assert outcome(await call.answer(late, blue(n=2)))["content"]["n"] == 2


async def test_duplicates_of_a_retry_share_one_outcome(tmp_path) -> None:
    """At the same time, and after the end; the server has got one answer."""
    gate = asyncio.Event()

    async def slow(show: Show) -> Json:
        answer = await show.ask(ELICITATION["method"], ELICITATION["params"])
        await gate.wait()
        return answered(answer)

    stage = Stage(slow=slow)
    async with scene(tmp_path, stage) as s:
        call = s.client.tool("slow")
        first = await call.send()
        retries = [call.begin(first, {first.key: blue(n=number)}) for number in range(5)]
        await stage.until(lambda stage: stage.answers)
        retries.append(call.begin(first, {first.key: blue(n=9)}))
        gate.set()
        results = [(await retry).result for retry in retries]
        again = await call.send(first, {first.key: {"action": "decline"}})
        assert all(result == again.result for result in results)
        assert len(stage.answers) == 1
        assert stage.started == 1


async def test_a_question_its_server_withdraws_is_not_asked_again_and_the_call_goes_on(tmp_path) -> None:
    withdrawn, more = asyncio.Event(), asyncio.Event()

    async def fickle(show: Show) -> Json:
        number, _ = await show.begin(ELICITATION["method"], ELICITATION["params"])
        await withdrawn.wait()
        await show.withdraw(number)
        await more.wait()
        return answered(await show.ask(SAMPLING["method"], SAMPLING["params"]))

    stage = Stage(fickle=fickle)
    async with scene(tmp_path, stage) as s:
        call = s.client.tool("fickle")
        first = await call.send()
        withdrawn.set()
        retry = call.begin(first, {first.key: blue()})
        more.set()
        second = await retry
        assert [each["method"] for each in second.requests.values()] == ["sampling/createMessage"]
        assert outcome(await call.answer(second, said()))["role"] == "assistant"
        assert len(stage.answers) == 1


async def test_a_call_that_ends_while_its_client_is_away_is_fetched_by_the_next_retry(tmp_path) -> None:
    gate = asyncio.Event()

    async def impatient(show: Show) -> Json:
        await show.begin(ELICITATION["method"], ELICITATION["params"])
        await gate.wait()
        return {"content": [], "structuredContent": {"answer": "without you"}}

    async with scene(tmp_path, Stage(impatient=impatient)) as s:
        call = s.client.tool("impatient")
        first = await call.send()
        gate.set()
        last = await call.answer(first, blue())
        assert outcome(last) == "without you"
        assert outcome(await call.answer(first, blue())) == "without you"


async def test_each_request_hears_of_its_call_under_its_own_token_and_at_its_own_level(tmp_path) -> None:
    """Between two requests the last progress is kept, and the last 32 log messages."""
    gates = [asyncio.Event() for _ in range(2)]
    spoke = asyncio.Event()

    async def talk(show: Show) -> Json:
        await show.progress(1)
        await show.log("debug", "first, debug")
        await show.log("info", "first, info")
        _, answer = await show.begin(ELICITATION["method"], ELICITATION["params"])
        await gates[0].wait()
        for step in range(2, 50):
            await show.progress(step)
            await show.log("warning", step)
        # A second call's answer has passed the same connection: everything has arrived.
        await show.ask("ping")
        spoke.set()
        await answer
        await show.progress(50)
        await show.log("error", "last")
        return {"content": []}

    async with scene(tmp_path, Stage(talk=talk)) as s:
        call = s.client.tool("talk")
        first = await call.send(progressToken="one", level="info")
        gates[0].set()
        await asyncio.wait_for(spoke.wait(), 10)
        last = await call.send(first, {first.key: blue()}, progressToken=2, level="warning")
    assert first.told("notifications/progress") == [{"progressToken": "one", "progress": 1}]
    assert [each["data"] for each in first.told("notifications/message")] == ["first, info"]
    assert last.told("notifications/progress") == [
        {"progressToken": 2, "progress": 49},
        {"progressToken": 2, "progress": 50},
    ]
    assert [each["data"] for each in last.told("notifications/message")] == [*range(18, 50), "last"]


async def test_a_request_that_wants_no_progress_and_no_log_gets_none(tmp_path) -> None:
    async def talk(show: Show) -> Json:
        answer = await show.ask(ELICITATION["method"], ELICITATION["params"])
        await show.progress(1)
        await show.log("error", "boom")
        return answered(answer)

    async with scene(tmp_path, Stage(talk=talk)) as s:
        call = s.client.tool("talk")
        first = await call.send(progressToken="one", level="debug")
        last = await call.send(first, {first.key: blue()})
    assert last.notifications == []


@pytest.mark.parametrize(
    ("who", "isolation", "told"),
    [("ann", "session", True), (None, "call", True), (None, "session", False), ("ann", "shared", False)],
)
async def test_roots_are_asked_of_a_client_that_has_a_connection_of_its_own(
    tmp_path, who, isolation, told
) -> None:
    async with scene(tmp_path, Stage(ask=once(ROOTS)), keys=who is not None, isolation=isolation) as s:
        client = s.client if who is None else s.known[who]
        call = client.tool("ask")
        first = await call.send()
        if told:
            roots = {"roots": [{"uri": "file:///home"}]}
            assert outcome(await call.answer(first, roots)) == roots
        else:
            assert outcome(first)["code"] == -32601
        assert any("roots" in each for each in s.stage.declared) is told


async def test_sampling_with_tools_takes_its_turns_through_the_client(tmp_path) -> None:
    weather = {"name": "weather", "inputSchema": {"type": "object"}}
    use = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Turin"}, "x-own": 1}

    async def agent(show: Show) -> Json:
        messages: list[Json] = [{"role": "user", "content": {"type": "text", "text": "Rain?"}}]
        params = {"maxTokens": 9, "tools": [weather], "toolChoice": {"mode": "auto"}}
        first = await show.ask("sampling/createMessage", {**params, "messages": messages})
        result = {"type": "tool_result", "toolUseId": "t1", "content": [{"type": "text", "text": "dry"}]}
        messages += [
            {"role": "assistant", "content": first["result"]["content"]},
            {"role": "user", "content": [result]},
        ]
        return answered(await show.ask("sampling/createMessage", {**params, "messages": messages}))

    async with scene(tmp_path, Stage(agent=agent)) as s:
        call = s.client.tool("agent")
        first = await call.send()
        assert first.requests[first.key]["params"]["tools"] == [weather]
        second = await call.answer(first, {**said(), "content": [use], "stopReason": "toolUse"})
        turns = second.requests[second.key]["params"]["messages"]
        assert turns[1]["content"] == [use]
        assert outcome(await call.answer(second, said("No."))) == said("No.")
        assert s.stage.declared[-1]["sampling"] == {"tools": {}, "context": {}}


async def test_a_client_at_standard_input_is_parked_like_any_other(tmp_path) -> None:
    person = Person(elicitation=blue())
    async with staged(stage := Stage(ask=once(ELICITATION))) as url:
        config = write(tmp_path, {"external_mcp": {"servers": [{"name": "s", "url": url}]}})
        program, *options = command("serve", "--stdio", "--config", config, "--log-level", "error")
        started = StdioServerParameters(command=program, args=options, env=environment(tmp_path))
        async with connect(started, person, "modern") as client:
            result = await client.call_tool("s__ask")
    assert result.structured_content == {"answer": blue()}
    assert len(person.asked) == len(stage.answers) == 1
