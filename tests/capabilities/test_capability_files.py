"""Level 1: entries of capability files, and whether they match a tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.capabilities.registry import unmatched, warning
from gateway.config.loader import load
from gateway.errors import ConfigurationError
from gateway.policy.model import Facts, Strategy
from gateway.policy.resolve import can_llm_answer, resolve

GATEWAY = """\
external_mcp:
  servers:
    - {name: a, command: x}
    - {name: b, command: x, prefix: none}
    - {name: c, command: x, enabled: false}
"""


def config_with(folder: Path, tools: str, gateway: str = GATEWAY):
    (folder / "capabilities" / "topic").mkdir(parents=True, exist_ok=True)
    (folder / "capabilities" / "topic" / "t.yaml").write_text(tools)
    (folder / "gateway.yaml").write_text(gateway)
    return load(folder / "gateway.yaml", {}, dotenv_folders=())


def test_an_entry_with_a_server_is_found_under_that_servers_prefix(tmp_path):
    config = config_with(tmp_path, "tools:\n  - {name: t, server: a, sampling_strategy: client_forwarded}\n")
    assert [entry.exposed for entry in config.tools] == ["a__t"]
    route = resolve(config.policy, Facts("sampling", "a", tool="a__t"))
    assert (route.level, route.strategy) == ("tool", Strategy.CLIENT)
    assert route.path.endswith("topic/t.yaml:2 tools[0].sampling_strategy")


def test_an_entry_without_a_server_is_the_exposed_name(tmp_path):
    config = config_with(tmp_path, "tools:\n  - {name: a__t, elicitation_strategy: gateway_handled}\n")
    assert resolve(config.policy, Facts("elicitation", "a", tool="a__t")).level == "tool"
    assert resolve(config.policy, Facts("sampling", "a", tool="a__t")).level == "built_in"


def test_only_servers_that_can_own_the_name_are_told_that_the_llm_answers(tmp_path):
    tools = "tools:\n  - {name: t, server: a, elicitation_strategy: gateway_handled}\n"
    config = config_with(tmp_path, tools)
    assert can_llm_answer(config.policy, "elicitation", "a")
    assert not can_llm_answer(config.policy, "elicitation", "b")


def test_a_server_without_a_prefix_can_own_any_name(tmp_path):
    config = config_with(tmp_path, "tools:\n  - {name: t, elicitation_strategy: gateway_handled}\n")
    assert can_llm_answer(config.policy, "elicitation", "b")
    assert not can_llm_answer(config.policy, "elicitation", "a")


def test_an_entry_of_an_unknown_server_is_a_warning_and_of_a_disabled_one_is_not(tmp_path):
    config = config_with(tmp_path, "tools:\n  - {name: t, server: aa}\n  - {name: t, server: c}\n")
    assert config.tools == ()
    assert "no server is called 'aa'" in "".join(config.warnings)
    assert len(config.warnings) == 1


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ("tools:\n  - {name: a__t}\n  - {name: t, server: a}\n", "already has an entry"),
        ("tools:\n  - {name: t, inputSchema: {}, input_schema: {}}\n", "mean the same"),
        ("tools:\n  - {name: t, sampling_strategy: hybird}\n", "'hybird' is not a strategy"),
        ("tools:\n  - {name: t, sampling_strategie: client_first}\n", "unknown key 'sampling_strategie'"),
    ],
)
def test_a_broken_entry_is_an_error_with_its_line(tmp_path, tools, words):
    with pytest.raises(ConfigurationError) as raised:
        config_with(tmp_path, tools)
    (problem,) = raised.value.problems
    assert words in problem.message
    assert problem.file.endswith("t.yaml")
    assert problem.line in (2, 3)


def test_the_documented_keys_that_change_nothing_are_noted(tmp_path):
    tools = "tools:\n  - {name: t, description: d, input_schema: {enum: [null], default: null}}\n"
    config = config_with(tmp_path, tools)
    assert config.tools[0].input_schema == {"enum": [None], "default": None}
    assert "are for readers" in config.notes[0]


def test_the_folder_beside_config_is_the_default_for_a_folder_called_config(tmp_path):
    (tmp_path / "capabilities").mkdir()
    (tmp_path / "capabilities" / "t.yml").write_text("tools: [{name: t}]\n")
    for name, found in (("config", 1), ("other", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "gateway.yaml").write_text("")
        assert len(load(tmp_path / name / "gateway.yaml", {}, dotenv_folders=()).tools) == found


def test_entries_without_a_tool_are_named_with_the_nearest_tool(tmp_path):
    config = config_with(tmp_path, "tools:\n  - {name: t_one, server: a}\n  - {name: t_tow, server: a}\n")
    exposed = {"a__t_one", "a__t_two"}
    (entry,) = unmatched(config.tools, exposed)
    assert entry.exposed == "a__t_tow"
    assert warning(entry, exposed).endswith(
        "t.yaml:3 tools[1]: no tool is called 'a__t_tow', so this entry has no effect; "
        "did you mean 'a__t_two'?"
    )
