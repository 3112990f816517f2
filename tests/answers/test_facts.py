"""What the broker tells policy of a question: the clock, the load and the cost are given to it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.answers.broker import Broker
from gateway.answers.facts import Surroundings, facts_of
from gateway.answers.legs import Parties
from gateway.answers.model import Deferred, InputRequest
from gateway.policy.model import Case, Condition, Policy, Setting, Source, Spent, Strategy, Window
from tests.answers.players import PARAMS, FakeCaller, ScriptedLlm, policy, scene

HERE = Source("gateway.yaml", "here", 1)
SAID = {"role": "assistant", "content": {"type": "text", "text": "by the client"}, "model": "m"}
NIGHT = Condition(windows=(Window(22 * 60, 6 * 60),))


def cases(condition: Condition) -> Policy:
    """The LLM where the condition holds, else the client."""
    base = policy(Strategy.CLIENT)
    listed = (Case(Strategy.LLM, condition, HERE), Case(Strategy.CLIENT, None, HERE))
    layer = replace(base.sampling.organization, strategy=Setting(listed, HERE))
    return replace(base, sampling=replace(base.sampling, organization=layer))


def broker(condition: Condition, around: Surroundings):
    caller = FakeCaller(reply=SAID)
    stage = scene(policies=cases(condition), llm=ScriptedLlm(["by the llm"]), caller=caller)
    parties: Parties = stage.broker._parties
    stage.broker = Broker(cases(condition), parties, stage.broker._limits, stage.log, around=around)
    return stage


async def source(stage) -> str:
    await stage.ask("sampling")
    return stage.log.recent(1)[0]["source"]


@pytest.mark.parametrize(("hour", "expected"), [(23, "llm"), (5, "llm"), (6, "client"), (12, "client")])
async def test_the_clock_decides(hour: int, expected: str):
    around = Surroundings(now=lambda: datetime(2026, 11, 20, hour, 30, tzinfo=UTC))
    assert await source(broker(NIGHT, around)) == expected


@pytest.mark.parametrize(
    ("condition", "spent", "expected"),
    [
        (Condition(spent_usd=5), Spent(usd=5.0), "llm"),
        (Condition(spent_usd=5), Spent(usd=4.99), "client"),
        (Condition(spent_fraction=0.8), Spent(fraction=0.8), "llm"),
        (Condition(spent_fraction=0.8), Spent(), "client"),
        (Condition(spent_tokens=10), Spent(tokens=11), "llm"),
        (Condition(spent_tokens=10), Spent(tokens=9), "client"),
    ],
)
async def test_what_was_spent_decides(condition: Condition, spent: Spent, expected: str):
    assert await source(broker(condition, Surroundings(spent=lambda _request: spent))) == expected


@pytest.mark.parametrize(("queued", "expected"), [(2, "llm"), (1, "client")])
async def test_what_waits_for_the_llm_decides(queued: int, expected: str):
    around = Surroundings(queued=lambda kind: queued if kind == "sampling" else 0)
    assert await source(broker(Condition(queued=2), around)) == expected


async def test_a_question_does_not_count_itself_among_those_in_flight():
    caller = FakeCaller(reply=SAID, gate=asyncio.Event())
    stage = scene(policies=cases(Condition(in_flight=1)), llm=ScriptedLlm(["by the llm"]), caller=caller)
    first = asyncio.ensure_future(stage.ask("sampling"))
    await caller.reached.wait()
    await stage.ask("sampling")
    assert stage.decisions[0].source == "llm"
    caller.gate.set()
    await first
    assert stage.decisions[1].source == "client"


async def test_a_question_that_was_put_to_the_client_stays_there_though_another_case_holds_by_now():
    hours = iter((12, 23, 23))
    around = Surroundings(now=lambda: datetime(2026, 11, 20, next(hours), tzinfo=UTC))
    stage = broker(NIGHT, around)
    stage.caller.defers = True
    first = await stage.ask("sampling", deferrable=True)
    assert isinstance(first, Deferred)
    again = await stage.ask("sampling", deferrable=True, asked=1, note=first.note)
    assert isinstance(again, Deferred)
    assert [decision["strategy"] for decision in stage.log.recent(2)] == ["client_forwarded"] * 2
    other = {**PARAMS["sampling"], "maxTokens": 7}
    assert not isinstance(await stage.ask("sampling", other, deferrable=True, note=first.note), Deferred)


def test_text_is_counted_wherever_it_stands_and_nothing_else_is():
    image = {"type": "image", "data": "x" * 1000, "mimeType": "image/png"}
    params = {
        "systemPrompt": "abc",
        "messages": [
            {"role": "user", "content": {"type": "text", "text": "de"}},
            {"role": "user", "content": [{"type": "text", "text": "f"}, image, "odd"]},
            "odd",
        ],
        "modelPreferences": {"hints": [{"name": "one"}, {"name": 2}, "odd", {"name": "three"}]},
    }
    facts = facts_of(
        InputRequest("s", "sampling/createMessage", params, None), "sampling", Surroundings(), {}
    )
    assert (facts.characters, facts.hints) == (6, ("one", "three"))
    assert (facts.client, facts.principal, facts.unsolicited, facts.in_flight) == ("", "", True, 0)
    form = InputRequest("s", "elicitation/create", {"message": "12345"}, None)
    assert facts_of(form, "elicitation", Surroundings(), {"s": 3}).characters == 5
    assert facts_of(form, "elicitation", Surroundings(), {"s": 3}).in_flight == 2


async def test_a_condition_is_looked_at_for_every_question():
    hours = iter((23, 12, 23))
    around = Surroundings(now=lambda: datetime(2026, 11, 20, next(hours), 30, tzinfo=UTC))
    stage = broker(NIGHT, around)
    assert [await source(stage) for _ in range(3)] == ["llm", "client", "llm"]


async def test_without_a_condition_nobody_is_asked_for_facts_twice():
    stage, asked = scene(strategy=Strategy.LLM, llm=ScriptedLlm(["by the llm"] * 3)), []

    def now() -> datetime:
        asked.append(True)
        return datetime(2026, 11, 20, tzinfo=UTC)

    around = Surroundings(now=now)
    stage.broker = Broker(
        policy(Strategy.LLM), stage.broker._parties, stage.broker._limits, stage.log, around=around
    )
    assert [await source(stage) for _ in range(3)] == ["llm"] * 3
    assert len(asked) == 1
    trails = [entry["trail"] for entry in stage.log.recent(3)]
    assert trails[0] == trails[1] == trails[2] != []
