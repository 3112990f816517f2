"""A provider that keeps failing is left alone, and one that is full is not waited for too long."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from gateway.cli.running import circuits
from tests.llm.dialects import openai_said, user
from tests.support.llm_gateway import Asking, asking_of, pass_time
from tests.support.parties import llm_config
from tests.support.scripted_http import Exchange, Step, answer, scripted_http

Json = dict[str, Any]
BROKEN = answer({"error": {"message": "oh no"}}, status=500)


def sampling(*providers: Json, retries: int = 0, **settings: Any) -> Json:
    return {
        "sampling": {
            "llm_configs": list(providers),
            "default_sampling_strategy": "magictunnel_handled",
            "max_retry_attempts": retries,
            **settings,
        }
    }


async def states(asked: Asking) -> list[str]:
    shown = await asked.gateway.api("/api/llm")
    by_kind = [[one["circuit"]["state"] for one in shown[kind]] for kind in ("sampling", "elicitation")]
    assert by_kind[0] == by_kind[1], "one provider has one circuit, whatever it is asked for"
    return by_kind[0]


async def test_an_open_circuit_gives_the_next_provider_its_turn_at_once_and_a_probe_closes_it(
    tmp_path: Path,
) -> None:
    rules = {"failure_threshold": 2, "recovery_timeout": 60, "success_threshold": 1}
    async with (
        scripted_http(BROKEN, BROKEN) as first,
        scripted_http(otherwise=answer(openai_said("two"))) as second,
    ):
        config = sampling(llm_config(first, circuit_breaker=rules), llm_config(second))
        async with asking_of(tmp_path, config) as asked:
            for _ in range(2):
                assert await asked.text("Hello") == "two"
            assert await states(asked) == ["open", "closed"]
            assert await asked.text("Hello") == "two"
            assert len(first.requests) == 2
            leg = (await asked.gateway.decisions())[-1]["legs"][0]
            assert [attempt["code"] for attempt in leg["attempts"]] == ["E005", None]
            first.script.append(answer(openai_said("one again")))
            pass_time(asked.gateway, 61)
            assert await asked.text("Hello") == "one again"
            assert await states(asked) == ["closed", "closed"]


async def test_with_no_other_provider_the_server_is_told_that_the_circuit_is_open(tmp_path: Path) -> None:
    async with scripted_http(BROKEN) as service:
        config = sampling(llm_config(service, circuit_breaker={"failure_threshold": 1}), retries=3)
        async with asking_of(tmp_path, config) as asked:
            # What made it open is told, not that it has just opened.
            assert (await asked.sampling(user("Hello")))["error"]["data"]["code"] == "E008"
            (told,) = await circuits(asked.gateway.base)
            assert "leaves openai (gpt-test) alone: its circuit is open after 1 failures" in told
            error = (await asked.sampling(user("Hello")))["error"]
            assert (error["data"]["code"], error["data"]["recoverable"]) == ("E005", True)
            assert "another provider" in error["data"]["suggestedAction"]
            assert len(service.requests) == 1
            detail = (await asked.gateway.decisions())[-1]["legs"][0]["detail"]
    assert "1 times in a row" in detail


async def test_requests_beyond_the_places_of_a_provider_wait_and_beyond_its_queue_go_on(
    tmp_path: Path,
) -> None:
    released = asyncio.Event()

    def held(text: str) -> Step:
        async def step(exchange: Exchange) -> None:
            await released.wait()
            await answer(openai_said(text))(exchange)

        return step

    script = [held("first"), answer(openai_said("second"))]
    async with scripted_http(*script) as full, scripted_http(answer(openai_said("other"))) as other:
        config = sampling(llm_config(full, max_concurrent=1, max_queued=1), llm_config(other))
        async with asking_of(tmp_path, config, isolation="call") as asked:
            waiting = [asyncio.create_task(asked.text("Hello")) for _ in range(3)]
            # The third finds one in flight and one queued, and goes to the other provider.
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert [task.result() for task in done] == ["other"]
            (shown, _) = (await asked.gateway.api("/api/llm"))["sampling"]
            assert (shown["in_flight"], shown["queued"], shown["max_concurrent"]) == (1, 1, 1)
            assert len(full.requests) == 1
            released.set()
            said = await asyncio.gather(*waiting)
    assert sorted(said) == ["first", "other", "second"]
