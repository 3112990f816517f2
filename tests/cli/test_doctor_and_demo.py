"""`backchannel doctor` finds what is broken, and `backchannel demo` shows what the project is for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.command_line import ROOT, run, write
from tests.support.processes import asking_stdio


async def test_the_doctor_names_each_server_that_is_down_and_what_to_do(tmp_path: Path) -> None:
    listed = [
        {"name": "ask", **asking_stdio()},
        {"name": "dead", "command": "a-program-that-is-not-there"},
        {"name": "dies", "command": sys.executable, "args": ["-c", "import sys; sys.exit('no database')"]},
        {"name": "gone", "url": "http://127.0.0.1:9/mcp"},
    ]
    write(tmp_path, {"external_mcp": {"servers": listed}})
    ended = await run("doctor", "--config", "gateway.yaml", cwd=tmp_path)
    assert ended.status == 1
    fixes = {line.split("'")[1]: line for line in ended.out.splitlines() if line.startswith("✗ fix server")}
    assert set(fixes) == {"dead", "dies", "gone"}
    assert "'a-program-that-is-not-there' was not found on the PATH; install it" in fixes["dead"]
    assert "no database" in fixes["dies"]
    assert "http://127.0.0.1:9/mcp cannot be reached" in fixes["gone"]
    assert "✓" in ended.out


@pytest.mark.timeout(180)
async def test_the_demo_shows_both_parties_answering() -> None:
    ended = await run("demo", cwd=ROOT)
    assert ended.status == 0, ended.out + ended.err
    assert ended.out.count("it is answered by the gateway's own LLM (local SmolLM2-135M-Instruct") == 2
    assert "it is answered by the client" in ended.out
    assert "because level 3, organization says magictunnel_first" in ended.out
    assert ended.out.count("Booked: a table for 4 on Friday, terrace.") == 2
