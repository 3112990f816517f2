"""`parallel` and `hybrid` from end to end: combining, limits, cancellation, and the model in the process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.paced import ALL_STRATEGIES, BY_NAME, Cell, House, house
from tests.support.parked import blue, said, until
from tests.support.parties import REQUESTS, SAMPLING

pytestmark = pytest.mark.extensive

Json = dict[str, Any]
KEY = "backchannel/routing"
HEDGING = said("I'm not sure. Perhaps it is blue, but I might be wrong.")
FORM: Json = {
    "method": "elicitation/create",
    "params": {
        "message": "Which table?",
        "requestedSchema": {
            "type": "object",
            "properties": {
                "colour": {"type": "string"},
                "seats": {"type": "integer", "minimum": 1},
                "note": {"type": "string"},
            },
            "required": ["colour"],
        },
    },
}
CELLS = [("handshake", "stdio"), ("handshake", "modern"), ("modern", "http"), ("modern", "modern")]


def got(response: Json) -> Json:
    """The result that the server got."""
    answer = response["result"]["structuredContent"]["answers"]["q"]
    return answer.get("result", answer)


async def both(h: House, cell: Cell, request: Json, answer: Json) -> tuple[Json, Json]:
    """Have both parties answer; returns what the server got, and its mark."""
    h.forget("answers")
    call = h.call(cell, request)
    await call.answer({"result": answer})
    result = got(await call.end())
    return result, result["_meta"][KEY]


@pytest.mark.parametrize("dialect", list(BY_NAME))
async def test_hybrid_takes_the_answer_of_higher_confidence_where_it_must_not_compose(
    tmp_path, dialect
) -> None:
    async with house(tmp_path, dialect, sampling={"hybrid": {"combine": "best"}}) as h:
        for client, server in CELLS:
            cell = Cell("hybrid", "sampling", client, server)
            result, stamp = await both(h, cell, SAMPLING, HEDGING)
            assert result["content"]["text"] == "the LLM speaking"
            assert (stamp["source"], stamp["primary_source"]) == ("llm", "local")
            assert stamp["hybrid_processing"] == "best"
            assert stamp["confidence_decision"] == "local_higher_confidence"
            assert len(h.model.heard) == 1
            scores = [stamp[side]["confidence"]["score"] for side in ("local_metadata", "proxy_metadata")]
            assert scores[0] > scores[1]
            assert h.latest["combined"]["primary_source"] == "local"


async def test_hybrid_has_a_judge_mark_both_answers_where_it_is_told_to(tmp_path) -> None:
    async with house(tmp_path, sampling={"hybrid": {"combine": "best", "judge": True}}) as h:
        for client, server in CELLS:
            _, stamp = await both(h, Cell("hybrid", "sampling", client, server), SAMPLING, said())
            for side in ("local_metadata", "proxy_metadata"):
                assert stamp[side]["confidence"]["signals"]["judge"] == 0.5
            assert len(h.model.heard) == 3


@pytest.mark.parametrize("dialect", list(BY_NAME))
async def test_hybrid_lets_the_llm_fill_only_what_a_person_has_left_empty(tmp_path, dialect) -> None:
    async with house(tmp_path, dialect) as h:
        h.model.form = '{"colour": "llm red", "seats": 4}'
        for client, server in CELLS:
            cell = Cell("hybrid", "elicitation", client, server)
            result, stamp = await both(h, cell, FORM, blue())
            assert result["content"] == {"colour": "client blue", "seats": 4}
            assert (stamp["source"], stamp["filled_by_local"]) == ("both", ["seats"])
            result, stamp = await both(h, cell, FORM, blue(seats=2, note="by the window"))
            assert result["content"] == {"colour": "client blue", "seats": 2, "note": "by the window"}
            assert stamp["source"] == "client"


async def test_hybrid_merges_nothing_where_response_combination_is_off(tmp_path) -> None:
    async with house(tmp_path, elicitation={"enable_response_combination": False}) as h:
        h.model.form = '{"colour": "llm red", "seats": 4}'
        result, stamp = await both(h, Cell("hybrid", "elicitation", "handshake", "http"), FORM, blue())
    assert result["content"] == {"colour": "client blue"}
    assert stamp["source"] == "client"


@pytest.mark.parametrize("strategy", ["parallel", "hybrid"])
@pytest.mark.parametrize("kind", ["sampling", "elicitation"])
async def test_each_leg_has_its_own_limit(tmp_path, strategy, kind) -> None:
    """The client is silent, its question is withdrawn, and the LLM stands in for it."""
    brief = {"default_timeout_seconds": 0.3}
    async with house(tmp_path, servers=("http",), **{kind: brief}) as h:
        cell = Cell(strategy, kind, "handshake", "http")
        h.forget("waits")
        call = h.call(cell, REQUESTS[kind])
        await call.asked()
        await until(lambda: call.withdrawn)
        h.model.gate.set()
        stamp = got(await call.end())["_meta"][KEY]
        assert sorted((leg["source"], leg["outcome"]) for leg in stamp["legs"]) == [
            ("client", "timed_out"),
            ("llm", "success"),
        ]
        assert stamp["source"] == "llm"
        assert stamp["fallback_reason"] == "the client did not answer within 0.3 s"


async def test_hybrid_uses_the_client_s_answer_alone_when_the_llm_takes_too_long(tmp_path) -> None:
    llm = {"smart_discovery": {"enabled": True, "proxy_timeout_secs": 60}}
    async with house(tmp_path, servers=("http", "modern"), limit=0.4, **llm) as h:
        for client, server in (("handshake", "http"), ("modern", "modern")):
            h.forget("waits")
            call = h.call(Cell("hybrid", "sampling", client, server), SAMPLING)
            await call.answer({"result": said()})
            stamp = got(await call.end())["_meta"][KEY]
            assert stamp["source"] == "client"
            assert ("llm", "timed_out") in [(leg["source"], leg["outcome"]) for leg in stamp["legs"]]
            await h.model.heard[0].left.wait()


@pytest.mark.parametrize("strategy", ["parallel", "hybrid"])
@pytest.mark.parametrize("kind", ["sampling", "elicitation"])
async def test_a_client_that_breaks_off_has_the_provider_s_request_aborted(tmp_path, strategy, kind) -> None:
    """One closes its stream in the head start; the other ends its session while it thinks."""
    async with house(tmp_path, head_start_ms=30_000) as h:
        for server in ("stdio", "http", "modern"):
            h.forget("waits")
            call = h.call(Cell("parallel", kind, "modern", server), REQUESTS[kind])
            heard = await h.model.until_heard()
            await call.close()
            await heard.left.wait()
            await until(lambda: h.latest["outcome"] == "cancelled")
        h.forget("waits")
        call = h.call(Cell(strategy, kind, "handshake", "http"), REQUESTS[kind])
        heard = await h.model.until_heard()
        await h.handshake.http.delete("/mcp", headers=h.handshake.sent)
        await heard.left.wait()
        await until(lambda: h.latest["strategy"] == strategy and h.latest["outcome"] == "cancelled")
        await call.close()
        assert h.gateway.gateway.broker.gate.open_questions == {}


async def test_a_late_answer_to_what_the_llm_has_won_is_not_taken_for_the_next_question(tmp_path) -> None:
    async with house(tmp_path, servers=("http",)) as h:
        h.forget("waits")
        requests = {"q": SAMPLING, "r": REQUESTS["elicitation"]}
        call = h.modern.tool("http__parallel-sampling", requests=requests)
        first = await call.send()
        await h.model.until_heard()
        h.model.gate.set()
        await h.until_llm_is_done()
        second = await call.answer(first, said())
        assert [each["method"] for each in second.requests.values()] == ["elicitation/create"]
        last = await call.answer(second, blue())
        # A repeated retry of the first round shares the outcome.
        again = await call.answer(first, said("another try"))
    answers = last.result["structuredContent"]["answers"]
    assert answers["q"]["result"]["content"]["text"] == "the LLM speaking"
    assert answers["r"]["result"]["content"] == {"colour": "client blue"}
    assert again.result["structuredContent"] == last.result["structuredContent"]


async def test_a_leg_that_races_on_ends_when_the_gateway_stops(tmp_path) -> None:
    async with house(tmp_path, servers=("modern",)) as h:
        h.forget("waits")
        await h.call(Cell("parallel", "sampling", "modern", "modern"), SAMPLING).asked()
        heard = await h.model.until_heard()
        assert h.gateway.gateway.broker.gate.open_questions == {"modern": 1}
    async with asyncio.timeout(5):
        await heard.left.wait()


async def test_a_question_too_large_for_the_client_s_state_is_answered_by_the_client_alone(
    tmp_path, caplog
) -> None:
    words = {"role": "user", "content": {"type": "text", "text": "Who are you? " + "x" * 300_000}}
    large = {**SAMPLING, "params": {**SAMPLING["params"], "messages": [words]}}
    async with house(tmp_path, servers=("modern",)) as h:
        result, stamp = await both(h, Cell("hybrid", "sampling", "modern", "modern"), large, said())
    assert result["content"]["text"] == "the client speaking"
    assert stamp["source"] == "client"
    assert sorted(leg["source"] for leg in stamp["legs"]) == ["client", "llm"]
    assert "will not be combined with the LLM's" in caplog.text


async def test_the_model_in_the_process_takes_part_in_every_strategy(tmp_path) -> None:
    local = {"llm_config": {"provider": "local"}}
    request = {**SAMPLING, "params": {**SAMPLING["params"], "maxTokens": 4, "temperature": 0.1}}
    async with house(tmp_path, servers=("http",), head_start_ms=60_000, sampling=local) as h:
        for strategy in ALL_STRATEGIES:
            # Answering by retries, the client of `parallel` leaves the model its head start.
            client = "modern" if strategy == "parallel" else "handshake"
            call = h.call(Cell(strategy, "sampling", client, "http"), request)
            if strategy in ("client_forwarded", "client_first", "hybrid"):
                await call.answer({"result": said()})
            stamp = got(await call.end())["_meta"][KEY]
            asks_llm = strategy not in ("client_forwarded", "client_first")
            if strategy == "hybrid":
                assert stamp["combined_responses"] == 2
            else:
                assert stamp["source"] == ("llm" if asks_llm else "client")
            legs = {leg["source"]: leg for leg in stamp["legs"]}
            assert ("llm" in legs) == asks_llm
            if asks_llm:
                assert (legs["llm"]["provider"], legs["llm"]["tokens"]["output"]) == ("local", 4)
        assert h.model.heard == []


async def test_the_model_in_the_process_is_stopped_when_the_client_is_quicker(tmp_path) -> None:
    local = {"llm_config": {"provider": "local"}}
    request = {**SAMPLING, "params": {**SAMPLING["params"], "maxTokens": 2000, "temperature": 0}}
    async with house(tmp_path, servers=("http",), sampling=local) as h:
        call = h.call(Cell("parallel", "sampling", "handshake", "http"), request)
        await call.answer({"result": said()})
        stamp = got(await call.end())["_meta"][KEY]
    assert stamp["source"] == "client"
    assert [(leg["source"], leg["outcome"]) for leg in stamp["legs"]] == [
        ("client", "success"),
        ("llm", "cancelled"),
    ]
