from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import structlog

from gateway.answers.bounds import BrokerLimits, ServerBounds
from gateway.answers.factory import build_broker
from gateway.answers.model import DEFERRED, Deferred
from gateway.answers.stamp import KEY
from gateway.calls.model import ChannelClosed
from gateway.config.resolved import GatewayConfig, Limits, ServerConfig
from gateway.errors import (
    NobodyAnswered,
    PeerError,
    ProviderError,
    QuestionError,
    QuestionRefused,
)
from gateway.observability.decisions import DecisionLog
from gateway.policy.model import Outcome, Source, Strategy
from tests.answers.players import (
    ACCEPTED,
    EVERYTHING,
    LLM_TEXT,
    PARAMS,
    SAMPLED,
    FakeCaller,
    ScriptedLlm,
    policy,
    scene,
)


def bounds(**limits: int) -> BrokerLimits:
    return BrokerLimits({"booking": ServerBounds(**limits)}, roots_timeout=0.02)


async def test_a_kind_that_is_off_is_refused_with_the_setting() -> None:
    stage = scene(enabled=False)

    with pytest.raises(QuestionRefused, match=r"sampling\.enabled"):
        await stage.ask("sampling")

    assert stage.decision.outcome == "refused"
    assert stage.caller.asked == []


async def test_a_question_of_no_call_is_refused_by_default() -> None:
    stage = scene()

    with pytest.raises(QuestionRefused, match="own_llm"):
        await stage.ask("sampling", call=None)

    assert stage.decision.call is None


async def test_an_unknown_method_is_refused_and_recorded() -> None:
    stage = scene()

    with pytest.raises(QuestionRefused, match="tools/list"):
        await stage.ask("tools/list")

    assert stage.decision.kind == "tools/list"
    assert stage.decision.outcome == "refused"


async def test_roots_go_to_the_client_whatever_the_strategy_and_come_back_untouched() -> None:
    roots = {"roots": [{"uri": "file:///home"}], "x-extra": 1}
    stage = scene(Strategy.LLM, caller=FakeCaller(roots))

    assert await stage.ask("roots/list", {"_meta": {"a": 1}}) == roots

    assert stage.caller.asked == [("roots/list", {"_meta": {"a": 1}})]
    assert (stage.decision.kind, stage.decision.source, stage.decision.outcome) == (
        "roots",
        "client",
        "answered",
    )


@pytest.mark.parametrize(
    ("caller", "changes"),
    [
        (FakeCaller(profile=EVERYTHING - {"roots"}), {}),
        (FakeCaller(ChannelClosed("no place to park"), defers=True), {}),
        (FakeCaller(), {"call": None}),
    ],
    ids=["not declared", "cannot be parked", "no call"],
)
async def test_roots_are_refused_where_no_client_can_be_asked(caller: FakeCaller, changes: Any) -> None:
    stage = scene(caller=caller)

    with pytest.raises(QuestionRefused):
        await stage.ask("roots/list", **changes)


async def test_a_silent_client_ends_a_roots_question() -> None:
    stage = scene(caller=FakeCaller(None), limits=bounds())

    with pytest.raises(NobodyAnswered) as raised:
        await stage.ask("roots/list")

    assert not raised.value.unavailable
    assert stage.decision.outcome == "unanswered"


async def test_a_clients_error_to_roots_is_relayed_as_it_is() -> None:
    error = PeerError(-32000, "no disk", {"a": 1})
    stage = scene(caller=FakeCaller(error))

    with pytest.raises(PeerError) as raised:
        await stage.ask("roots/list")

    assert raised.value is error


async def test_roots_are_deferred_where_the_server_can_wait() -> None:
    stage = scene(caller=FakeCaller(defers=True))

    assert await stage.ask("roots/list", deferrable=True) is DEFERRED


async def test_the_question_beyond_a_calls_bound_is_turned_away_and_logged() -> None:
    stage = scene(caller=FakeCaller(SAMPLED), limits=bounds(max_questions=2))
    await stage.ask("sampling")
    await stage.ask("sampling")

    with structlog.testing.capture_logs() as logs, pytest.raises(QuestionError, match="max_questions"):
        await stage.ask("sampling")
    with structlog.testing.capture_logs() as later:
        stage.log.settle()

    assert len(stage.caller.asked) == 2
    assert stage.decisions[-1].outcome == "limited"
    assert [line["event"] for line in [*logs, *later] if line["log_level"] == "warning"] == [
        "question_limited",
        "decision",
    ]


async def test_questions_of_earlier_rounds_count() -> None:
    stage = scene(caller=FakeCaller(SAMPLED), limits=bounds(max_questions=5))
    stage.call.questions = 5

    with pytest.raises(QuestionError, match="at most 5 questions"):
        await stage.ask("sampling")


