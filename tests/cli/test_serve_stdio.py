"""`backchannel serve --stdio`: a client that starts the gateway itself."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import StdioServerParameters

from tests.support.clients import Mode, Person, accepted, connect
from tests.support.command_line import command, environment, write
from tests.support.parties import ELICITATION
from tests.support.processes import Era, descendants, none_left, stop
from tests.support.raw.peers import SCRIPT


def behind(era: Era = "handshake") -> dict[str, Any]:
    """A configuration with one server that asks."""
    args = ["-S", str(SCRIPT), "stdio", era]
    return {"external_mcp": {"servers": [{"name": "ask", "command": sys.executable, "args": args}]}}


def gateway(folder: Path, era: Era) -> StdioServerParameters:
    path = write(folder, behind(era))
    program, *options = command("serve", "--stdio", "--config", path, "--log-level", "error")
    return StdioServerParameters(command=program, args=options, env=environment(folder))


@pytest.mark.parametrize("era", ["handshake", "modern"])
async def test_a_client_that_starts_it_is_asked_through_it(tmp_path: Path, era: Era) -> None:
    mode: Mode = era
    person = Person(elicitation=accepted(colour="blue"))
    async with connect(gateway(tmp_path, era), person, mode) as client:
        assert "ask__echo" in {tool.name for tool in (await client.list_tools()).tools}
        told = (await client.call_tool("ask__ask", {"requests": {"q": ELICITATION}})).structured_content
    answer = told["answers"]["q"]
    assert answer.get("result", answer)["content"] == {"colour": "blue"}
    assert len(person.asked) == 1


@pytest.mark.parametrize("era", ["handshake", pytest.param("modern", marks=pytest.mark.extensive)])
async def test_a_call_that_its_client_cancels_is_cancelled_at_the_server(tmp_path: Path, era: Era) -> None:
    mode: Mode = era
    started = asyncio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        started.set()

    async with asyncio.timeout(30), connect(gateway(tmp_path, era), None, mode) as client:
        waiting = client.call_tool("ask__wait", {"name": "w"}, progress_callback=on_progress)
        calling = asyncio.create_task(waiting)
        await started.wait()
        calling.cancel()
        await asyncio.wait((calling,))
        await client.call_tool("ask__until", {"cancelled": 1})
        assert (await client.call_tool("ask__echo", {"n": 1})).structured_content == {"n": 1}


async def begun(folder: Path, *options: str) -> asyncio.subprocess.Process:
    """Start it with a pipe for each of its streams."""
    return await asyncio.create_subprocess_exec(
        *command("serve", "--stdio", "--config", write(folder, behind()), *options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(folder),
    )


async def test_standard_output_carries_the_protocol_and_nothing_else(tmp_path: Path) -> None:
    process = await begun(tmp_path, "--log-level", "debug")
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    lines = (
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    )
    try:
        out, err = await process.communicate("".join(json.dumps(line) + "\n" for line in lines).encode())
    finally:
        await stop(process)
    messages = [json.loads(line) for line in out.splitlines()]
    assert all(message["jsonrpc"] == "2.0" for message in messages)
    assert {message["id"] for message in messages if "id" in message} == {1, 2}
    assert process.returncode == 0
    assert err, "the log goes to standard error"


@pytest.mark.parametrize("text", ["", '{"jsonrpc": "2.0", "id": 7, "method": "ping"}\n'])
async def test_a_file_on_standard_input_is_served_to_its_end(tmp_path: Path, text: str) -> None:
    write(tmp_path, {})
    (tmp_path / "messages").write_text(text)
    with (tmp_path / "messages").open() as messages:
        process = await asyncio.create_subprocess_exec(
            *command("serve", "--stdio", "--config", "gateway.yaml"),
            stdin=messages if text else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=environment(tmp_path),
            cwd=tmp_path,
        )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert [json.loads(line) for line in out.splitlines()] == (
        [{"jsonrpc": "2.0", "id": 7, "result": {}}] if text else []
    )


async def test_a_client_that_terminates_it_leaves_nothing_behind(tmp_path: Path) -> None:
    process = await begun(tmp_path)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            while b"server 'ask' is up" not in await process.stderr.readline():
                assert process.returncode is None
            children = descendants(process.pid)
            process.send_signal(signal.SIGTERM)
            out, _ = await process.communicate()
    finally:
        await stop(process)
    assert (process.returncode, out) == (0, b"")
    assert children
    await none_left(children)
