"""The outcome table: each ending of each leg, under each strategy, for both kinds."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.answers.stamp import KEY
from gateway.calls.model import ChannelClosed, Unanswered
from gateway.errors import NobodyAnswered, PeerError, ProviderError, QuestionRejected
from gateway.policy.model import Outcome, Strategy
from tests.answers.players import (
    ACCEPTED,
    CLIENT_ANSWER,
    EVERYTHING,
    LLM_TEXT,
    FakeCaller,
    Json,
    ScriptedLlm,
    scene,
)
from tests.support.paced import settle

BRIEF = 0.02
"""Seconds a silent client is waited for; no other leg is timed."""

ORDER = {
    Strategy.LLM: ("llm",),
    Strategy.CLIENT: ("client",),
    Strategy.LLM_FIRST: ("llm", "client"),
    Strategy.CLIENT_FIRST: ("client", "llm"),
}
NEXT_LEG = {Outcome.UNAVAILABLE, Outcome.FAILED, Outcome.TIMED_OUT}


@dataclass(frozen=True)
class Row:
    """One line of the table: how a party behaves, and what its leg comes to."""

    name: str
    outcome: Outcome
    build: Callable[[], Any]
    code: str | None = None


def _parked(reply: Exception) -> FakeCaller:
    return FakeCaller(reply, defers=True)


def _client_rows(kind: str) -> list[Row]:
    lacking = EVERYTHING - {"sampling", "elicitation.form"}
    return [
        Row("answers", Outcome.SUCCESS, lambda: FakeCaller(CLIENT_ANSWER[kind])),
        Row("rejects", Outcome.REJECTED, lambda: FakeCaller(PeerError(-1, "User rejected"))),
        Row("lacks the capability", Outcome.UNAVAILABLE, lambda: FakeCaller(profile=lacking), "E001"),
        Row("says -32601", Outcome.UNAVAILABLE, lambda: FakeCaller(PeerError(-32601, "no")), "E001"),
        Row("has no channel", Outcome.UNAVAILABLE, lambda: FakeCaller(ChannelClosed("gone")), "E001"),
        Row("has no place to park", Outcome.UNAVAILABLE, lambda: _parked(ChannelClosed("full")), "E001"),
        Row("retries without it", Outcome.FAILED, lambda: _parked(Unanswered("twice")), "E002"),
        Row("says -32603", Outcome.FAILED, lambda: FakeCaller(PeerError(-32603, "oops")), "E999"),
        Row("is silent", Outcome.TIMED_OUT, lambda: FakeCaller(None), "E002"),
        Row("is malformed", Outcome.FAILED, lambda: FakeCaller({"content": []}), "E010"),
    ]


_ELICITATION_ROWS = [
    Row("declines", Outcome.DECLINED, lambda: FakeCaller({"action": "decline", "x-why": "busy"})),
    Row("cancels", Outcome.CANCELLED, lambda: FakeCaller({"action": "cancel"})),
    Row("invents an action", Outcome.FAILED, lambda: FakeCaller({"action": "maybe"}), "E010"),
    Row(
        "breaks the schema",
        Outcome.FAILED,
        lambda: FakeCaller({"action": "accept", "content": {"date": "x"}}),
        "E010",
    ),
]
CLIENT_ROWS = {
    "sampling": _client_rows("sampling"),
    "elicitation": _client_rows("elicitation") + _ELICITATION_ROWS,
}


def _llm_rows(kind: str) -> list[Row]:
    return [
        Row("answers", Outcome.SUCCESS, lambda: ScriptedLlm([LLM_TEXT[kind]])),
        Row("4xx", Outcome.FAILED, lambda: ScriptedLlm([ProviderError("bad key", code="E004")]), "E004"),
        Row("429", Outcome.FAILED, lambda: ScriptedLlm([ProviderError("slow down", code="E003")]), "E003"),
        Row("circuit", Outcome.FAILED, lambda: ScriptedLlm([ProviderError("open", code="E005")]), "E005"),
        Row("time-out", Outcome.TIMED_OUT, lambda: ScriptedLlm([ProviderError("late", code="E002")]), "E002"),
        Row("absent", Outcome.UNAVAILABLE, lambda: ScriptedLlm([], available=False), "E004"),
    ]


_FORM_ROWS = [Row("cannot fill the form", Outcome.FAILED, lambda: ScriptedLlm(["{}", "no"]), "E010")]
LLM_ROWS = {"sampling": _llm_rows("sampling"), "elicitation": _llm_rows("elicitation") + _FORM_ROWS}


def rows_of(*strategies: Strategy) -> pytest.MarkDecorator:
    """Each way of a client to behave, under each strategy; its test goes through those of the LLM."""
    cases = [
        pytest.param(strategy, kind, client, id=f"{strategy.value}-{kind}-client {client.name}")
        for strategy in strategies
        for kind in ("sampling", "elicitation")
        for client in CLIENT_ROWS[kind]
    ]
    return pytest.mark.parametrize(("strategy", "kind", "client"), cases)


def expected_legs(strategy: Strategy, client: Row, llm: Row) -> list[tuple[str, Row]]:
    """Read the table: legs in order, until one is no reason to try the next."""
    rows = {"client": client, "llm": llm}
    legs: list[tuple[str, Row]] = []
    for source in ORDER[strategy]:
        legs.append((source, rows[source]))
        if rows[source].outcome not in NEXT_LEG:
            break
    return legs


@rows_of(*ORDER)
async def test_every_row_of_the_table_is_obeyed(strategy: Strategy, kind: str, client: Row) -> None:
    for llm in LLM_ROWS[kind]:
        await _obeyed(strategy, kind, client, llm)


async def _obeyed(strategy: Strategy, kind: str, client: Row, llm: Row) -> None:
    patience = BRIEF if client.outcome is Outcome.TIMED_OUT else None
    stage = scene(strategy, caller=client.build(), llm=llm.build(), client_timeout=patience)
    legs = expected_legs(strategy, client, llm)
    source, last = legs[-1]

    result: Json | None = None
    error: Exception | None = None
    try:
        result = await stage.ask(kind)
    except (QuestionRejected, NobodyAnswered) as raised:
        error = raised

    taken = [(leg.source, leg.outcome, leg.code) for leg in stage.decision.legs]
    assert taken == [(name, row.outcome, row.code) for name, row in legs]
    if last.outcome in (Outcome.SUCCESS, Outcome.DECLINED, Outcome.CANCELLED):
        assert result is not None
        assert result["_meta"][KEY]["source"] == source
    elif last.outcome is Outcome.REJECTED:
        assert isinstance(error, QuestionRejected)
        assert str(error) == "User rejected"
    else:
        _check_nobody(error, legs)


DECIDES = {Outcome.SUCCESS, Outcome.DECLINED, Outcome.CANCELLED, Outcome.REJECTED}


def arrivals(client: Row, llm: Row, order: tuple[str, str]) -> tuple[int, int]:
    """When each party's leg ends: at once, when its gate opens, or when its time is over."""
    at_once = {"lacks the capability": 0, "absent": 0, "is silent": 3}
    return at_once.get(client.name, order.index("client") + 1), at_once.get(llm.name, order.index("llm") + 1)


