"""Sampling techniques as written: at every level, with and without options, and what is refused."""

from __future__ import annotations

import pytest

from gateway.policy.explain import explain
from gateway.policy.model import Facts, Route, Technique
from gateway.policy.resolve import resolve

SERVERS = "external_mcp:\n  servers:\n    - {name: notes, command: notes, prefix: n_%s}\n"
TOOL = "tools:\n  - {name: n_add, sampling_technique: chain_of_thought}\n"
ORGANIZATION = "sampling:\n  default_sampling_strategy: gateway_handled\n%s"
LEVELS = {
    "tool": ("", "", TOOL, "tools[0].sampling_technique"),
    "server_techniques": (
        "  external_routing: {sampling: {server_techniques: {notes: chain_of_thought}}}\n",
        "",
        "",
        "external_mcp.external_routing.sampling.server_techniques.notes",
    ),
    "the server's own": (
        "",
        ", sampling_technique: chain_of_thought",
        "",
        "external_mcp.servers[0].sampling_technique",
    ),
    "level 2's default": (
        "  external_routing: {sampling: {default_technique: chain_of_thought}}\n",
        "",
        "",
        "external_mcp.external_routing.sampling.default_technique",
    ),
    "organization": (
        "sampling: {default_sampling_technique: chain_of_thought}\n",
        "",
        "",
        "sampling.default_sampling_technique",
    ),
    "smart discovery": (
        "smart_discovery: {default_sampling_technique: chain_of_thought}\n",
        "",
        "",
        "smart_discovery.default_sampling_technique",
    ),
}


def routed(config) -> Route:
    route = resolve(config.policy, Facts("sampling", "notes", tool="n_add"))
    assert isinstance(route, Route)
    return route


@pytest.mark.parametrize("level", LEVELS)
def test_a_technique_may_stand_at_every_level_and_the_route_says_where(folder, level) -> None:
    extra, own, tool, path = LEVELS[level]
    if tool:
        folder.write("capabilities/notes.yaml", tool)
    route = routed(folder.load(SERVERS % own + extra))
    assert route.technique == Technique("chain_of_thought")
    assert dict(route.origins)["technique"].endswith(path)


def test_a_technique_is_looked_up_by_itself_and_the_highest_wins(folder) -> None:
    folder.write("capabilities/notes.yaml", TOOL)
    text = SERVERS % ", sampling_technique: iterative" + ORGANIZATION % (
        "  default_sampling_technique: consensus\n"
    )
    route = routed(folder.load(text))
    assert (route.strategy.value, route.level) == ("magictunnel_handled", "organization")
    assert route.technique.name == "chain_of_thought"


def test_nothing_said_is_answered_at_once(folder) -> None:
    assert routed(folder.load(SERVERS % "")).technique == Technique()


def test_a_technique_takes_options_and_explain_names_them(folder) -> None:
    options = "  default_sampling_technique: {technique: consensus, samples: 5, temperature: 0.9}\n"
    route = routed(folder.load(SERVERS % "" + ORGANIZATION % options))
    assert route.technique == Technique("consensus", samples=5, temperature=0.9)
    lines = "\n".join(explain(Facts("sampling", "notes", tool="n_add"), route))
    assert "consensus of 5 samples at temperature 0.9" in lines


BROKEN = {
    "a technique nobody knows": ("concensus", "'concensus' is not one of", "did you mean 'consensus'?"),
    "an unknown option": ("{technique: consensus, sample: 3}", "unknown key 'sample'", "'samples'"),
    "an option of another technique": (
        "{technique: iterative, samples: 3}",
        "`samples` has no effect on iterative",
        "remove it",
    ),
    "options without a technique": ("{samples: 3}", "the key 'technique' is missing", "add `technique:`"),
    "a vote of one": ("{technique: consensus, samples: 1}", "greater than or equal to 2", "write a value"),
    "a list": ("[consensus]", "is not one of", ""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_technique_is_refused_with_its_place(folder, name) -> None:
    written, message, fix = BROKEN[name]
    problem = folder.problem(ORGANIZATION % f"  default_sampling_technique: {written}\n")
    assert "sampling.default_sampling_technique" in problem.path
    assert message in problem.message
    assert fix in problem.fix


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        (
            "sampling: {default_sampling_strategy: client_forwarded, default_sampling_technique: consensus}",
            "sampling",
        ),
        ("elicitation: {min_confidence: 0.5}", "elicitation"),
    ],
)
def test_what_is_said_of_an_llm_that_nothing_asks_is_warned_of(folder, setting, kind) -> None:
    warnings = folder.load(f"{setting}\n").warnings
    assert any(f"has no effect: no strategy asks the LLM for {kind}" in warning for warning in warnings)


FLOORS = {
    "tool": "capabilities",
    "server": SERVERS % ", elicitation_min_confidence: 0.7",
    "level 2's default": SERVERS % "" + "  external_routing: {elicitation: {min_confidence: 0.7}}\n",
    "organization": SERVERS % "" + "elicitation: {min_confidence: 0.7}\n",
}


@pytest.mark.parametrize("level", FLOORS)
def test_a_floor_for_forms_may_stand_at_every_level(folder, level) -> None:
    if level == "tool":
        tool = "tools:\n  - {name: n_add, elicitation_min_confidence: 0.7}\n"
        folder.write("capabilities/notes.yaml", tool)
    config = folder.load(SERVERS % "" if level == "tool" else FLOORS[level])
    facts = Facts("elicitation", "notes", tool="n_add")
    route = resolve(config.policy, facts)
    assert isinstance(route, Route)
    assert route.min_confidence == 0.7
    assert "min_confidence" in dict(route.origins)["min_confidence"]


def test_a_technique_for_a_server_that_is_not_there_is_warned_of(folder) -> None:
    extra = "  external_routing: {sampling: {server_techniques: {note: consensus}}}\n"
    config = folder.load(SERVERS % "" + extra)
    assert any("no server is called 'note'" in warning for warning in config.warnings)
