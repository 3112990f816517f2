"""Questions that wait for a client's retry: what becomes of the LLM's leg from round to round."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from gateway.answers.accounts import Unmetered
from gateway.answers.bounds import BrokerLimits, ServerBounds
from gateway.answers.model import Answer, Deferred
from gateway.answers.racing import Racing
from gateway.answers.stamp import KEY
from gateway.calls.model import Resume
from gateway.errors import NobodyAnswered, ProviderError, QuestionError
from gateway.llm.port import Account, Llm
from gateway.policy.model import (
    Both,
    Case,
    Condition,
    KindPolicy,
    Layer,
    Outcome,
    Policy,
    Setting,
    Source,
    Strategy,
)
from tests.answers.players import (
    CLIENT_ANSWER,
    LLM_TEXT,
    PARAMS,
    SAMPLED,
    FakeCaller,
    Scene,
    ScriptedLlm,
    policy,
    scene,
)
from tests.support.paced import settle
from tests.support.parked import until

DOWN = ProviderError("down", code="E008")
PATIENT = Both(head_start=30)


def put_off(strategy: Strategy, *replies: Any, waits: bool = False, **more: Any) -> Scene:
    """A client that answers by retrying, and a model."""
    llm = ScriptedLlm(list(replies), gate=asyncio.Event() if waits else None)
    return scene(strategy, caller=FakeCaller(defers=True), llm=llm, **more)


async def ask(stage: Scene, kind: str, asked: int = 0, note: Any = None, **params: Any) -> Any:
    shown = {**PARAMS[kind], **params}
    return await stage.ask(kind, shown, deferrable=True, asked=asked, note=note or {})


async def deferred(stage: Scene, kind: str, *args: Any, **params: Any) -> dict[str, Any]:
    """Ask, and return the note of what must be a question that waits for its client's retry."""
    outcome = await ask(stage, kind, *args, **params)
    assert isinstance(outcome, Deferred), outcome
    return outcome.note


async def let_llm_answer(stage: Scene) -> None:
    assert stage.llm.gate is not None
    stage.llm.gate.set()
    await settle()


def racing(stage: Scene) -> str:
    return repr(stage.broker._parties.racing)


async def test_an_elicitation_asked_in_an_earlier_round_is_the_clients_in_the_next_one_too() -> None:
    stage = put_off(Strategy.PARALLEL, LLM_TEXT["elicitation"], waits=True)
    note = await deferred(stage, "elicitation")
    await let_llm_answer(stage)

    second = await deferred(stage, "elicitation", 1, note)
    given_up = await ask(stage, "elicitation", 2, second)

    assert given_up["_meta"][KEY]["source"] == "llm"  # the client's leg has failed
    assert len(stage.llm.prompts) == 1
    assert [(leg.source, leg.outcome) for leg in stage.decisions[-1].legs] == [
        ("llm", Outcome.SUCCESS),
        ("client", Outcome.FAILED),
    ]


async def test_a_retry_without_an_answer_gets_what_the_llm_has_said_to_a_sampling() -> None:
    stage = put_off(Strategy.PARALLEL, "mine", waits=True)
    note = await deferred(stage, "sampling")
    await let_llm_answer(stage)

    assert (await ask(stage, "sampling", 1, note))["_meta"][KEY]["source"] == "llm"
    assert len(stage.llm.prompts) == 1


@pytest.mark.parametrize("strategy", [Strategy.LLM_FIRST, Strategy.PARALLEL, Strategy.HYBRID])
@pytest.mark.parametrize("kind", ["sampling", "elicitation"])
async def test_an_llm_that_failed_is_not_asked_again_while_its_client_retries(strategy, kind) -> None:
    stage = put_off(strategy, DOWN, LLM_TEXT[kind], both=PATIENT)
    note = await deferred(stage, kind)
    note = await deferred(stage, kind, 1, note)

    with pytest.raises(NobodyAnswered) as raised:
        await ask(stage, kind, 2, note)

    assert len(stage.llm.prompts) == 1
    assert raised.value.data is not None
    assert {(leg["source"], leg["code"]) for leg in raised.value.data["legs"]} == {
        ("llm", "E008"),
        ("client", "E002"),
    }


async def test_what_hybrid_has_of_the_llm_is_kept_from_round_to_round() -> None:
    stage = put_off(Strategy.HYBRID, "mine", "the best of both")
    note = await deferred(stage, "sampling")
    note = await deferred(stage, "sampling", 1, note)

    settled = await stage.broker.settle(stage.call, note, SAMPLED)

    assert settled["content"]["text"] == "the best of both"
    assert len(stage.llm.prompts) == 2
    ours, theirs = settled["_meta"][KEY]["legs"]
    assert (ours["source"], ours["tokens"], theirs["source"]) == ("llm", {"input": 7, "output": 3}, "client")
    assert stage.decisions[-1].combined is not None


