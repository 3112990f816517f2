"""`backchannel explain`: every level, the winner and its place, without starting anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import run, run_here

CONFIG = """\
sampling:
  default_sampling_strategy: magictunnel_handled
external_mcp:
  servers:
    - name: files
      command: a-program-that-is-not-there
  external_routing:
    sampling:
      server_strategies:
        files: client_first
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    return tmp_path


@pytest.mark.parametrize("tool", ["read", "files__read"])
def test_the_winner_is_told_with_its_level_its_file_and_its_line(folder: Path, tool: str) -> None:
    ended = run_here("explain", "-c", "gateway.yaml", "--server", "files", "--tool", tool, cwd=folder)
    assert ended.status == 0
    sampling, elicitation = ended.out.split("elicitation asked by")
    chosen = [line.split() for line in sampling.splitlines() if "<- chosen" in line]
    assert [(line[0], line[3]) for line in chosen] == [("2", "client_first")]
    assert chosen[0][-2:] == [
        "gateway.yaml:10",
        "external_mcp.external_routing.sampling.server_strategies.files",
    ]
    assert "(tool files__read)" in sampling
    assert "magictunnel_handled" in sampling
    assert "level 5 built in" in elicitation


async def test_one_kind_is_told_alone(folder: Path) -> None:
    ended = await run("explain", "-c", "gateway.yaml", "-s", "files", "--kind", "elicitation", cwd=folder)
    assert ended.status == 0
    assert ended.out.startswith("elicitation asked by server files (no tool)")
    assert "sampling asked" not in ended.out


def test_limits_are_told_with_their_own_places_and_what_the_server_is_told(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        CONFIG
        + "elicitation:\n  default_elicitation_strategy: client_forwarded\n  default_timeout_seconds: 45\n"
    )
    ended = run_here("explain", "-c", "gateway.yaml", "-s", "files", cwd=tmp_path)
    sampling, elicitation = ended.out.split("elicitation asked by")
    assert (
        "the gateway's LLM: none is configured, so its leg is unavailable; set sampling.llm_config"
        in sampling
    )
    assert "declared to files for a client without sampling: nothing" in sampling
    assert "with all of sampling: sampling, sampling.context, sampling.tools" in sampling
    assert "client leg             45 s   gateway.yaml:13 elicitation.default_timeout_seconds" in elicitation
    assert "with all of elicitation: elicitation.form, elicitation.url" in elicitation
    assert "if files is of the handshake era, a 2026-07-28 client's call waits for it" in elicitation


def test_a_kind_that_is_turned_off_is_told_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(CONFIG.replace("sampling:", "sampling:\n  enabled: false", 1))
    ended = run_here("explain", "-c", "gateway.yaml", "-s", "files", "--kind", "sampling", cwd=tmp_path)
    assert ended.status == 0
    assert "refused: sampling is turned off: gateway.yaml:2 sampling.enabled is false" in ended.out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--server", "fils"), "backchannel: no server is called 'fils'; did you mean 'files'?\n"),
        (("--server", "zzz"), "backchannel: no server is called 'zzz'; configured: files\n"),
        (
            ("--server", "files", "--kind", "sampler"),
            "backchannel: --kind must be sampling or elicitation, not 'sampler'\n",
        ),
    ],
)
def test_what_is_not_there_is_told_with_what_is(folder: Path, options: tuple[str, ...], told: str) -> None:
    ended = run_here("explain", "-c", "gateway.yaml", *options, cwd=folder)
    assert (ended.status, ended.out, ended.err) == (1, "", told)


CASES = """\
sampling:
  default_sampling_strategy:
    - when: {between: "22:00-06:00", timezone: Europe/Berlin, client: claude*}
      use: magictunnel_handled
    - when: {annotations: {readOnlyHint: true}, prompt: {max_tokens: 100}, model_hint: "*opus*"}
      use: parallel
    - when: {principal: team, load: {in_flight: 2, queued: 3}, spent: {usd: 5, tokens: 7, fraction: 0.5}}
      use: hybrid
    - use: client_forwarded
external_mcp:
  servers:
    - name: files
      command: a-program-that-is-not-there
"""
NIGHT = ("--at", "2026-11-20T23:30+01:00", "--client", "claude-ai")
SMALL = ("--tool", "t", "--annotation", "readOnlyHint=true", "--characters", "400", "--hint", "opus-4")
BUSY = ("--principal", "team", "--in-flight", "2", "--queued", "3")
SPENT = ("--spent-usd", "5", "--spent-tokens", "7", "--spent-fraction", "0.5")