async def test_roots_and_unknown_methods_count_as_questions() -> None:
    stage = scene(caller=FakeCaller({"roots": []}), limits=bounds(max_questions=2))
    await stage.ask("roots/list")
    with pytest.raises(QuestionRefused):
        await stage.ask("nonsense")

    with pytest.raises(QuestionError, match="max_questions"):
        await stage.ask("roots/list")


async def test_concurrent_questions_are_bounded_per_server() -> None:
    stage = scene(caller=FakeCaller(None), limits=bounds(max_concurrent_questions=1))
    first = asyncio.create_task(stage.ask("sampling"))
    await stage.caller.reached.wait()

    with pytest.raises(QuestionError, match="max_concurrent_questions"):
        await stage.ask("sampling")
    assert stage.broker.gate.open_questions == {"booking": 1}
    stage.caller.reply = {"roots": []}
    assert await stage.ask("roots/list", server="other") == {"roots": []}

    first.cancel()
    await asyncio.wait([first])
    assert stage.broker.gate.open_questions == {}


@pytest.mark.parametrize(
    "reply", [SAMPLED, PeerError(-1, "no"), PeerError(-32603, "x"), ValueError("a fault of ours")]
)
async def test_a_place_is_given_back_however_a_question_ends(reply: Any) -> None:
    failing = ScriptedLlm([ProviderError("down", code="E008")])
    stage = scene(caller=FakeCaller(reply), llm=failing)

    await asyncio.gather(stage.ask("sampling"), return_exceptions=True)

    assert stage.broker.gate.open_questions == {}
    assert len(stage.decisions) == 1


async def test_a_fault_of_the_gateway_leaves_a_record_too() -> None:
    stage = scene(caller=FakeCaller(ValueError("bug")))

    with pytest.raises(ValueError):
        await stage.ask("sampling")

    assert stage.decision.outcome == "broken"


@pytest.mark.parametrize("kind", ["sampling", "elicitation", "roots/list"])
async def test_cancelling_a_call_withdraws_the_question_from_its_client(kind: str) -> None:
    stage = scene(Strategy.CLIENT_FIRST, caller=FakeCaller(None), llm=ScriptedLlm(["never"]))
    asking = asyncio.create_task(stage.ask(kind))
    await stage.caller.reached.wait()

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert stage.caller.withdrawn
    assert stage.llm.prompts == []
    assert stage.decision.outcome == "cancelled"
    assert stage.broker.gate.open_questions == {}


@pytest.mark.parametrize("kind", ["sampling", "elicitation"])
async def test_cancelling_a_call_aborts_the_models_work(kind: str) -> None:
    stage = scene(Strategy.LLM_FIRST, llm=ScriptedLlm([None]))
    asking = asyncio.create_task(stage.ask(kind))
    await stage.llm.reached.wait()

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert stage.llm.aborted
    assert stage.caller.asked == []
    assert stage.decision.outcome == "cancelled"
    assert [leg.outcome for leg in stage.decision.legs] == [Outcome.CANCELLED]


async def test_cancelling_during_a_repair_or_the_second_leg_works_as_well() -> None:
    repairing = scene(Strategy.LLM, llm=ScriptedLlm(["{}", None]))
    second = scene(caller=FakeCaller(PeerError(-32601, "no")), llm=ScriptedLlm([None]))
    for stage, prompts in ((repairing, 2), (second, 1)):
        asking = asyncio.create_task(stage.ask("elicitation"))
        while len(stage.llm.prompts) < prompts:
            stage.llm.reached.clear()
            await stage.llm.reached.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert stage.llm.aborted
        assert stage.decision.outcome == "cancelled"


async def test_the_stamp_names_strategy_level_path_legs_and_the_guides_fields() -> None:
    stage = scene(caller=FakeCaller(PeerError(-32601, "not here")), llm=ScriptedLlm(["hello"]))

    stamp = (await stage.ask("sampling"))["_meta"][KEY]

    first, second = stamp.pop("legs")
    assert first.pop("latency_ms") >= 0
    assert first == {
        "source": "client",
        "outcome": "unavailable",
        "reason": "the client does not serve this request: not here",
        "code": "E001",
    }
    assert second.pop("latency_ms") >= 0
    assert second == {
        "source": "llm",
        "outcome": "success",
        "model": "tiny-model",
        "provider": "local",
        "tokens": {"input": 7, "output": 3},
        "attempts": [{"provider": "local", "model": "tiny-model", "latency_ms": 200}],
    }
    assert stamp.pop("hybrid_timestamp") == stage.decision.at
    assert stamp == {
        "strategy": "client_first",
        "level": "organization",
        "path": "gateway.yaml:12 sampling.default_sampling_strategy",
        "source": "llm",
        "hybrid_processing_mode": "proxy_first_fallback",
        "processing_server": "backchannel",
        "original_client_id": "desk-app",
        "local_processing": True,
        "proxy_attempted": False,
        "fallback_reason": "the client does not serve this request: not here",
    }


