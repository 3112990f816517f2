"""The first case that holds is used; each condition holds exactly where its words say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.policy.conditions import judge
from gateway.policy.explain import explain
from gateway.policy.model import (
    Case,
    Condition,
    Facts,
    KindPolicy,
    Layer,
    Policy,
    Route,
    Setting,
    Source,
    Spent,
    Strategy,
    Window,
)
from gateway.policy.resolve import can_llm_answer, possible, resolve

# Friday, 20 November 2026.
FRIDAY = datetime(2026, 11, 20, tzinfo=UTC)
FACTS = Facts(
    "sampling",
    "s",
    tool="s__t",
    now=FRIDAY.replace(hour=12),
    client="Claude Code",
    principal="team-a",
    hints=("claude-opus", "gpt"),
    characters=400,
    annotations=(("readOnlyHint", True), ("destructiveHint", False)),
    spent=Spent(0.5, 2.0, 1000),
    in_flight=3,
    queued=1,
)
NIGHT = (Window(22 * 60, 6 * 60),)
OFFICE = (Window(9 * 60, 17 * 60),)
BERLIN = ZoneInfo("Europe/Berlin")


def time(text: str) -> dict[str, datetime]:
    day, clock = text.split()
    hour, minute = clock.split(":")
    return {"now": FRIDAY.replace(day=int(day), hour=int(hour), minute=int(minute))}


TABLE = [
    # windows: the end is not included, one that ends earlier goes over midnight
    (Condition(windows=OFFICE), time("20 9:00"), True),
    (Condition(windows=OFFICE), time("20 16:59"), True),
    (Condition(windows=OFFICE), time("20 17:00"), False),
    (Condition(windows=OFFICE), time("20 8:59"), False),
    (Condition(windows=NIGHT), time("20 22:00"), True),
    (Condition(windows=NIGHT), time("20 0:00"), True),
    (Condition(windows=NIGHT), time("20 5:59"), True),
    (Condition(windows=NIGHT), time("20 6:00"), False),
    (Condition(windows=(*NIGHT, Window(720, 780))), time("20 12:59"), True),
    # the day is that on which the window began
    (Condition(days=(4,)), time("20 0:00"), True),
    (Condition(days=(4,)), time("21 0:00"), False),
    (Condition(windows=NIGHT, days=(4,)), time("20 23:00"), True),
    (Condition(windows=NIGHT, days=(4,)), time("21 5:00"), True),
    (Condition(windows=NIGHT, days=(4,)), time("20 5:00"), False),
    (Condition(windows=NIGHT, days=(4,)), time("21 23:00"), False),
    # the zone decides the hour and the day; summer time is the zone's business
    (Condition(windows=NIGHT, zone=BERLIN), time("20 21:30"), True),
    (Condition(windows=NIGHT), time("20 21:30"), False),
    (Condition(days=(5,), zone=BERLIN), time("20 23:30"), True),
    (Condition(windows=NIGHT, zone=BERLIN), {"now": datetime(2026, 7, 1, 20, 30, tzinfo=UTC)}, True),
    (Condition(windows=NIGHT, zone=BERLIN), {"now": datetime(2026, 12, 1, 20, 30, tzinfo=UTC)}, False),
    # names are globs, whatever their case
    (Condition(client=("claude*",)), {}, True),
    (Condition(client=("cursor", "claude ?ode")), {}, True),
    (Condition(client=("claude",)), {}, False),
    (Condition(client=("*",)), {"client": ""}, True),
    (Condition(client=("?*",)), {"client": ""}, False),
    (Condition(principal=("team-[ab]",)), {}, True),
    (Condition(principal=("team-*",)), {"principal": ""}, False),
    (Condition(hints=("*opus*",)), {}, True),
    (Condition(hints=("*sonnet*", "gpt")), {}, True),
    (Condition(hints=("*",)), {"hints": ()}, False),
    # sizes include their bounds; four characters are a token
    (Condition(min_characters=400), {}, True),
    (Condition(min_characters=401), {}, False),
    (Condition(max_characters=400), {}, True),
    (Condition(max_characters=399), {}, False),
    (Condition(min_tokens=100, max_tokens=100), {}, True),
    (Condition(min_tokens=101), {"characters": 401}, True),
    (Condition(max_tokens=100), {"characters": 401}, False),
    # annotations: what is not said is what the specification assumes
    (Condition(annotations=(("readOnlyHint", True),)), {}, True),
    (Condition(annotations=(("readOnlyHint", False),)), {}, False),
    (Condition(annotations=(("destructiveHint", False), ("openWorldHint", True))), {}, True),
    (Condition(annotations=(("idempotentHint", True),)), {}, False),
    (Condition(annotations=(("destructiveHint", True),)), {"annotations": ()}, True),
    (Condition(annotations=(("destructiveHint", True),)), {"tool": None}, False),
    # amounts hold from their bound on
    (Condition(spent_fraction=0.5), {}, True),
    (Condition(spent_fraction=0.51), {}, False),
    (Condition(spent_usd=2.0), {}, True),
    (Condition(spent_usd=2.01), {}, False),
    (Condition(spent_tokens=1000), {}, True),
    (Condition(spent_tokens=1001), {}, False),
    (Condition(in_flight=3), {}, True),
    (Condition(in_flight=4), {}, False),
    (Condition(queued=1), {}, True),
    (Condition(queued=2), {}, False),
    # all that is named must hold
    (Condition(client=("claude*",), queued=1, windows=OFFICE), {}, True),
    (Condition(client=("claude*",), queued=2, windows=OFFICE), {}, False),
    (Condition(), {}, True),
]


@pytest.mark.parametrize(("condition", "changes", "holds"), TABLE)
def test_a_condition_holds_where_its_words_say(condition: Condition, changes: dict, holds: bool):
    verdict = judge(condition, replace(FACTS, **changes))
    assert verdict.holds is holds
    assert verdict.why or condition == Condition()


UNKNOWN = ["now", "client", "principal", "hints", "characters", "annotations", "spent", "in_flight", "queued"]


@pytest.mark.parametrize("fact", UNKNOWN)
def test_what_is_not_known_does_not_hold(fact: str):
    asks = {
        "now": Condition(windows=OFFICE),
        "client": Condition(client=("*",)),
        "principal": Condition(principal=("*",)),
        "hints": Condition(hints=("*",)),
        "characters": Condition(max_tokens=1000),
        "annotations": Condition(annotations=(("readOnlyHint", True),)),
        "spent": Condition(spent_usd=0.1),
        "in_flight": Condition(in_flight=1),
        "queued": Condition(queued=1),
    }
    assert judge(asks[fact], FACTS).holds
    verdict = judge(asks[fact], replace(FACTS, **{fact: None}))
    assert not verdict.holds
    assert "not known" in verdict.why


def source(path: str, line: int = 1) -> Source:
    return Source("gateway.yaml", path, line)


CASES = (
    Case(Strategy.LLM, Condition(client=("cursor*",)), source("org[0]", 3)),
    Case(Strategy.CLIENT, Condition(client=("claude*",)), source("org[1]", 5)),
    Case(Strategy.HYBRID, Condition(client=("c*",)), source("org[2]", 7)),
    Case(Strategy.LLM_FIRST, None, source("org[3]", 9)),
)


def policy(**fields: object) -> Policy:
    one = KindPolicy(
        enabled=Setting(True, source("enabled")),
        organization=Layer("org", Setting(CASES, source("org"))),
        smart_discovery=Layer("smart"),
        smart_discovery_enabled=True,
        external_default=Layer("external"),
    )
    return Policy(replace(one, **fields), replace(one, organization=Layer("org")))


@pytest.mark.parametrize(
    ("client", "strategy", "line"),
    [
        ("cursor", Strategy.LLM, 3),
        ("claude", Strategy.CLIENT, 5),
        ("codex", Strategy.HYBRID, 7),
        ("zed", Strategy.LLM_FIRST, 9),
    ],
)
def test_the_first_case_that_holds_is_used(client: str, strategy: Strategy, line: int):
    route = resolve(policy(), replace(FACTS, client=client))
    assert isinstance(route, Route)
    assert (route.strategy, route.level) == (strategy, "organization")
    assert route.path.startswith(f"gateway.yaml:{line} ")


def test_the_trail_says_of_every_case_whether_it_held_and_why():
    route = resolve(policy(), replace(FACTS, client="claude"))
    said = [(step.value, step.chosen) for step in route.trail if step.level == "organization"]
    assert said == [
        ("magictunnel_handled (not, since client 'claude' is not cursor*)", False),
        ("client_forwarded (since client 'claude' is claude*)", True),
        ("hybrid (not looked at)", False),
        ("magictunnel_first (not looked at)", False),
    ]


@pytest.mark.parametrize(
    "level", ["tools", "server_overrides", "servers", "external_default", "smart_discovery"]
)
def test_cases_may_stand_at_every_level(level: str):
    layer = Layer("here", Setting(CASES, source("here")))
    name = {"tools": "s__t", "server_overrides": "s", "servers": "s"}.get(level)
    fields: dict[str, object] = {level: layer if name is None else {name: layer}}
    if level == "smart_discovery":
        fields["organization"] = Layer("org")
    route = resolve(policy(**fields), replace(FACTS, client="cursor"))
    assert isinstance(route, Route)
    assert route.strategy is Strategy.LLM
    assert route.level != "organization"


def test_what_may_be_asked_is_what_any_case_allows():
    bare = Facts("sampling", "s")
    assert {route.strategy for route in possible(policy(), bare)} == {case.use for case in CASES}
    assert can_llm_answer(policy(), "sampling", "s")
    only_client = tuple(replace(case, use=Strategy.CLIENT) for case in CASES)
    assert not can_llm_answer(
        policy(organization=Layer("org", Setting(only_client, source("org")))), "sampling", "s"
    )
    one = replace(CASES[0], use=Strategy.LLM)
    mixed = (one, *only_client[1:])
    assert can_llm_answer(policy(organization=Layer("org", Setting(mixed, source("org")))), "sampling", "s")


def test_cases_of_a_level_that_is_off_are_not_looked_at():
    off = policy(external_default=Layer("ext", Setting(CASES, source("ext"))), external_enabled=False)
    route = resolve(off, replace(FACTS, client="zed"))
    told = [step.value for step in route.trail if step.path.endswith(" ext")]
    assert told == ["a list of cases (off: external_mcp.external_routing.enabled is false)"]


def test_the_explanation_names_the_case_and_why():
    facts = replace(FACTS, client="claude")
    lines = explain(facts, resolve(policy(), facts))
    assert any("client_forwarded (since client 'claude' is claude*)  <- chosen" in line for line in lines)
    assert any(
        line.endswith("client_forwarded, level 3 organization, gateway.yaml:5 org[1]") for line in lines
    )
