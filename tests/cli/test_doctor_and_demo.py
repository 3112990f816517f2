"""`backchannel doctor` finds what is broken, and `backchannel demo` shows what the project is for."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.support.command_line import ROOT, command, environment, run, write
from tests.support.processes import descendants, file_says, none_left, stop
from tests.support.raw.peers import SCRIPT

ASK = {"name": "ask", "command": sys.executable, "args": ["-S", str(SCRIPT), "stdio", "handshake"]}


async def test_the_doctor_names_each_server_that_is_down_and_what_to_do(tmp_path: Path) -> None:
    listed = [
        ASK,
        {"name": "dead", "command": "a-program-that-is-not-there"},
        {"name": "dies", "command": sys.executable, "args": ["-c", "import sys; sys.exit('no database')"]},
        {"name": "gone", "url": "http://127.0.0.1:9/mcp"},
    ]
    write(tmp_path, {"external_mcp": {"servers": listed}})
    ended = await run("doctor", "--config", "gateway.yaml", cwd=tmp_path)
    assert ended.status == 1
    lines = ended.out.splitlines()
    places = {line.split("'")[1]: at for at, line in enumerate(lines) if line.startswith("✗ fix server")}
    fixes = {name: " ".join(lines[at : at + 2]) for name, at in places.items()}
    assert set(fixes) == {"dead", "dies", "gone"}
    assert "'a-program-that-is-not-there' was not found on the PATH; install it" in fixes["dead"]
    assert "no database" in fixes["dies"]
    assert "run its command by hand, or correct it: gateway.yaml:" in fixes["dies"]
    assert "http://127.0.0.1:9/mcp cannot be reached: Connection refused" in fixes["gone"]
    assert "start what serves it, or correct its url: gateway.yaml:" in fixes["gone"]
    assert "external_mcp.servers[3]" in fixes["gone"]
    assert "✓" in ended.out


async def test_the_doctor_says_what_a_clients_capabilities_mean_and_what_is_odd(tmp_path: Path) -> None:
    (tmp_path / "capabilities").mkdir()
    (tmp_path / "capabilities" / "tools.yaml").write_text(
        "tools:\n  - {name: ask__ask, elicitation_strategy: magictunnel_first}\n  - {name: ask__ech}\n"
    )
    write(tmp_path, {"external_mcp": {"servers": [ASK]}})
    ended = await run("doctor", "--config", "gateway.yaml", cwd=tmp_path)
    assert ended.status == 0, ended.out + ended.err
    for capability, meaning in {
        "sampling": "only the client answers, so it must support it *",
        "elicitation, form": "(ask__ask: see `backchannel explain`)",
        "roots": "without it the server sees no roots",
    }.items():
        (line,) = [line for line in ended.out.splitlines() if f" {capability} " in line and "client" in line]
        assert meaning in line
    assert "* a 2026-07-28 client answers by calling again" in ended.out
    assert "no tool is called 'ask__ech', so this entry has no effect; did you mean 'ask__echo'?" in ended.out
    assert "nothing is broken, 1 thing to look at above" in ended.out


async def test_the_doctor_asks_each_provider_once_and_names_the_one_that_fails(tmp_path: Path) -> None:
    llm = {"provider": "ollama", "model": "m", "base_url": "http://127.0.0.1:9"}
    write(tmp_path, {"sampling": {"llm_config": llm}, "elicitation": {"llm_config": llm}})
    ended = await run("doctor", "--config", "gateway.yaml", cwd=tmp_path)
    assert ended.status == 1
    (fix,) = [line for line in ended.out.splitlines() if line.startswith("✗ fix")]
    assert fix.startswith("✗ fix provider ollama (m): ")


async def test_a_doctor_that_is_interrupted_leaves_quietly(tmp_path: Path) -> None:
    started = tmp_path / "started"
    slow = f"import sys; open({str(started)!r}, 'w').write('yes\\n'); sys.stdin.read()"
    server = {"name": "slow", "command": sys.executable, "args": ["-c", slow]}
    path = write(tmp_path, {"external_mcp": {"servers": [server]}})
    process = await asyncio.create_subprocess_exec(
        *command("doctor", "--config", path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(tmp_path),
    )
    try:
        await file_says(started, "yes")
        children = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    finally:
        await stop(process)
    assert process.returncode == 130
    assert b"Traceback" not in err
    await none_left(children)


SAMPLING_BY_LLM = "gateway  follows magictunnel_first: level 3, organization, config/gateway.yaml:"


@pytest.mark.extensive  # one that fails is run always, and this one by `scripts/run --demo-only` as well
@pytest.mark.timeout(180)
async def test_the_demo_shows_both_parties_answering() -> None:
    ended = await run("demo", cwd=ROOT)
    assert ended.status == 0, ended.out + ended.err
    assert ended.out.count(SAMPLING_BY_LLM) == 2
    assert ended.out.count("LLM      local SmolLM2-135M-Instruct") == 2
    assert ended.out.count("gateway  follows client_forwarded: level 3, organization, ") == 2
    assert (
        ended.out.count("shows its user '[ask] A table for 4 on Friday: where would you like to sit?'") == 2
    )
    assert ended.out.count("Booked: a table for 4 on Friday, terrace.") == 2


@pytest.mark.timeout(120)
async def test_the_demo_fails_where_the_party_that_the_policy_names_does_not_answer(tmp_path: Path) -> None:
    ask = {"name": "ask", "command": sys.executable, "args": [str(ROOT / "examples" / "ask_server.py")]}
    llm = {"provider": "ollama", "model": "m", "base_url": "http://127.0.0.1:9"}
    sampling = {
        "default_sampling_strategy": "magictunnel_handled",
        "max_retry_attempts": 0,
        "llm_config": llm,
    }
    write(tmp_path, {"sampling": sampling, "external_mcp": {"servers": [ask]}})
    ended = await run("demo", "--config", "gateway.yaml", cwd=tmp_path)
    assert ended.status == 1
    assert "llm      does not answer: " in ended.out
    assert ended.out.count("sampling was for the gateway's own LLM to answer; it was nobody") == 2
    assert ended.out.count("Booked: a table for 4 on Friday, terrace.") == 2


async def test_the_demo_needs_its_example_server(tmp_path: Path) -> None:
    write(tmp_path, {})
    ended = await run("demo", "--config", "gateway.yaml", cwd=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("backchannel: the demo needs the example server 'ask'")