class Accounts(Unmetered):
    """Remembers whose account each request went to."""

    def __init__(self) -> None:
        self.charges: list[Account] = []

    def charged(self, llm: Llm, account: Account) -> Llm:
        self.charges.append(account)
        return llm


async def test_what_was_decided_when_a_question_was_put_holds_when_its_answers_are_combined() -> None:
    """Its conditions do not hold any more, and another level decides by now: that is for new questions."""
    level = "sampling.default_sampling_strategy"
    short = Case(Strategy.HYBRID, Condition(max_characters=100), Source("gateway.yaml", f"{level}[0]"))
    cases = (short, Case(Strategy.CLIENT, source=Source("gateway.yaml", f"{level}[1]")))
    before = policy(Strategy.CLIENT)
    lists = Layer(level, Setting(cases, Source("gateway.yaml", level)))
    put = put_off(Strategy.HYBRID, "mine", policies=replace(before, sampling=replaced(before, lists)))
    note = await deferred(put, "sampling")
    own = {"booking": Layer("mcpServers.booking", Setting(Strategy.CLIENT, Source("servers.json", "there")))}
    meter = Accounts()
    now = put_off(
        Strategy.CLIENT,
        "the best of both",
        policies=replace(before, sampling=replaced(before, lists, servers=own)),
        meter=meter,
    )

    settled = await now.broker.settle(now.call, note, SAMPLED)

    assert settled["content"]["text"] == "the best of both"
    assert [account.level for account in meter.charges] == ["organization"]
    assert (now.decision.level, now.decision.path) == ("organization", f"gateway.yaml {level}[0]")


def replaced(policies: Policy, organization: Layer, **changes: Any) -> KindPolicy:
    return replace(policies.sampling, organization=organization, **changes)


async def test_another_question_under_the_same_key_is_put_to_the_llm_anew() -> None:
    stage = put_off(Strategy.PARALLEL, "mine", waits=True)
    note = await deferred(stage, "sampling")
    await deferred(stage, "sampling", 1, note, maxTokens=7)
    await settle()

    assert [prompt.max_tokens for prompt in stage.llm.prompts] == [50, 7]
    assert stage.llm.aborted
    assert racing(stage) == "<Racing 1 running, 0 answered, 0 ending>"


async def test_the_record_of_a_race_says_how_each_leg_ended() -> None:
    for wins in (True, False):
        stage = put_off(Strategy.PARALLEL, "mine", waits=True)
        note = await deferred(stage, "sampling")
        if wins:
            await let_llm_answer(stage)
        settled = await stage.broker.settle(stage.call, note, SAMPLED)
        await settle()
        outcome = Outcome.SUCCESS if wins else Outcome.CANCELLED
        assert [(leg.source, leg.outcome) for leg in stage.decisions[-1].legs] == [
            ("client", Outcome.SUCCESS),
            ("llm", outcome),
        ]
        assert settled["_meta"][KEY]["source"] == ("llm" if wins else "client")
        assert stage.llm.aborted != wins


async def test_a_retry_that_comes_twice_gets_the_same_answer_twice() -> None:
    stage = put_off(Strategy.PARALLEL, "mine", waits=True)
    note = await deferred(stage, "sampling")
    await let_llm_answer(stage)

    first = await stage.broker.settle(stage.call, note, SAMPLED)
    assert (await stage.broker.settle(stage.call, note, SAMPLED))["content"] == first["content"]


async def test_a_leg_that_has_failed_is_not_kept() -> None:
    stage = put_off(Strategy.PARALLEL, DOWN)
    note = await deferred(stage, "sampling")
    await settle()

    assert "race" not in note
    assert racing(stage) == "<Racing 0 running, 0 answered, 0 ending>"


async def test_a_leg_that_goes_on_keeps_its_servers_place_until_it_ends() -> None:
    stage = put_off(Strategy.PARALLEL, "mine", waits=True)
    await deferred(stage, "sampling")
    assert stage.broker.gate.open_questions == {"booking": 1}

    await let_llm_answer(stage)
    assert stage.broker.gate.open_questions == {}


