"""`backchannel explain`: every level, the winner and its place, without starting anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import run

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
async def test_the_winner_is_told_with_its_level_its_file_and_its_line(folder: Path, tool: str) -> None:
    ended = await run("explain", "-c", "gateway.yaml", "--server", "files", "--tool", tool, cwd=folder)
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
async def test_what_is_not_there_is_told_with_what_is(
    folder: Path, options: tuple[str, ...], told: str
) -> None:
    ended = await run("explain", "-c", "gateway.yaml", *options, cwd=folder)
    assert (ended.status, ended.out, ended.err) == (1, "", told)