def expected_of_both(
    strategy: Strategy, kind: str, client: Row, llm: Row, order: Any
) -> tuple[str, set[Any]]:
    """Read the table for two legs at once: who decides, and how each leg ends."""
    theirs, ours = arrivals(client, llm, order)
    parallel = strategy is Strategy.PARALLEL
    of_client = ("client", client.outcome, client.code)
    of_llm = ("llm", llm.outcome, llm.code)
    if parallel and kind == "sampling" and llm.outcome is Outcome.SUCCESS and ours < theirs:
        return "llm", {of_llm, ("client", Outcome.CANCELLED, None)}
    if client.outcome not in DECIDES:
        return "llm", {of_client, of_llm}
    waits = not parallel and client.outcome is Outcome.SUCCESS
    if not waits and theirs < ours:
        return "client", {of_client, ("llm", Outcome.CANCELLED, None)}
    composed = waits and kind == "sampling" and llm.outcome is Outcome.SUCCESS
    return "both" if composed else "client", {of_client, of_llm}


@rows_of(Strategy.PARALLEL, Strategy.HYBRID)
async def test_every_row_is_obeyed_where_both_are_asked_at_once(
    strategy: Strategy, kind: str, client: Row
) -> None:
    for llm, order in itertools.product(LLM_ROWS[kind], (("client", "llm"), ("llm", "client"))):
        await _obeyed_at_once(strategy, kind, client, llm, order)


