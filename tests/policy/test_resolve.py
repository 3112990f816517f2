"""Five levels, highest first; each setting by itself; every level in the trail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.policy.explain import explain
from gateway.policy.model import (
    Facts,
    Kind,
    KindPolicy,
    Layer,
    Policy,
    Refusal,
    Route,
    Setting,
    Source,
    Strategy,
    Technique,
)
from gateway.policy.resolve import can_llm_answer, llm_kinds, resolve

FILE = "gateway.yaml"


def at(path: str, value):
    return Setting(value, Source(FILE, path, 7))


def layer(path: str, strategy: Strategy | None = None, **limits) -> Layer:
    set_limits = {name: at(f"{path}.{name}", value) for name, value in limits.items()}
    return Layer(path, at(path, strategy) if strategy else None, **set_limits)


def kind_policy(kind: Kind = "sampling", **fields) -> KindPolicy:
    base = KindPolicy(
        enabled=at(f"{kind}.enabled", True),
        organization=layer("org"),
        smart_discovery=layer("smart"),
        smart_discovery_enabled=True,
        external_default=layer("external"),
    )
    return replace(base, **fields)


def policy(**fields) -> Policy:
    return Policy(sampling=kind_policy(**fields), elicitation=kind_policy("elicitation"))


ALL = {
    "tools": {"s__t": layer("tool", Strategy.LLM)},
    "server_overrides": {"s": layer("override", Strategy.CLIENT)},
    "servers": {"s": layer("own", Strategy.LLM_FIRST)},
    "external_default": layer("external", Strategy.CLIENT_FIRST),
    "organization": layer("org", Strategy.LLM),
    "smart_discovery": layer("smart", Strategy.CLIENT),
}
ORDER = [
    ("tools", "tool", "tool", Strategy.LLM),
    ("server_overrides", "server", "override", Strategy.CLIENT),
    ("servers", "server", "own", Strategy.LLM_FIRST),
    ("external_default", "server", "external", Strategy.CLIENT_FIRST),
    ("organization", "organization", "org", Strategy.LLM),
    ("smart_discovery", "smart_discovery", "smart", Strategy.CLIENT),
]
FACTS = Facts("sampling", "s", tool="s__t")


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_first_place_that_names_a_strategy_wins(first: int):
    route = resolve(policy(**{name: ALL[name] for name, *_ in ORDER[first:]}), FACTS)
    assert isinstance(route, Route)
    _, level, path, strategy = ORDER[first]
    assert (route.level, route.strategy) == (level, strategy)
    assert route.path == f"{FILE}:7 {path}"


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_trail_lists_every_place_whatever_won(first: int):
    route = resolve(policy(**{name: ALL[name] for name, *_ in ORDER[first:]}), FACTS)
    assert [step.level for step in route.trail] == [*(level for _, level, *_ in ORDER), "built_in"]
    assert [step.value for step in route.trail[:first]] == ["unset"] * first
    assert [step.value for step in route.trail[first:-1]] == [s.value for *_, s in ORDER[first:]]
    assert [step.chosen for step in route.trail].index(True) == first
    assert sum(step.chosen for step in route.trail) == 1


@pytest.mark.parametrize(
    ("kind", "strategy", "client_seconds"),
    [("sampling", Strategy.CLIENT_FIRST, 120.0), ("elicitation", Strategy.CLIENT, 300.0)],
)
def test_with_nothing_written_the_built_in_level_answers(kind: Kind, strategy, client_seconds):
    route = resolve(policy(), Facts(kind, "s", tool="s__t"))
    assert (route.level, route.strategy, route.path) == ("built_in", strategy, "built in")
    assert (route.client_timeout, route.llm_timeout, route.max_attempts) == (client_seconds, 120.0, 3)
    assert route.fallback_to_llm


def test_a_call_that_is_no_tools_has_no_tool_level():
    route = resolve(policy(**ALL), Facts("sampling", "s"))
    assert route.level == "server"
    assert route.trail[0].value == "not a tool's call"


def test_another_servers_settings_do_not_count():
    route = resolve(policy(**ALL), Facts("sampling", "other"))
    assert (route.level, route.strategy) == ("server", Strategy.CLIENT_FIRST)


def test_each_limit_comes_from_the_highest_level_that_sets_it():
    route = resolve(
        policy(
            tools={"s__t": layer("tool", Strategy.CLIENT_FIRST)},
            external_default=layer("external", llm_timeout=9.0, max_attempts=5),
            organization=layer(
                "org", client_timeout=40.0, llm_timeout=99.0, fallback_to_llm=False, min_confidence=0.5
            ),
            smart_discovery=layer("smart", client_timeout=2.0, technique=Technique("consensus", samples=5)),
        ),
        FACTS,
    )
    assert route.level == "tool"
    assert (route.client_timeout, route.llm_timeout, route.max_attempts) == (40.0, 9.0, 5)
    assert not route.fallback_to_llm
    assert dict(route.origins) == {
        "fallback_to_llm": f"{FILE}:7 org.fallback_to_llm",
        "client_timeout": f"{FILE}:7 org.client_timeout",
        "llm_timeout": f"{FILE}:7 external.llm_timeout",
        "max_attempts": f"{FILE}:7 external.max_attempts",
        "technique": f"{FILE}:7 smart.technique",
        "min_confidence": f"{FILE}:7 org.min_confidence",
    }
    assert route.technique == Technique("consensus", samples=5)
    assert route.min_confidence == 0.5


def test_external_routing_switched_off_leaves_level_two_out_with_its_limits():
    route = resolve(
        policy(
            external_enabled=False,
            server_overrides=ALL["server_overrides"],
            external_default=layer("external", Strategy.LLM, client_timeout=1.0),
            organization=layer("org", Strategy.LLM_FIRST),
        ),
        FACTS,
    )
    assert (route.level, route.client_timeout) == ("organization", 120.0)
    assert "client_forwarded (off: external_mcp.external_routing.enabled is false)" in [
        step.value for step in route.trail
    ]


def test_smart_discovery_not_enabled_leaves_level_four_out():
    off = policy(smart_discovery_enabled=False, smart_discovery=layer("smart", Strategy.LLM))
    route = resolve(off, FACTS)
    assert route.level == "built_in"


def test_a_kind_switched_off_is_refused_and_the_setting_named():
    off = policy(enabled=at("sampling.enabled", False), **ALL)
    refusal = resolve(off, FACTS)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == f"sampling is turned off: {FILE}:7 sampling.enabled is false"


class TestARequestThatBelongsToNoCall:
    facts = Facts("sampling", "s", unsolicited=True)

    def test_is_refused_unless_the_setting_allows_it(self):
        refusal = resolve(policy(**ALL), self.facts)
        assert isinstance(refusal, Refusal)
        assert "sampling.unsolicited: own_llm" in refusal.reason

    @pytest.mark.parametrize("strategy", [Strategy.LLM, Strategy.LLM_FIRST, Strategy.CLIENT_FIRST])
    def test_goes_to_the_llm_alone_where_the_strategy_has_that_leg(self, strategy):
        allowed = policy(unsolicited_llm=True, external_default=layer("external", strategy))
        route = resolve(allowed, self.facts)
        assert isinstance(route, Route)
        assert (route.strategy, route.level) == (Strategy.LLM, "server")

    def test_is_refused_where_the_strategy_is_the_clients(self):
        allowed = policy(unsolicited_llm=True, organization=layer("org", Strategy.CLIENT))
        refusal = resolve(allowed, self.facts)
        assert isinstance(refusal, Refusal)
        assert "client_forwarded (gateway.yaml:7 org)" in refusal.reason
        assert refusal.trail

    def test_is_refused_where_the_fallback_to_the_llm_is_off(self):
        allowed = policy(
            unsolicited_llm=True,
            organization=layer("org", Strategy.CLIENT_FIRST, fallback_to_llm=False),
        )
        assert isinstance(resolve(allowed, self.facts), Refusal)

    def test_never_takes_the_tool_level(self):
        allowed = policy(unsolicited_llm=True, tools=ALL["tools"], organization=layer("org", Strategy.CLIENT))
        assert isinstance(resolve(allowed, replace(self.facts, tool="s__t")), Refusal)


class TestWhetherTheLlmMayAnswerForAServer:
    def test_follows_the_servers_own_route(self):
        only_llm = policy(server_overrides={"a": layer("a", Strategy.LLM), "b": layer("b", Strategy.CLIENT)})
        assert can_llm_answer(only_llm, "sampling", "a")
        assert not can_llm_answer(only_llm, "sampling", "b")

    def test_counts_a_single_tool_of_that_server_and_of_no_other(self):
        one_tool = policy(
            organization=layer("org", Strategy.CLIENT),
            tools={"a__t": layer("tool", Strategy.LLM)},
            tool_servers={"a__t": ("a",)},
        )
        assert can_llm_answer(one_tool, "sampling", "a")
        assert not can_llm_answer(one_tool, "sampling", "b")

    def test_is_false_for_a_kind_that_is_off(self):
        off = policy(enabled=at("sampling.enabled", False), organization=layer("org", Strategy.LLM))
        assert llm_kinds(off, "a") == frozenset()

    def test_is_never_true_for_elicitation_unless_a_level_says_so(self):
        assert llm_kinds(policy(), "a") == {"sampling"}


def test_explaining_names_the_winner_its_line_and_the_origin_of_each_limit():
    facts = Facts("sampling", "s", tool="s__t")
    lines = explain(
        facts, resolve(policy(organization=layer("org", Strategy.LLM, client_timeout=5.0)), facts)
    )
    text = "\n".join(lines)
    assert "magictunnel_handled  <- chosen" in text
    assert f"because: magictunnel_handled, level 3 organization, {FILE}:7 org" in text
    assert f"5 s    {FILE}:7 org.client_timeout" in text
    assert sum("unset" in line for line in lines) == 5


def test_explaining_a_refusal_names_the_reason():
    facts = Facts("sampling", "s")
    lines = explain(facts, resolve(policy(enabled=at("sampling.enabled", False)), facts))
    assert lines[-1] == f"  refused: sampling is turned off: {FILE}:7 sampling.enabled is false"


@pytest.mark.parametrize(
    "strategy", [Strategy.LLM, Strategy.CLIENT, Strategy.LLM_FIRST, Strategy.CLIENT_FIRST]
)
def test_a_fallback_is_explained_only_where_it_means_something(strategy: Strategy):
    layer = Layer(
        "sampling.default_sampling_strategy", strategy=at("sampling.default_sampling_strategy", strategy)
    )
    facts = Facts("sampling", "booking")
    lines = explain(facts, resolve(policy(organization=layer), facts))
    assert any("fall back to the LLM" in line for line in lines) == (strategy is Strategy.CLIENT_FIRST)
