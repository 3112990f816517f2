"""Calls whose questions could be answered differently share no connection, whatever makes the difference."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.calls.model import Identity
from gateway.policy.model import Case, Condition, Policy, Setting, Source, Strategy, Window
from gateway.upstream.profiles import LaneKey, Profiles
from tests.upstream.fleet_fakes import FakeCaller, config, kind_policy, policy

HERE = Source("gateway.yaml", "here")
ASKABLE = frozenset({"sampling"})


def by(condition: Condition, *more: Case) -> Policy:
    """The LLM where the condition holds, else the client."""
    cases = (Case(Strategy.LLM, condition, HERE), *more, Case(Strategy.CLIENT, None, HERE))
    plain = kind_policy(Strategy.CLIENT)
    layer = replace(plain.organization, strategy=Setting(cases, HERE))
    return policy(replace(plain, organization=layer), kind_policy(Strategy.CLIENT))


def key(rules: Policy, tool: str = "s__a", name: str = "desk", principal: str = "ann") -> LaneKey:
    caller = FakeCaller(Identity("x", principal, "x", name), ASKABLE)
    return Profiles(rules, {"s": config("s")}).key("s", "handshake", caller, tool)


@pytest.mark.parametrize(
    ("condition", "change", "shared"),
    [
        (Condition(annotations=(("readOnlyHint", True),)), {"tool": "s__b"}, False),
        (Condition(client=("desk",)), {"name": "phone"}, False),
        (Condition(principal=("ann",)), {"principal": "bob"}, False),
        # What is asked of the moment or of the question is the same whichever call it is taken to be of.
        (Condition(windows=(Window(0, 60),)), {"tool": "s__b"}, True),
        (Condition(min_tokens=10, hints=("opus",)), {"tool": "s__b", "name": "phone"}, True),
        (Condition(in_flight=3, spent_usd=1), {"tool": "s__b"}, True),
        (Condition(client=("desk",)), {"tool": "s__b"}, True),
    ],
)
def test_a_lane_is_shared_only_where_no_condition_can_tell_the_calls_apart(condition, change, shared) -> None:
    rules = by(condition)
    assert (key(rules) == key(rules, **change)) is shared


def test_what_is_declared_is_what_any_case_could_have_answered() -> None:
    rules = by(Condition(client=("nobody",)))
    profiles = Profiles(rules, {"s": config("s")})
    assert profiles.declared("s", "handshake", FakeCaller(Identity("x"), frozenset())) == {"sampling"}
    assert key(rules).party == "client:x"
    without_llm = Profiles(rules, {"s": config("s")}, llm_kinds=[])
    assert without_llm.declared("s", "handshake", FakeCaller(Identity("x"), frozenset())) == frozenset()