async def _obeyed_at_once(
    strategy: Strategy, kind: str, client: Row, llm: Row, order: tuple[str, str]
) -> None:
    caller, model = client.build(), llm.build()
    caller.gate = None if client.name == "is silent" else asyncio.Event()
    model.gate = asyncio.Event()
    patience = BRIEF if client.outcome is Outcome.TIMED_OUT else None
    stage = scene(strategy, caller=caller, llm=model, client_timeout=patience)
    asking = asyncio.ensure_future(stage.ask(kind))
    for party in order:
        await settle()
        gate = model.gate if party == "llm" else caller.gate
        if gate is not None:
            gate.set()
    (ended,) = await asyncio.gather(asking, return_exceptions=True)

    source, legs = expected_of_both(strategy, kind, client, llm, order)
    assert {(leg.source, leg.outcome, leg.code) for leg in stage.decision.legs} == legs
    assert len(stage.decision.legs) == 2
    decided = (client if source == "client" else llm).outcome
    if decided is Outcome.REJECTED:
        assert isinstance(ended, QuestionRejected)
    elif decided in DECIDES:
        assert ended["_meta"][KEY]["source"] == source
    else:
        assert isinstance(ended, NobodyAnswered)
        assert ended.data is not None
        assert {leg["source"] for leg in ended.data["legs"]} == {"client", "llm"}
        assert ended.unavailable == (client.outcome is llm.outcome is Outcome.UNAVAILABLE)


def _check_nobody(error: Exception | None, legs: list[tuple[str, Row]]) -> None:
    assert isinstance(error, NobodyAnswered)
    assert error.unavailable == all(row.outcome is Outcome.UNAVAILABLE for _, row in legs)
    assert error.data is not None
    assert [(leg["source"], leg["outcome"], leg["code"]) for leg in error.data["legs"]] == [
        (name, row.outcome.value, row.code) for name, row in legs
    ]
    assert all(leg["reason"] for leg in error.data["legs"])
    tried = [row.code for _, row in legs if row.outcome is not Outcome.UNAVAILABLE]
    assert error.data["code"] == (tried or [row.code for _, row in legs])[-1]
    assert error.data["suggestedAction"]


@pytest.mark.parametrize("strategy", [s for s in ORDER if s is not Strategy.LLM])
@pytest.mark.parametrize("action", ["decline", "cancel"])
@pytest.mark.parametrize("llm_fails", [True, False])
async def test_a_persons_no_survives_every_strategy(strategy: Strategy, action: str, llm_fails: bool) -> None:
    # The LLM is made to fail where it goes first, so that the client is asked at all.
    goes_first = strategy is Strategy.LLM_FIRST
    reply = ProviderError("down", code="E008") if llm_fails or goes_first else LLM_TEXT["elicitation"]
    words = {"action": action, "x-vendor": {"kept": True}, "_meta": {"theirs": 1}}
    stage = scene(strategy, caller=FakeCaller(words), llm=ScriptedLlm([reply]))

    result = await stage.ask("elicitation")

    assert {key: value for key, value in result.items() if key != "_meta"} == {
        "action": action,
        "x-vendor": {"kept": True},
    }
    assert result["_meta"]["theirs"] == 1
    assert stage.decision.outcome == ("declined" if action == "decline" else "dismissed")
    assert len(stage.llm.prompts) == (1 if goes_first else 0)


async def test_client_first_without_its_fallback_never_asks_the_llm() -> None:
    stage = scene(caller=FakeCaller(PeerError(-32603, "oops")), llm=ScriptedLlm(["hi"]), fallback=False)

    with pytest.raises(NobodyAnswered):
        await stage.ask("sampling")

    assert stage.llm.prompts == []


async def test_the_fallback_setting_means_nothing_to_llm_first() -> None:
    failing = ScriptedLlm([ProviderError("down", code="E008")])
    stage = scene(Strategy.LLM_FIRST, caller=FakeCaller(ACCEPTED), llm=failing, fallback=False)

    assert (await stage.ask("elicitation"))["content"] == ACCEPTED["content"]


async def test_a_rejection_carries_the_clients_own_words_and_data() -> None:
    stage = scene(caller=FakeCaller(PeerError(-1, "not today", {"until": "monday"})))

    with pytest.raises(QuestionRejected, match=r"^not today$") as raised:
        await stage.ask("sampling")

    assert raised.value.data == {"until": "monday"}
    assert stage.decision.outcome == "rejected"


async def test_no_answer_is_ever_invented_when_every_leg_fails() -> None:
    failing = ScriptedLlm([ProviderError("down", code="E008")])
    stage = scene(caller=FakeCaller(PeerError(-32000, "crash")), llm=failing)

    with pytest.raises(NobodyAnswered) as raised:
        await stage.ask("elicitation")

    assert "client: the client answered with error -32000: crash (failed)" in str(raised.value)
    assert raised.value.data is not None
    assert raised.value.data["recoverable"] is True
