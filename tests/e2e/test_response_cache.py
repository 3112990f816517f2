"""The same question is not paid for twice, and never answered with somebody else's answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.llm.dialects import openai_said
from tests.support.llm_gateway import asking_of, person_with_key
from tests.support.parties import Person, llm_config
from tests.support.scripted_http import Exchange, ScriptedHttp, Step, answer, scripted_http, silence

Json = dict[str, Any]


def config(service: ScriptedHttp, **cache: Any) -> Json:
    return {
        "sampling": {
            "llm_config": llm_config(service),
            "default_sampling_strategy": "magictunnel_handled",
            "cache": cache,
        }
    }


def counting() -> Step:
    """Answers with the number of the request."""

    async def step(exchange: Exchange) -> None:
        await answer(openai_said(f"answer {len(exchange.server.requests)}"))(exchange)

    return step


async def test_what_was_sampled_at_temperature_0_is_given_again_and_costs_nothing(tmp_path: Path) -> None:
    async with scripted_http(otherwise=counting()) as service, asking_of(tmp_path, config(service)) as asked:
        assert await asked.text("Hello", temperature=0) == "answer 1"
        assert (await asked.last_leg())["cache"] is None
        again = await asked.sampling(
            {"role": "user", "content": {"type": "text", "text": "Hello"}}, temperature=0
        )
        assert again["result"]["content"]["text"] == "answer 1"
        (told,) = again["result"]["_meta"]["backchannel/routing"]["legs"]
        assert (told["cache"], told.get("tokens")) == ("hit", None)
        leg = await asked.last_leg()
        assert (leg["cache"], leg["cost_usd"], leg["attempts"]) == ("hit", 0.0, [])
        assert len(service.requests) == 1
        shown = (await asked.api("/api/llm"))["cache"]
        assert (shown["entries"], shown["hits"], shown["misses"]) == (1, 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"maxTokens": 65},
        {"systemPrompt": "Be brief."},
        {"stopSequences": ["END"]},
        {"modelPreferences": {"speedPriority": 1}},
        {"tools": [{"name": "look", "inputSchema": {"type": "object"}}]},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_whatever_differs_makes_another_question(tmp_path: Path, change: Json) -> None:
    async with scripted_http(otherwise=counting()) as service, asking_of(tmp_path, config(service)) as asked:
        assert await asked.text("Hello", temperature=0) == "answer 1"
        assert await asked.text("Hello", temperature=0, **change) == "answer 2"
        assert await asked.text("hello", temperature=0) == "answer 3"
        assert await asked.text("Hello", temperature=0) == "answer 1"


async def test_other_temperatures_are_sampled_anew_unless_everything_is_to_be_kept(tmp_path: Path) -> None:
    async with scripted_http(otherwise=counting()) as service:
        async with asking_of(tmp_path, config(service)) as asked:
            assert [await asked.text("Hello", temperature=0.5) for _ in range(2)] == ["answer 1", "answer 2"]
            assert [await asked.text("Hello") for _ in range(2)] == ["answer 3", "answer 4"]
        async with asking_of(tmp_path, config(service, when="always")) as asked:
            assert [await asked.text("Hello", temperature=0.5) for _ in range(2)] == ["answer 5", "answer 5"]
        async with asking_of(tmp_path, config(service, enabled=False)) as asked:
            assert [await asked.text("Hello", temperature=0) for _ in range(2)] == ["answer 6", "answer 7"]


async def test_an_answer_is_given_again_for_its_time_only_and_the_oldest_give_way(tmp_path: Path) -> None:
    async with scripted_http(otherwise=counting()) as service:
        async with asking_of(tmp_path, config(service, max_entries=2)) as asked:
            for text in ("a", "b", "c"):
                await asked.text(text, temperature=0)
            assert await asked.text("c", temperature=0) == "answer 3"
            assert await asked.text("a", temperature=0) == "answer 4"
        async with asking_of(tmp_path, config(service, ttl_seconds=0.001)) as asked:
            assert await asked.text("a", temperature=0) == "answer 5"
            assert await asked.text("a", temperature=0) == "answer 6"
        async with asking_of(tmp_path, config(service, max_bytes=10)) as asked:
            assert [await asked.text("a", temperature=0) for _ in range(2)] == ["answer 7", "answer 8"]


async def test_nobody_gets_the_answer_to_anothers_question_unless_answers_are_shared(tmp_path: Path) -> None:
    keys = {"ADA_KEY": "k-ada-1", "BOB_KEY": "k-bob-1"}
    auth = {
        "auth": {"keys": [{"principal": name, "key_env": f"{name.upper()}_KEY"} for name in ("ada", "bob")]}
    }

    for shared, expected in ((False, ["answer 1", "answer 1", "answer 2"]), (True, ["answer 1"] * 3)):
        async with scripted_http(otherwise=counting()) as service:
            whole = {**config(service, shared=shared), **auth}
            async with asking_of(tmp_path, whole, keys, key="k-ada-1") as asked:
                said = [await asked.text("Hello", temperature=0)]
                for key in ("k-ada-1", "k-bob-1"):
                    async with person_with_key(Person(), asked.gateway.url, key) as asked.client:
                        said.append(await asked.text("Hello", temperature=0))
        assert said == expected


async def test_sessions_without_a_key_keep_their_answers_apart(tmp_path: Path) -> None:
    async with scripted_http(otherwise=counting()) as service, asking_of(tmp_path, config(service)) as asked:
        assert await asked.text("Hello", temperature=0) == "answer 1"
        async with Person().client(asked.gateway.url) as other:
            asked.client = other
            assert await asked.text("Hello", temperature=0) == "answer 2"


def held(released: asyncio.Event) -> Step:
    async def step(exchange: Exchange) -> None:
        await released.wait()
        await answer(openai_said("once"))(exchange)

    return step


async def test_identical_requests_on_their_way_are_one_and_outlive_who_began_them(tmp_path: Path) -> None:
    released = asyncio.Event()
    async with scripted_http(held(released)) as service:
        async with asking_of(tmp_path, config(service), isolation="call") as asked:
            waiting = [asyncio.create_task(asked.text("Hello", temperature=0)) for _ in range(3)]
            async with asyncio.timeout(10):
                while (await asked.api("/api/llm"))["cache"]["waiting"] < 3:
                    pass
            await service.arrived.wait()
            waiting[0].cancel()
            async with asyncio.timeout(10):
                while (await asked.api("/api/llm"))["cache"]["waiting"] > 2:
                    pass
            released.set()
            assert await asyncio.gather(*waiting[1:]) == ["once", "once"]
            decisions = await asked.gateway.decisions()
    uses = [
        leg["cache"]
        for decision in decisions
        for leg in decision["legs"]
        if decision["outcome"] == "answered"
    ]
    assert sorted(map(str, uses)) == ["None", "joined"]
    assert len(service.requests) == 1


async def test_a_request_that_nobody_waits_for_any_more_is_ended_at_the_provider(tmp_path: Path) -> None:
    async with scripted_http(silence()) as service:
        async with asking_of(tmp_path, config(service), isolation="call") as asked:
            waiting = [asyncio.create_task(asked.text("Hello", temperature=0)) for _ in range(2)]
            await service.arrived.wait()
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
            async with asyncio.timeout(10):
                await service.client_left.wait()
            assert (await asked.api("/api/llm"))["cache"]["in_flight"] == 0


async def test_a_failure_is_told_to_all_who_wait_and_is_not_kept(tmp_path: Path) -> None:
    script = [answer({"error": {"message": "no"}}, status=400), answer(openai_said("yes"))]
    async with scripted_http(*script) as service, asking_of(tmp_path, config(service)) as asked:
        message = {"role": "user", "content": {"type": "text", "text": "Hello"}}
        assert (await asked.sampling(message, temperature=0))["error"]["data"]["code"] == "E004"
        assert await asked.text("Hello", temperature=0) == "yes"
