"""What can be known without starting anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Run

Write = Callable[..., Path]

GOOD = {
    "elicitation": {"default_elicitation_strategy": "client_forwarded", "default_timeout_seconds": 45},
    "external_mcp": {
        "servers": [{"name": "weather", "command": "weather"}, {"name": "mail", "command": "m"}]
    },
}


async def test_check_finds_nothing_wrong_with_the_configuration_that_is_shipped(backchannel: Run) -> None:
    ran = await backchannel("check", "--config", ROOT / "config/gateway.yaml")
    assert (ran.status, ran.err) == (0, "")
    assert "no problems. 1 server, 1 LLM provider, 0 capability entries, 0 warnings" in ran.out


async def test_the_configuration_can_be_named_by_a_variable(backchannel: Run, config: Write) -> None:
    environ = {"BACKCHANNEL_CONFIG": str(config(**GOOD))}
    ran = await backchannel("check", environ=environ)
    assert (ran.status, ran.err) == (0, "")
    assert "2 servers" in ran.out


async def test_check_prints_every_problem_with_its_line_and_fix(backchannel: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("smapling: {}\nelicitation:\n  default_elicitation_strategy: parallel\n")
    ran = await backchannel("check", "--config", broken.name)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.splitlines() == [
        "broken.yaml:1: smapling: unknown key 'smapling'",
        "    fix: did you mean 'sampling'?",
        "broken.yaml:3: elicitation.default_elicitation_strategy: 'parallel' is not executed by this version",
        "    fix: use one of: magictunnel_handled, client_forwarded, magictunnel_first, client_first, "
        "gateway_handled, gateway_first",
        "2 problems in the configuration",
    ]


async def test_check_finds_what_a_provider_lacks_and_what_has_no_effect(
    backchannel: Run, config: Write
) -> None:
    path = config(sampling={"llm_config": {"provider": "local", "model": "no-such-model"}}, **GOOD)
    ran = await backchannel("check", "--config", path, environ={"MCP_ENABLE_CACHE": "1"})
    assert ran.status == 1
    assert "warning: $MCP_ENABLE_CACHE has no effect" in ran.err
    assert "sampling.llm_config" in ran.err
    assert "1 problem in the configuration" in ran.err


async def test_check_can_be_read_by_a_machine(backchannel: Run, config: Write, tmp_path: Path) -> None:
    fine = await backchannel("check", "--json", "--config", config(**GOOD))
    assert fine.status == 0
    assert json.loads(fine.out) == {"ok": True, "problems": [], "warnings": [], "notes": []}
    missing = await backchannel("check", "--json", "--config", tmp_path / "none.yaml")
    assert missing.status == 1
    (problem,) = json.loads(missing.out)["problems"]
    assert problem["file"].endswith("none.yaml")
    assert problem["fix"]


async def test_explain_shows_every_level_the_winner_and_where_each_limit_comes_from(
    backchannel: Run, config: Write
) -> None:
    ran = await backchannel(
        "explain", "--server", "weather", "--tool", "forecast", "--config", config(**GOOD)
    )
    assert (ran.status, ran.err) == (0, "")
    sampling, elicitation = ran.out.split("elicitation asked by server weather (tool weather__forecast)\n")
    assert "5 built in         client_first  <- chosen" in sampling
    assert "answered by: the calling client, then the gateway's LLM" in sampling
    assert "the gateway's LLM: none is configured" in sampling
    assert "declared to weather for a client without sampling: nothing" in sampling
    for level in ("1 tool", "2 external server", "3 organization", "4 smart discovery", "5 built in"):
        assert level in elicitation
    assert "because: client_forwarded, level 3 organization, gateway.yaml:" in elicitation
    assert "elicitation.default_elicitation_strategy" in elicitation
    assert "45 s  gateway.yaml:" in elicitation
    assert "with all of elicitation: elicitation.form, elicitation.url" in elicitation


async def test_explain_shows_a_kind_that_is_turned_off(backchannel: Run, config: Write) -> None:
    path = config(sampling={"enabled": False}, **GOOD)
    ran = await backchannel("explain", "-s", "mail", "--kind", "sampling", "-c", path)
    assert ran.status == 0
    assert "refused: sampling is turned off" in ran.out
    assert "elicitation" not in ran.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--server", "wether"], "no server is called 'wether'; did you mean 'weather'?"),
        (["--server", "zzz"], "no server is called 'zzz'; configured: weather, mail"),
        (["--server", "mail", "--kind", "roots"], "--kind must be sampling or elicitation, not 'roots'"),
    ],
)
async def test_explain_says_what_it_does_not_know(
    backchannel: Run, config: Write, arguments: list[str], said: str
) -> None:
    ran = await backchannel("explain", "--config", config(**GOOD), *arguments)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.strip() == f"backchannel: {said}"