@pytest.mark.parametrize(
    ("options", "strategy"),
    [
        (NIGHT, "magictunnel_handled"),
        (("--at", "2026-11-20T23:30", "--client", "zed"), "client_forwarded"),
        (SMALL, "parallel"),
        ((*BUSY, *SPENT), "hybrid"),
        (BUSY, "client_forwarded"),
        ((), "client_forwarded"),
    ],
)
def test_the_options_are_the_facts_that_conditions_look_at(
    tmp_path: Path, options: tuple[str, ...], strategy: str
) -> None:
    (tmp_path / "gateway.yaml").write_text(CASES)
    asked = ("explain", "-c", "gateway.yaml", "-s", "files", "--kind", "sampling", *options)
    ended = run_here(*asked, cwd=tmp_path)
    assert ended.status == 0, ended.err
    (chosen,) = [line for line in ended.out.splitlines() if "<- chosen" in line]
    assert strategy in chosen


BUDGETS = """\
auth: {keys: [{principal: team, key_env: TEAM_KEY}]}
sampling:
  llm_config: {provider: ollama, model: small}
  budget: {usd_per_day: 20, on_exceeded: soft}
elicitation: {budget: {tokens_per_day: 7}}
smart_discovery: {default_sampling_strategy: gateway_handled, budget: {tokens_per_day: 50000}}
costs:
  each_principal: {usd_per_day: 0.5}
  principals: {team: {usd_per_day: 4, tokens_per_day: 9000}}
external_mcp:
  servers:
    - {name: files, command: a-program-that-is-not-there, budget: {usd_per_day: 3}}
    - {name: other, command: a-program-that-is-not-there, budget: {usd_per_day: 2}}
capabilities: {paths: [tools.yaml]}
"""
TOOLS = "tools: [{name: files__read, budget: {tokens_per_day: 100}}]\n"
KIND = "sampling: $20 a day, soft (gateway.yaml:4 sampling.budget)"
SMART = "smart_discovery: 50000 tokens a day, hard (gateway.yaml:6 smart_discovery.budget)"
OF_ALL = [
    "tool files__read: 100 tokens a day, hard (tools.yaml:1 tools[0].budget)",
    "server files: $3 a day, hard (gateway.yaml:12 external_mcp.servers[0].budget)",
    KIND,
    SMART,
    "principal team: $4 and 9000 tokens a day, hard (gateway.yaml:9 costs.principals.team)",
]
OF_A_STRANGER = [
    "server other: $2 a day, hard (gateway.yaml:13 external_mcp.servers[1].budget)",
    KIND,
    SMART,
    "principal (no key): $0.5 a day, hard (gateway.yaml:8 costs.each_principal)",
]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("-s", "files", "-t", "read", "--principal", "team"), OF_ALL),
        (("-s", "other"), OF_A_STRANGER),
        (("-s", "files", "--kind", "elicitation"), []),
    ],
)
def test_the_budgets_that_an_answer_of_the_llm_has_to_fit_in_are_told_level_by_level(
    tmp_path: Path, options: tuple[str, ...], told: list[str]
) -> None:
    """Where the LLM is not asked, as in the last case, none applies."""
    (tmp_path / "gateway.yaml").write_text(BUDGETS)
    (tmp_path / "tools.yaml").write_text(TOOLS)
    kind = () if "--kind" in options else ("--kind", "sampling")
    ended = run_here("explain", "-c", "gateway.yaml", *options, *kind, cwd=tmp_path, TEAM_KEY="k" * 20)
    assert ended.status == 0, ended.err
    lines = [line.strip() for line in ended.out.splitlines()]
    assert [line.removeprefix("budget of ") for line in lines if line.startswith("budget of ")] == told
    unknown = told and "--principal" not in options
    assert any(line.startswith("with a key of team: ") for line in lines) is bool(unknown)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--at", "tonight"), "--at must be a date and a time"),
        (("--annotation", "readOnly=true"), "--annotation must be one of readOnlyHint"),
    ],
)
def test_facts_that_cannot_be_read_are_refused(folder: Path, options: tuple[str, ...], message: str) -> None:
    ended = run_here("explain", "-c", "gateway.yaml", "-s", "files", *options, cwd=folder)
    assert ended.status != 0
    assert message in ended.err
