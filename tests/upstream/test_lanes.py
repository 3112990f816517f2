"""Which lane carries a call: the rules, one by one, on snapshots."""

from __future__ import annotations

import pytest

from gateway.upstream.lanes import (
    Claims,
    LaneView,
    Open,
    Rules,
    Use,
    Wait,
    Want,
    decide,
    expired,
    next_expiry,
)
from gateway.upstream.profiles import LaneKey

FORM = frozenset({"elicitation.form"})
NOTHING = frozenset()
ANN, BOB = LaneKey("client:ann", FORM), LaneKey("client:bob", FORM)
NOBODY = LaneKey(None, NOTHING)
RULES = Rules(max_lanes=2, idle_seconds=60.0)
NOW = 1000.0


def busy(number: int, key: LaneKey, **more) -> LaneView:
    return LaneView(number, key.profile, key=key, running=1, **more)


def idle(number: int, profile=FORM, since: float = NOW, **more) -> LaneView:
    return LaneView(number, profile, idle_since=since, **more)


CASES = {
    "the first call opens a lane": (Want(ANN), [], Open()),
    "an idle lane of the same profile is used": (Want(ANN), [idle(1)], Use(1)),
    "an idle lane of another profile is not": (Want(ANN), [idle(1, NOTHING)], Open()),
    "a busy lane is shared under the same key": (Want(ANN), [busy(1, ANN)], Use(1)),
    "a busy lane is not shared with another client": (Want(BOB), [busy(1, ANN)], Open()),
    "nor under other routes": (Want(LaneKey("client:ann", FORM, ("llm",))), [busy(1, ANN)], Open()),
    "calls that nobody can be asked about share": (Want(NOBODY), [busy(1, NOBODY)], Use(1)),
    "a busy lane is preferred to an idle one": (Want(ANN), [idle(1), busy(2, ANN)], Use(2)),
    "the control lane is preferred to another idle one": (
        Want(ANN),
        [idle(1), idle(2, control=True)],
        Use(2),
    ),
    "the control lane counts for nothing": (
        Want(ANN),
        [busy(1, BOB, control=True), busy(2, BOB)],
        Open(),
    ),
    "a full house waits": (
        Want(ANN),
        [busy(1, BOB), busy(2, BOB)],
        Wait(Claims(frozenset({1, 2}), room=True)),
    ),
    "an idle lane of another profile gives way": (
        Want(ANN),
        [busy(1, BOB), idle(2, NOTHING)],
        Open(evict=2),
    ),
    "a lane abandoned by another client gives way": (
        Want(ANN),
        [busy(1, BOB), idle(2, bound="client:bob")],
        Open(evict=2),
    ),
    "a lane abandoned by the same client is used": (Want(ANN), [idle(1, bound="client:ann")], Use(1)),
    "the control lane never gives way": (
        Want(ANN),
        [idle(1, NOTHING, control=True), busy(2, BOB), busy(3, BOB)],
        Wait(Claims(frozenset({2, 3}), room=True)),
    ),
    "a session opens its own lane, though one is idle": (Want(ANN, pin="ann"), [idle(1)], Open()),
    "a session uses its own lane": (Want(ANN, pin="ann"), [idle(1), idle(2, pin="ann")], Use(2)),
    "a session's lane is no one else's": (Want(BOB, pin="bob"), [idle(1, pin="ann")], Open()),
    "nor a stateless client's": (Want(BOB), [idle(1, pin="ann")], Open()),
    "a session waits for its lane rather than split its state": (
        Want(LaneKey("client:ann", FORM, ("llm",)), pin="ann"),
        [busy(1, ANN, pin="ann")],
        Wait(Claims(frozenset({1}))),
    ),
    "a session's lane of a former profile is replaced": (
        Want(ANN, pin="ann"),
        [idle(1, NOTHING, pin="ann"), busy(2, BOB)],
        Open(evict=1),
    ),
    "a session's lane stays while it is fresh": (
        Want(ANN, pin="ann"),
        [idle(1, pin="bob", since=NOW - 59), idle(2, pin="eve", since=NOW - 20)],
        Wait(Claims(room=True), until=NOW + 1),
    ),
    "a session's lane gives way once it was idle for long": (
        Want(ANN, pin="ann"),
        [idle(1, pin="bob", since=NOW - 61), idle(2, pin="eve", since=NOW - 90)],
        Open(evict=2),
    ),
    "a lane without state gives way before it": (
        Want(ANN, pin="ann"),
        [idle(1, pin="bob", since=NOW - 61), idle(2)],
        Open(evict=2),
    ),
    "an exact lane carries anybody of its profile": (Want(BOB), [busy(1, ANN, exact=True)], Use(1)),
    "but not another profile": (Want(NOBODY), [busy(1, ANN, exact=True)], Open()),
    "a call of its own connection never joins": (Want(ANN, fresh=True), [idle(1)], Open()),
    "and is never joined": (Want(ANN), [busy(1, ANN, fresh=True)], Open()),
    "a quiet request runs beside its party's calls": (
        Want(LaneKey("client:ann", FORM), quiet=True),
        [busy(1, LaneKey("client:ann", FORM, ("llm",)))],
        Use(1),
    ),
    "but not beside another's": (Want(BOB, quiet=True), [busy(1, ANN)], Open()),
    "a lane with none but quiet requests is free": (
        Want(ANN),
        [LaneView(1, FORM, running=1)],
        Use(1),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_decision(case: str) -> None:
    want, lanes, decision = CASES[case]
    assert decide(want, lanes, RULES, NOW) == decision


def test_nobody_takes_what_an_earlier_call_waits_for() -> None:
    lanes = [busy(1, ANN), busy(2, ANN), idle(3, NOTHING, pin="eve")]
    first = decide(Want(BOB), lanes, RULES, NOW)
    assert isinstance(first, Wait)
    # Another call of Ann's could join her lane, and would keep Bob out for ever.
    assert isinstance(decide(Want(ANN), lanes, RULES, NOW, first.claims), Wait)
    assert isinstance(decide(Want(NOBODY, fresh=True), lanes, RULES, NOW, first.claims), Wait)
    # Eve's own lane is of no use to Bob.
    assert decide(Want(NOBODY, pin="eve"), lanes, RULES, NOW, first.claims) == Use(3)


def test_waiting_for_one_sessions_lane_blocks_no_one_else() -> None:
    lanes = [busy(1, ANN, pin="ann"), busy(2, BOB)]
    first = decide(Want(LaneKey("client:ann", FORM, ("llm",)), pin="ann"), lanes, RULES, NOW)
    assert isinstance(first, Wait)
    assert decide(Want(BOB), lanes, RULES, NOW, first.claims) == Use(2)
    assert isinstance(decide(Want(ANN, pin="ann"), lanes, RULES, NOW, first.claims), Wait)


def test_a_control_lane_of_another_profile_is_not_held_back_for_a_waiting_call() -> None:
    lanes = [idle(1, NOTHING, control=True), busy(2, ANN), busy(3, ANN)]
    first = decide(Want(BOB), lanes, RULES, NOW)
    assert isinstance(first, Wait)
    assert decide(Want(NOBODY), lanes, RULES, NOW, first.claims) == Use(1)


def test_only_idle_lanes_that_are_no_ones_expire() -> None:
    lanes = [
        idle(1, since=NOW - 60),
        idle(2, since=NOW - 59),
        idle(3, since=NOW - 900, control=True),
        idle(4, since=NOW - 900, pin="ann"),
        busy(5, ANN),
    ]
    assert expired(lanes, RULES, NOW) == [1]
    assert next_expiry(lanes[1:], RULES) == NOW + 1
    assert next_expiry(lanes[2:], RULES) is None
