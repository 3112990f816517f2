"""What dies, dies alone: servers killed, hung or flooding, and the gateway stopped or killed itself."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from mcp.shared.exceptions import MCPError
from ruamel.yaml import YAML

from tests.support.gateway import running_gateway
from tests.support.parties import ELICITATION, Person
from tests.support.processes import descendants, none_left, running
from tests.support.raw.peers import entry_of, raw_server

Json = dict[str, Any]
DEADLINE = 20


@asynccontextmanager
async def two_servers() -> AsyncIterator[list[Json]]:
    """A stdio server and an HTTP server, as entries of the configuration."""
    async with raw_server("stdio-handshake") as pipe, raw_server("http-handshake") as web:
        yield [
            entry_of("pipe", pipe),
            {"name": "web", "endpoint": web.url},
        ]


async def progress_of(client: Any, tool: str, arguments: Json) -> tuple[asyncio.Task[Any], asyncio.Event]:
    """Start a call; the event is set once the server has said that it works on it."""
    working = asyncio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        working.set()

    call = asyncio.create_task(client.call_tool(tool, arguments, progress_callback=on_progress))
    return call, working


def servers_of(pid: int | None = None) -> list[psutil.Process]:
    return [
        process for process in descendants(pid) if any("raw/server.py" in part for part in process.cmdline())
    ]


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_server_killed_in_mid_call_is_an_honest_error_and_comes_back(
    tmp_path: Path, mode: str
) -> None:
    async with (
        two_servers() as servers,
        running_gateway(tmp_path, {"external_mcp": {"servers": servers}}) as gateway,
    ):
        async with Person().client(gateway.url, mode) as client:
            dying, at_work = await progress_of(client, "pipe__wait", {"name": "a"})
            other, at_work_too = await progress_of(client, "web__wait", {"name": "b"})
            await asyncio.wait_for(at_work.wait(), DEADLINE)
            await asyncio.wait_for(at_work_too.wait(), DEADLINE)
            for process in servers_of():
                if "stdio" in process.cmdline():
                    process.send_signal(signal.SIGKILL)
            with pytest.raises(MCPError, match="server 'pipe' ended the connection during the call"):
                await asyncio.wait_for(dying, DEADLINE)
            assert not other.done()
            assert (await client.call_tool("web__echo", {"n": 1})).structured_content == {"n": 1}
            async with asyncio.timeout(DEADLINE):
                await back(gateway, "pipe")
                assert (await client.call_tool("pipe__echo", {"n": 2})).structured_content == {"n": 2}
            other.cancel()
            await asyncio.wait((other,))


async def back(gateway: Any, server: str) -> None:
    """Wait until the fleet says that a server is up again."""
    changed = asyncio.Event()
    end = gateway.gateway.fleet.subscribe(lambda event: changed.set())
    try:
        while next(one for one in gateway.gateway.servers() if one.name == server).state != "up":
            await changed.wait()
            changed.clear()
    finally:
        end()


async def test_a_server_that_is_down_is_named_and_its_tools_vanish(tmp_path: Path) -> None:
    async with two_servers() as servers:
        dead = {"name": "dead", "command": "/no/such/command"}
        config = {"external_mcp": {"servers": [dead, *servers]}}
        async with running_gateway(tmp_path, config) as gateway, Person().client(gateway.url) as client:
            names = {tool.name.partition("__")[0] for tool in (await client.list_tools()).tools}
            assert names == {"pipe", "web"}
            with pytest.raises(MCPError, match=r"server 'dead' is unavailable: .*/no/such/command"):
                await client.call_tool("dead__echo", {})


@pytest.mark.parametrize("kind", ["stdio-handshake", "http-handshake", "http-modern"])
async def test_a_hung_server_is_timed_out_by_its_own_setting(tmp_path: Path, kind: str) -> None:
    async with raw_server(kind) as raw:
        config = {"external_mcp": {"servers": [entry_of("raw", raw, timeout_seconds=1)]}}
        async with running_gateway(tmp_path, config) as gateway, Person().client(gateway.url) as client:
            with pytest.raises(
                MCPError, match=r"did not finish tools/call 'raw__wait' within 1 s; raise timeout"
            ):
                await client.call_tool("raw__wait", {"name": "hung"})
            seen = (await client.call_tool("raw__seen", {})).structured_content
    assert seen == {"cancelled": ["hung"]}


async def test_a_tool_s_own_limit_counts_and_not_its_server_s(tmp_path: Path) -> None:
    (tmp_path / "capabilities").mkdir()
    (tmp_path / "capabilities" / "slow.yaml").write_text("tools: [{name: raw__wait, timeout_seconds: 0.2}]\n")
    async with raw_server("stdio-handshake") as raw:
        config = {"external_mcp": {"servers": [entry_of("raw", raw)]}}
        async with running_gateway(tmp_path, config) as gateway, Person().client(gateway.url) as client:
            with pytest.raises(
                MCPError,
                match=r"within 0.2 s; raise timeout_seconds \(\S*slow.yaml:1 tools\[0\].timeout_seconds\)",
            ):
                await client.call_tool("raw__wait", {"name": "hung"})
            assert (await client.call_tool("raw__echo", {})).structured_content == {}


@pytest.mark.parametrize("kind", ["stdio-handshake", "http-handshake"])
async def test_more_questions_than_a_call_may_ask_are_refused_by_the_settings_name(tmp_path, kind) -> None:
    person = Person()
    async with raw_server(kind) as raw:
        config = {"external_mcp": {"servers": [entry_of("raw", raw, max_questions=3)]}}
        async with running_gateway(tmp_path, config) as gateway, person.client(gateway.url) as client:
            requests = {str(number): ELICITATION for number in range(5)}
            result = await client.call_tool("raw__ask", {"requests": requests})
            decisions = await gateway.decisions()
    answers = list(result.structured_content["answers"].values())
    assert ["result" in answer for answer in answers] == [True, True, True, False, False]
    assert "max_questions" in answers[3]["error"]["message"]
    assert len(person.asked) == 3
    assert [decision["outcome"] for decision in decisions] == ["answered"] * 3 + ["limited"] * 2


def write(folder: Path, config: Json) -> Path:
    path = folder / "gateway.yaml"
    with path.open("w") as file:
        YAML(typ="safe").dump(config, file)
    return path


@asynccontextmanager
async def serving(folder: Path, servers: list[Json]) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run `backchannel serve` as an operator does; yields its process and its MCP URL."""
    config = write(folder, {"external_mcp": {"servers": servers}})
    command = [sys.executable, "-m", "gateway.cli.main", "serve", "--config", str(config), "--port", "0"]
    async with running(command, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as (process, line):
        url = re.search(r"http://\S+/mcp", line)
        assert url is not None, line
        yield process, url[0]


async def test_a_stopped_gateway_ends_calls_honestly_and_leaves_no_process(tmp_path: Path) -> None:
    async with two_servers() as servers, serving(tmp_path, servers) as (process, url):
        async with Person().client(url) as client:
            call, at_work = await progress_of(client, "pipe__wait", {"name": "a"})
            await asyncio.wait_for(at_work.wait(), DEADLINE)
            children = descendants(process.pid)
            assert servers_of(process.pid)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(MCPError, match="the gateway is stopping"):
                await asyncio.wait_for(call, DEADLINE)
            assert await asyncio.wait_for(process.wait(), DEADLINE) == 0
            await none_left(children)


async def test_a_killed_gateway_leaves_no_server_process_behind(tmp_path: Path) -> None:
    async with two_servers() as servers, serving(tmp_path, servers) as (process, url):
        async with Person().client(url) as client:
            assert (await client.call_tool("pipe__echo", {"n": 1})).structured_content == {"n": 1}
            children = descendants(process.pid)
            assert servers_of(process.pid)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await none_left(children)