async def test_a_question_that_is_put_again_takes_the_place_of_its_own_leg() -> None:
    limits = BrokerLimits({"booking": ServerBounds(max_concurrent_questions=1)})
    stage = put_off(Strategy.PARALLEL, "mine", waits=True, limits=limits)
    note = await deferred(stage, "sampling")
    with pytest.raises(QuestionError, match="1 questions at once"):
        await ask(stage, "sampling")

    await deferred(stage, "sampling", 1, note)
    assert stage.broker.gate.open_questions == {"booking": 1}
    await let_llm_answer(stage)
    assert stage.broker.gate.open_questions == {}


async def test_beyond_the_bound_the_oldest_leg_gives_way_and_its_client_s_answer_counts() -> None:
    async def forever() -> Any:
        await asyncio.Event().wait()

    kept = Racing(most=2)
    legs = [asyncio.ensure_future(forever()) for _ in range(3)]
    names = [kept.leave(leg, [], "q") for leg in legs]
    await settle()

    assert [leg.done() for leg in legs] == [True, False, False]
    assert kept.finish(names[0]) == (None, None)
    await kept.aclose()
    assert all(leg.cancelled() for leg in legs)


async def test_what_is_not_fetched_in_time_is_forgotten() -> None:
    async def said() -> Any:
        return Answer("llm", {})

    kept = Racing(seconds=0.01)
    name = kept.leave(asyncio.ensure_future(said()), [], "q")
    await until(lambda: not len(kept))
    assert kept.finish(name) == (None, None)


async def test_when_the_gateway_stops_every_leg_ends() -> None:
    stage = put_off(Strategy.PARALLEL, None)
    await deferred(stage, "sampling")
    await stage.llm.reached.wait()

    await stage.broker.aclose()

    assert stage.llm.aborted
    assert stage.broker.gate.open_questions == {}


async def test_a_defect_in_a_leg_that_nobody_needs_is_logged(caplog) -> None:
    stage = scene(
        Strategy.PARALLEL,
        caller=FakeCaller(SAMPLED, gate=asyncio.Event()),
        llm=ScriptedLlm([RuntimeError("a defect")]),
    )
    asking = asyncio.ensure_future(stage.ask("sampling"))
    await settle()
    assert stage.caller.gate is not None
    with caplog.at_level(logging.ERROR):
        stage.caller.gate.set()
        assert (await asking)["_meta"][KEY]["source"] == "client"
    assert "a leg failed: RuntimeError: a defect" in caplog.text


async def test_a_retry_whose_client_leaves_while_both_are_combined_leaves_its_record() -> None:
    stage = put_off(Strategy.HYBRID, "mine", None)
    note = await deferred(stage, "sampling")
    settling = asyncio.ensure_future(stage.broker.settle(stage.call, note, SAMPLED))
    await settle()

    settling.cancel()
    await asyncio.wait((settling,))

    assert stage.llm.aborted
    assert stage.decisions[-1].outcome == "cancelled"


MALFORMED: list[Any] = [
    {},
    {"content": "text"},
    {"content": [1, None], "model": 7},
    {"role": 1, "content": {}},
]


@pytest.mark.parametrize("words", MALFORMED)
@pytest.mark.parametrize("combine", ["best", "merge"])
async def test_whatever_a_retry_brings_is_no_fault_of_the_gateway(words, combine) -> None:
    stage = put_off(Strategy.HYBRID, "mine", both=Both(combine=combine))
    note = await deferred(stage, "sampling")

    settled = await stage.broker.settle(stage.call, note, words)

    assert settled["_meta"][KEY]["source"] in ("client", "llm", "both")
    assert stage.decisions[-1].outcome == "answered"


@pytest.mark.parametrize("strategy", [Strategy.PARALLEL, Strategy.HYBRID])
async def test_an_action_that_there_is_not_is_passed_on_and_ends_the_race(strategy) -> None:
    stage = put_off(strategy, LLM_TEXT["elicitation"], waits=strategy is Strategy.PARALLEL)
    note = await deferred(stage, "elicitation")

    assert await stage.broker.settle(stage.call, note, {"action": "maybe"}) == {"action": "maybe"}
    await settle()
    assert stage.decisions[-1].outcome == "unanswered"
    assert "0 running" in racing(stage)


async def test_a_state_without_room_does_without_the_llms_answer() -> None:
    stage = put_off(Strategy.HYBRID, "mine", "the best of both")
    note = await deferred(stage, "sampling")
    resume = Resume("state", {}, notes={"q": note}).lighter()

    settled = await stage.broker.settle(stage.call, resume.notes["q"], CLIENT_ANSWER["sampling"])

    assert {key: value for key, value in settled.items() if key != "_meta"} == CLIENT_ANSWER["sampling"]
    assert [leg["source"] for leg in settled["_meta"][KEY]["legs"]] == ["llm", "client"]
