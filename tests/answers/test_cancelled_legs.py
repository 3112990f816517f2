"""A call that is cancelled at any await of any strategy: both parties are let go, one record is left."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from gateway.policy.model import Both, Strategy
from tests.answers.players import CLIENT_ANSWER, LLM_TEXT, FakeCaller, Scene, ScriptedLlm, scene
from tests.support.paced import settle

STEPS = range(16)
"""Turns of the event loop after which a call is cancelled: enough to see every strategy to its end."""
KINDS = ("sampling", "elicitation")
BOTH = (Strategy.PARALLEL, Strategy.HYBRID)


class Slow(FakeCaller):
    """A client whose answer takes a few turns of the loop."""

    async def ask(self, method: str, params: Any) -> Any:
        await turns(3)
        return await super().ask(method, params)


class GivenUp(FakeCaller):
    """A client whose question is cancelled, and not the one who waits for it."""

    async def ask(self, method: str, params: Any) -> Any:
        raise asyncio.CancelledError


class SlowLlm(ScriptedLlm):
    """A model whose answer takes a few turns of the loop."""

    async def complete(self, prompt: Any, budget: Any) -> Any:
        await turns(4)
        return await super().complete(prompt, budget)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def cancelled_after(count: int, asking: asyncio.Task[Any]) -> None:
    await turns(count)
    asking.cancel()
    await asyncio.wait((asking,))


def nothing_is_left(stage: Scene, before: set[asyncio.Task[Any]]) -> None:
    assert asyncio.all_tasks() - before == set()
    assert stage.broker.gate.open_questions == {}
    assert repr(stage.broker._parties.racing) == "<Racing 0 running, 0 answered, 0 ending>"


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("defers", [False, True])
async def test_a_cancelled_call_lets_both_parties_go_at_every_await(strategy, kind, defers) -> None:
    for count, head_start in itertools.product(STEPS, (0.0, 30.0)):
        stage = scene(
            strategy,
            caller=Slow(None, defers=defers),
            llm=SlowLlm([None]),
            both=Both(head_start=head_start),
        )
        before = asyncio.all_tasks()
        asking = asyncio.ensure_future(stage.ask(kind))
        await cancelled_after(count, asking)

        assert asking.cancelled()
        nothing_is_left(stage, before)
        assert stage.llm.aborted == bool(stage.llm.prompts)
        assert stage.caller.withdrawn == bool(stage.caller.asked)
        if count:
            assert stage.decision.outcome == "cancelled"


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_is_cancelled_as_answers_arrive_has_one_record_and_leaves_nothing(
    strategy, kind
) -> None:
    ended = set[str]()
    for count in range(40):
        stage = scene(strategy, caller=Slow(CLIENT_ANSWER[kind]), llm=SlowLlm([LLM_TEXT[kind]]))
        before = asyncio.all_tasks()
        asking = asyncio.ensure_future(stage.ask(kind))
        await cancelled_after(count, asking)

        nothing_is_left(stage, before)
        if count:
            assert stage.decision.outcome == ("cancelled" if asking.cancelled() else "answered")
            ended.add(stage.decision.outcome)
    assert ended == {"cancelled", "answered"}


@pytest.mark.parametrize("strategy", BOTH)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_leg_that_takes_its_time_to_end_keeps_nobody_waiting_for_long(
    strategy, kind, monkeypatch
) -> None:
    """Its answer would come too late to count."""
    monkeypatch.setattr("gateway.answers.legs._WITHDRAWING", 0.02)
    let_go = asyncio.Event()

    class Stubborn(ScriptedLlm):
        async def complete(self, prompt: Any, budget: Any) -> Any:
            self.reached.set()
            try:
                await asyncio.Event().wait()
            finally:
                await let_go.wait()

    stage = scene(strategy, caller=FakeCaller(None, gate=asyncio.Event()), llm=Stubborn([None]))
    asking = asyncio.ensure_future(stage.ask(kind))
    await stage.caller.reached.wait()
    await stage.llm.reached.wait()
    asking.cancel()
    await asyncio.wait((asking,), timeout=5)
    assert asking.cancelled()

    closing = asyncio.ensure_future(stage.broker.aclose())
    await settle()
    assert not closing.done()  # the gateway does not stop before its legs have
    let_go.set()
    await closing


@pytest.mark.parametrize("kind", KINDS)
async def test_a_party_that_is_cancelled_by_itself_does_not_hand_its_call_to_the_other(kind) -> None:
    """A call that is given up has its question cancelled before anything else of it ends."""
    for strategy in (Strategy.CLIENT_FIRST, *BOTH):
        stage = scene(
            strategy,
            caller=GivenUp(),
            llm=ScriptedLlm([LLM_TEXT[kind]], gate=asyncio.Event()),
        )
        with pytest.raises(asyncio.CancelledError):
            await stage.ask(kind)
        assert stage.decision.outcome == "cancelled"
