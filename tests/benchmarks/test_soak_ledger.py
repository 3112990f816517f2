"""Every error is put down to what was broken at that time and nothing else; memory is a line."""

from __future__ import annotations

import random

import pytest

from benchmarks.soak.actions import ACTIONS, needs, plan
from benchmarks.soak.ledger import Bounds, Fault, Ledger, Outcome, breaches, cause, slope
from benchmarks.soak.report import report
from benchmarks.soak.run import Plan

KILLED = Fault("stdio", "stdio was killed", 10.0, 12.0)


def outcome(began: float, ended: float, *servers: str, error: str = "broke") -> Outcome:
    return Outcome("plain call", frozenset(servers), began, ended, error)


@pytest.mark.parametrize(
    ("began", "ended", "servers", "explained"),
    [
        (9.0, 9.9, ("stdio",), False),
        (9.0, 10.0, ("stdio",), True),
        (11.0, 11.5, ("stdio",), True),
        (12.0, 30.0, ("stdio",), True),
        (12.1, 30.0, ("stdio",), False),
        (11.0, 11.5, ("modern",), False),
        (11.0, 11.5, ("modern", "stdio"), True),
        (11.0, 11.5, (), False),
    ],
)
def test_an_error_is_put_down_to_a_fault_of_its_own_server_at_the_same_time(
    began: float, ended: float, servers: tuple[str, ...], explained: bool
) -> None:
    assert (cause(outcome(began, ended, *servers), [KILLED]) is KILLED) == explained


def test_one_error_without_a_fault_is_a_breach_and_is_shown() -> None:
    ledger = Ledger([outcome(1, 2, "stdio", error="lost its answer"), outcome(10, 11, "stdio")], [KILLED])
    page, good = report(Plan(60), ledger, Bounds())
    assert not good
    assert "errors that were not injected: 1\n  1 x lost its answer" in page
    assert "stdio was killed, 1 times, 2.0 s in all: 1 errors" in page
    assert "BREACH: 1 errors that were not injected" in page


def test_what_the_gateway_still_holds_is_a_breach() -> None:
    assert breaches(Ledger(left=["3 parked"]), 0, Bounds()) == ["left behind: 3 parked"]


def test_a_line_through_samples_is_not_turned_by_a_strange_one() -> None:
    straight = [(float(second), 100.0 + second) for second in range(11)]
    for samples in (straight, [(0.0, 5.0), *straight[1:]], [*straight[:10], (10.0, 900.0)]):
        line = slope(samples)
        assert (line.first, line.last, line.per_minute) == pytest.approx((100.0, 110.0, 60.0))
    with pytest.raises(ValueError, match="two moments"):
        slope([(0, 1.0)])


def test_memory_that_grows_after_the_warm_up_is_a_breach_and_before_it_is_none() -> None:
    climbing = [(float(second), 50e6 + second * 1e6) for second in range(60)]
    settled = [(float(second), 50e6 + min(second, 30) * 1e6) for second in range(60)]
    assert "memory is not flat" in breaches(Ledger(samples=climbing), 30, Bounds())[0]
    assert breaches(Ledger(samples=settled), 30, Bounds()) == []


def test_a_seed_makes_one_plan_that_has_everything_in_it() -> None:
    def steps(seed: int) -> list[object]:
        rng = random.Random(seed)
        return [plan(rng) for _ in range(2000)]

    assert steps(1) == steps(1) != steps(2)
    taken = [plan(rng) for rng in [random.Random(1)] for _ in range(2000)]
    assert {step.action for step in taken} == set(ACTIONS)
    assert all(step.server in needs(step) for step in taken if step.action == "plain call")