async def test_an_answer_is_untouched_but_for_the_stamp() -> None:
    theirs = {**SAMPLED, "x-vendor": [1], "_meta": {"keep": "me", KEY: {"source": "forged"}}}
    stage = scene(caller=FakeCaller(theirs))

    result = await stage.ask("sampling")

    stamp = result["_meta"].pop(KEY)
    assert result == {**SAMPLED, "x-vendor": [1], "_meta": {"keep": "me"}}
    assert stamp["source"] == "client"
    assert "fallback_reason" not in stamp
    assert theirs["_meta"][KEY] == {"source": "forged"}


async def test_neither_stamp_nor_error_tells_a_providers_words_or_the_session() -> None:
    leak = ProviderError("org-77 at https://llm.internal: bad key sk-abcdefgh12345", code="E004")
    answered = scene(Strategy.LLM_FIRST, caller=FakeCaller(SAMPLED), llm=ScriptedLlm([leak]))
    nobody = scene(Strategy.LLM, llm=ScriptedLlm([leak]))

    told = str((await answered.ask("sampling"))["_meta"])
    with pytest.raises(NobodyAnswered) as raised:
        await nobody.ask("sampling")

    for text in (told, str(raised.value), str(raised.value.data)):
        for secret in ("org-77", "llm.internal", "sk-abc", "session-secret", "key-1", "alice"):
            assert secret not in text
    assert "org-77" in answered.decision.legs[0].detail


async def test_the_record_names_the_session_by_a_fingerprint_only() -> None:
    stage = scene(caller=FakeCaller(SAMPLED))

    await stage.ask("sampling")

    assert stage.decision.session is not None
    assert "session-secret" not in str(stage.log.recent(1))


async def test_a_deferred_question_is_recorded_as_such() -> None:
    stage = scene(caller=FakeCaller(defers=True))

    deferred = await stage.ask("elicitation", deferrable=True)

    assert isinstance(deferred, Deferred)
    assert stage.decision.outcome == "deferred"
    assert stage.llm.prompts == []


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(ACCEPTED, "answered"), ({"action": "decline"}, "declined"), ({"action": "cancel"}, "dismissed")],
)
async def test_what_a_retry_brings_is_recorded_and_stamped_like_an_answer_given_at_once(
    answer: dict[str, Any], outcome: str
) -> None:
    stage = scene(
        Strategy.LLM_FIRST,
        llm=ScriptedLlm([ProviderError("down", code="E008")]),
        caller=FakeCaller(defers=True),
    )
    deferred = await stage.ask("elicitation", deferrable=True)
    put = stage.decision
    assert isinstance(deferred, Deferred)
    call = stage.request("elicitation").call
    assert call is not None

    settled = await stage.broker.settle(call, json.loads(json.dumps(deferred.note)), answer)

    decision = stage.decisions[-1]
    assert (decision.id, decision.outcome, decision.source) == (put.id, outcome, "client")
    assert [leg.source for leg in decision.legs] == ["llm", "client"]
    stamp = settled.pop("_meta")[KEY]
    assert settled == answer
    assert (stamp["source"], stamp["hybrid_processing_mode"]) == ("client", "local_first_fallback")
    assert stamp["fallback_reason"] == decision.legs[0].reason


async def test_the_factory_takes_bounds_labels_and_tokens_from_the_configuration() -> None:
    config = GatewayConfig(
        "gateway.yaml",
        policy(Strategy.CLIENT),
        servers=(ServerConfig("booking", "stdio", Source("s.json", "booking"), max_questions=1),),
        limits=Limits(max_tokens_per_question=9),
        label_questions=False,
    )
    stage = scene(caller=FakeCaller(ACCEPTED))
    broker = build_broker(config, {}, DecisionLog(1))

    await broker.answer(stage.request("elicitation"))
    with pytest.raises(QuestionError, match="at most 1 questions"):
        await broker.answer(stage.request("elicitation"))

    assert stage.caller.asked == [("elicitation/create", PARAMS["elicitation"])]


async def test_llm_answers_to_unsolicited_questions_need_their_setting() -> None:
    stage = scene(Strategy.CLIENT_FIRST, llm=ScriptedLlm([LLM_TEXT["sampling"]]), unsolicited=True)

    result = await stage.ask("sampling", call=None)

    assert result["_meta"][KEY]["source"] == "llm"
    assert "original_client_id" not in result["_meta"][KEY]
