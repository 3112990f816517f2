"""`parallel` and `hybrid`: who wins, who is cancelled, and that the client decides once it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from typing import Any

import pytest

from gateway.answers.model import Deferred
from gateway.answers.stamp import KEY
from gateway.errors import NobodyAnswered, PeerError, ProviderError, QuestionRejected
from gateway.policy.model import Both, Outcome, Strategy
from tests.answers.players import ACCEPTED, CLIENT_ANSWER, LLM_TEXT, FakeCaller, ScriptedLlm, scene
from tests.support.paced import settle

DOWN = ProviderError("down", code="E008")
REJECTED = PeerError(-1, "User rejected")
BROKEN = PeerError(-32603, "broken")
DECLINED = {"action": "decline", "x-why": "busy"}
DISMISSED = {"action": "cancel"}
REFUSALS: dict[str, list[Any]] = {"sampling": [REJECTED], "elicitation": [DECLINED, DISMISSED, REJECTED]}
KINDS = ("sampling", "elicitation")
BOTH = (Strategy.PARALLEL, Strategy.HYBRID)


def gated(reply: Any, **fields: Any) -> FakeCaller:
    return FakeCaller(reply, gate=asyncio.Event(), **fields)


def thinking(reply: Any) -> ScriptedLlm:
    return ScriptedLlm([reply], gate=asyncio.Event())


async def arrive(stage: Any, asking: asyncio.Task[Any], order: tuple[str, ...]) -> None:
    """Open both gates in an order, each party having been asked and heard before the next."""
    for party in order:
        await settle()
        if asking.done():
            return
        gate = stage.llm.gate if party == "llm" else stage.caller.gate
        gate.set()
    await settle()


async def test_the_first_success_wins_and_the_client_s_question_is_withdrawn() -> None:
    stage = scene(Strategy.PARALLEL, caller=gated(CLIENT_ANSWER["sampling"]), llm=thinking("mine"))
    asking = asyncio.ensure_future(stage.ask("sampling"))
    await arrive(stage, asking, ("llm",))

    result = await asking

    assert result["content"]["text"] == "mine"
    assert stage.caller.withdrawn
    assert result["_meta"][KEY]["hybrid_processing_mode"] == "parallel"
    assert [(leg.source, leg.outcome) for leg in stage.decision.legs] == [
        ("llm", Outcome.SUCCESS),
        ("client", Outcome.CANCELLED),
    ]


async def test_the_first_success_wins_and_the_provider_s_request_is_aborted() -> None:
    stage = scene(Strategy.PARALLEL, caller=gated(CLIENT_ANSWER["sampling"]), llm=ScriptedLlm([None]))
    asking = asyncio.ensure_future(stage.ask("sampling"))
    await arrive(stage, asking, ("client",))

    result = await asking

    assert result["_meta"][KEY]["source"] == "client"
    assert stage.llm.aborted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", BOTH)
@pytest.mark.parametrize("order", list(itertools.permutations(("client", "llm"))))
async def test_if_one_leg_fails_the_other_is_waited_for(strategy, kind, order) -> None:
    for client, llm, source in (
        (BROKEN, LLM_TEXT[kind], "llm"),
        (CLIENT_ANSWER[kind], DOWN, "client"),
    ):
        stage = scene(strategy, caller=gated(client), llm=thinking(llm))
        asking = asyncio.ensure_future(stage.ask(kind))
        await arrive(stage, asking, order)
        assert (await asking)["_meta"][KEY]["source"] == source


@pytest.mark.parametrize("strategy", BOTH)
@pytest.mark.parametrize("kind", KINDS)
async def test_if_both_fail_the_server_is_told_of_both(strategy, kind) -> None:
    stage = scene(strategy, caller=FakeCaller(BROKEN), llm=ScriptedLlm([DOWN]))

    with pytest.raises(NobodyAnswered) as raised:
        await stage.ask(kind)

    assert raised.value.data is not None
    assert {leg["source"] for leg in raised.value.data["legs"]} == {"client", "llm"}


REFUSING = [
    (strategy, kind, refusal, llm, order, defers)
    for strategy in BOTH
    for kind in KINDS
    for refusal in REFUSALS[kind]
    for llm in ("answers", "fails", "hangs")
    for order in itertools.permutations(("client", "llm"))
    for defers in (False, True)
]


@pytest.mark.parametrize(("strategy", "kind", "refusal", "llm", "order", "defers"), REFUSING)
async def test_what_the_client_refuses_before_delivery_stays_refused(
    strategy, kind, refusal, llm, order, defers
) -> None:
    """A sampling race that the LLM has won already is the one case in which there is nothing to refuse."""
    replies: dict[str, Any] = {"answers": LLM_TEXT[kind], "fails": DOWN, "hangs": None}
    stage = scene(strategy, caller=gated(refusal, defers=defers), llm=thinking(replies[llm]))
    asking = asyncio.ensure_future(stage.ask(kind))
    await stage.llm.reached.wait()
    won = strategy is Strategy.PARALLEL and kind == "sampling" and llm == "answers" and order[0] == "llm"
    await arrive(stage, asking, ("client",) if llm == "hangs" else order)

    if won:
        assert (await asking)["_meta"][KEY]["source"] == "llm"
    elif isinstance(refusal, PeerError):
        with pytest.raises(QuestionRejected):
            await asking
        assert stage.decision.outcome == "rejected"
    else:
        result = await asking
        assert {key: value for key, value in result.items() if key != "_meta"} == refusal


async def test_an_elicitation_answered_within_the_head_start_never_reaches_the_client() -> None:
    stage = scene(
        Strategy.PARALLEL,
        caller=gated(ACCEPTED),
        llm=ScriptedLlm([LLM_TEXT["elicitation"]]),
        both=Both(head_start=30),
    )

    assert (await stage.ask("elicitation"))["_meta"][KEY]["source"] == "llm"
    assert stage.caller.asked == []


async def test_an_llm_that_fails_in_its_head_start_does_not_use_it_up() -> None:
    stage = scene(
        Strategy.PARALLEL, caller=FakeCaller(ACCEPTED), llm=ScriptedLlm([DOWN]), both=Both(head_start=30)
    )

    async with asyncio.timeout(10):
        assert (await stage.ask("elicitation"))["_meta"][KEY]["source"] == "client"


async def test_an_elicitation_put_to_the_client_is_not_the_llm_s_to_answer() -> None:
    stage = scene(Strategy.PARALLEL, caller=gated(ACCEPTED), llm=thinking(LLM_TEXT["elicitation"]))
    asking = asyncio.ensure_future(stage.ask("elicitation"))
    await stage.caller.reached.wait()
    await arrive(stage, asking, ("llm",))
    assert not asking.done()

    await arrive(stage, asking, ("client",))
    assert (await asking)["_meta"][KEY]["source"] == "client"


async def test_hybrid_composes_one_answer_from_both() -> None:
    stage = scene(
        Strategy.HYBRID,
        caller=FakeCaller(CLIENT_ANSWER["sampling"]),
        llm=ScriptedLlm(["mine", "the best of both"]),
    )

    result = await stage.ask("sampling")

    assert result["content"]["text"] == "the best of both"
    stamp = result["_meta"][KEY]
    assert (stamp["source"], stamp["hybrid_processing"], stamp["combined_responses"]) == (
        "both",
        "combined",
        2,
    )
    for side in ("local_metadata", "proxy_metadata"):
        assert 0 <= stamp[side]["confidence"]["score"] <= 1
    shown = stage.llm.prompts[-1].messages[0]["content"]["text"]
    assert "mine" in shown
    assert CLIENT_ANSWER["sampling"]["content"]["text"] in shown


@pytest.mark.parametrize(
    ("ours", "composed", "asked"),
    [
        (CLIENT_ANSWER["sampling"]["content"]["text"], "never asked for", 1),
        ("4", "I'm not sure. Perhaps it is five.", 2),
        ("4", " ", 2),
    ],
)
async def test_two_equal_answers_need_no_third_and_a_worse_one_is_not_taken(ours, composed, asked) -> None:
    stage = scene(
        Strategy.HYBRID, caller=FakeCaller(CLIENT_ANSWER["sampling"]), llm=ScriptedLlm([ours, composed])
    )

    result = await stage.ask("sampling")

    assert result["content"]["text"] in (ours, CLIENT_ANSWER["sampling"]["content"]["text"])
    assert result["_meta"][KEY]["hybrid_processing"] == "best"
    assert len(stage.llm.prompts) == asked


async def test_best_takes_the_answer_of_higher_confidence_as_it_is() -> None:
    hedging = {**CLIENT_ANSWER["sampling"], "content": {"type": "text", "text": "I'm not sure. Perhaps 4?"}}
    stage = scene(
        Strategy.HYBRID, caller=FakeCaller(hedging), llm=ScriptedLlm(["It is 4."]), both=Both(combine="best")
    )

    result = await stage.ask("sampling")

    assert result["content"]["text"] == "It is 4."
    assert result["_meta"][KEY]["confidence_decision"] == "local_higher_confidence"
    assert len(stage.llm.prompts) == 1


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_a_model_is_asked_how_sure_it_is_only_where_that_is_weighed(strategy) -> None:
    stage = scene(strategy, caller=FakeCaller(BROKEN), llm=ScriptedLlm(["mine"]), fallback=True)
    with contextlib.suppress(NobodyAnswered):
        await stage.ask("sampling")

    assert [prompt.logprobs for prompt in stage.llm.prompts] == (
        [] if strategy is Strategy.CLIENT else [strategy is Strategy.HYBRID]
    )


async def test_a_judge_marks_both_answers_both_ways_round() -> None:
    stage = scene(
        Strategy.HYBRID,
        caller=FakeCaller(CLIENT_ANSWER["sampling"]),
        llm=ScriptedLlm(["mine", "2 9", "9 2"]),
        both=Both(combine="best", judge=True),
    )

    stamp = (await stage.ask("sampling"))["_meta"][KEY]

    assert stamp["local_metadata"]["confidence"]["signals"]["judge"] == 0.9
    assert stamp["proxy_metadata"]["confidence"]["signals"]["judge"] == 0.2
    assert stamp["primary_source"] == "local"


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "size": {"type": "integer"}, "note": {"type": "string"}},
    "required": ["name"],
}


@pytest.mark.parametrize(
    ("given", "filled", "whole", "source"),
    [
        ({"name": "Ann"}, {"name": "Bob", "size": 3}, {"name": "Ann", "size": 3}, "both"),
        ({"name": "Ann", "note": None}, {"name": "B", "note": "n"}, {"name": "Ann", "note": "n"}, "both"),
        ({"name": "Ann", "size": 1}, {"name": "Bob", "size": 3}, {"name": "Ann", "size": 1}, "client"),
    ],
)
async def test_of_two_forms_what_the_client_gave_stands(given, filled, whole, source) -> None:
    params = {"message": "Who?", "requestedSchema": SCHEMA}
    stage = scene(
        Strategy.HYBRID,
        caller=FakeCaller({"action": "accept", "content": given}),
        llm=ScriptedLlm([json.dumps(filled)]),
    )

    result = await stage.ask("elicitation", params)

    assert result["content"] == whole
    assert result["_meta"][KEY]["source"] == source


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_that_retries_is_asked_while_the_llm_goes_on(kind) -> None:
    stage = scene(Strategy.PARALLEL, caller=FakeCaller(defers=True), llm=thinking(LLM_TEXT[kind]))
    deferred = await stage.ask(kind, deferrable=True)
    assert isinstance(deferred, Deferred)
    assert stage.llm.gate is not None
    stage.llm.gate.set()
    await settle()

    settled = await stage.broker.settle(stage.call, deferred.note, CLIENT_ANSWER[kind])

    # For sampling the earlier success wins; an elicitation that was put to the client is the client's.
    assert settled["_meta"][KEY]["source"] == ("llm" if kind == "sampling" else "client")


async def test_an_llm_that_is_slower_than_the_retry_is_stopped() -> None:
    stage = scene(Strategy.PARALLEL, caller=FakeCaller(defers=True), llm=ScriptedLlm([None]))
    deferred = await stage.ask("sampling", deferrable=True)
    assert isinstance(deferred, Deferred)

    settled = await stage.broker.settle(stage.call, deferred.note, CLIENT_ANSWER["sampling"])

    await settle()
    assert settled["_meta"][KEY]["source"] == "client"
    assert stage.llm.aborted


async def test_hybrid_combines_with_what_a_retry_brings() -> None:
    stage = scene(
        Strategy.HYBRID, caller=FakeCaller(defers=True), llm=ScriptedLlm(["mine", "the best of both"])
    )
    deferred = await stage.ask("sampling", deferrable=True)
    assert isinstance(deferred, Deferred)

    settled = await stage.broker.settle(stage.call, deferred.note, CLIENT_ANSWER["sampling"])

    assert settled["content"]["text"] == "the best of both"
    assert settled["_meta"][KEY]["source"] == "both"


@pytest.mark.parametrize("strategy", BOTH)
async def test_a_declined_form_stays_declined_when_a_retry_brings_it(strategy) -> None:
    stage = scene(strategy, caller=FakeCaller(defers=True), llm=thinking(LLM_TEXT["elicitation"]))
    asking = asyncio.ensure_future(stage.ask("elicitation", deferrable=True))
    if strategy is Strategy.HYBRID:
        await arrive(stage, asking, ("llm",))
    deferred = await asking
    assert isinstance(deferred, Deferred)
    assert stage.llm.gate is not None
    stage.llm.gate.set()
    await settle()

    settled = await stage.broker.settle(stage.call, deferred.note, dict(DECLINED))
    assert {key: value for key, value in settled.items() if key != "_meta"} == DECLINED
    assert stage.decisions[-1].outcome == "declined"
