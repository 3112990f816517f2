"""Settings of the whole gateway that no other end-to-end test varies: what each value changes at a socket."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client

from tests.support.command_line import run, write
from tests.support.gateway import Running, running_gateway
from tests.support.parked import until
from tests.support.parties import SAMPLING, Person
from tests.support.raw.peers import SCRIPT, raw_server
from tests.support.raw_http import EventStream, call, http, modern

Json = dict[str, Any]
RAW: Json = {"command": sys.executable, "args": ["-S", str(SCRIPT), "stdio", "handshake"]}
SILENT: Json = {"command": sys.executable, "args": ["-S", "-c", "import sys; sys.stdin.read()"]}


async def status(gateway: Running, **headers: str) -> int:
    """What a request with these headers comes to."""
    async with http(gateway, **headers) as client:
        return (
            await client.post("/mcp", **modern({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
        ).status_code


@pytest.mark.parametrize(
    ("option", "values", "header"),
    [
        ("allowed_hosts", ["gate.example", "gate.example:443", "*"], "host"),
        ("allowed_origins", ["http://gate.example", "HTTP://gate.example/", "*"], "origin"),
    ],
)
async def test_names_and_origins_are_served_where_they_are_allowed(
    tmp_path: Path, option: str, values: list[str], header: str
) -> None:
    value = {"host": "gate.example:443", "origin": "http://gate.example"}[header]
    for allowed in (*([one] for one in values), [], ["other.example"]):
        async with running_gateway(tmp_path, {"http": {option: allowed}}) as gateway:
            expected = 200 if allowed and allowed != ["other.example"] else 403
            assert await status(gateway, **{header: value}) == expected, allowed
            assert await status(gateway) == 200


async def exposed(gateway: Running) -> set[str]:
    async with Client(gateway.url) as client:
        return {tool.name for tool in (await client.list_tools()).tools}


async def test_the_servers_file_that_is_named_is_the_one_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for name, file in (("beside", "external_mcp_servers.json"), ("named", "more/servers.json")):
        (tmp_path / file).write_text(json.dumps({"mcpServers": {name: RAW}}))
    for named, server in (({}, "beside"), ({"config_file": "more/servers.json"}, "named")):
        async with running_gateway(tmp_path, {"external_mcp": named}) as gateway:
            tools = await exposed(gateway)
            assert f"{server}__echo" in tools
            assert {tool.partition("__")[0] for tool in tools} == {server}


@pytest.mark.parametrize(
    ("all_of_them", "one", "expected"),
    [(True, True, {"on", "maybe"}), (True, False, {"on"}), (False, True, set())],
)
async def test_what_is_turned_off_is_not_there(
    tmp_path: Path, all_of_them: bool, one: bool, expected: set[str]
) -> None:
    servers = [{"name": "on", **RAW}, {"name": "maybe", "enabled": one, **RAW}]
    async with running_gateway(
        tmp_path, {"external_mcp": {"enabled": all_of_them, "servers": servers}}
    ) as gateway:
        assert {tool.partition("__")[0] for tool in await exposed(gateway)} == expected


async def test_a_key_is_known_by_its_digest(tmp_path: Path) -> None:
    keys = [{"principal": "ann", "sha256": hashlib.sha256(b"k-ann").hexdigest()}]
    async with running_gateway(tmp_path, {"auth": {"keys": keys}}) as gateway:
        assert await status(gateway, authorization="Bearer k-ann") == 200
        assert await status(gateway, authorization=f"Bearer {keys[0]['sha256']}") == 401


@pytest.mark.parametrize("keep", [1, 2])
async def test_as_many_decisions_are_kept_as_the_setting_says(tmp_path: Path, keep: int) -> None:
    servers = [{"name": "raw", **RAW}]
    config = {"decisions": {"keep": keep}, "external_mcp": {"servers": servers}}
    async with running_gateway(tmp_path, config) as gateway:
        async with Person().client(gateway.url) as client:
            for _ in range(3):
                await client.call_tool("raw__ask", {"requests": {"q": SAMPLING}})
        assert len(await gateway.decisions()) == keep


@pytest.mark.parametrize(
    ("settings", "levels"),
    [({"level": "debug", "format": "json"}, {"debug"}), ({"level": "error"}, set())],
)
async def test_the_log_is_of_the_level_and_in_the_form_that_are_set(
    tmp_path: Path, settings: Json, levels: set[str]
) -> None:
    write(tmp_path, {"logging": settings, "external_mcp": {"servers": [{"name": "raw", **RAW}]}})
    ended = await run("serve", "-c", "gateway.yaml", "--stdio", cwd=tmp_path)
    assert (ended.status, ended.out) == (0, "")
    said = {json.loads(line)["level"] for line in ended.err.splitlines()}
    assert (said & {"debug"}, bool(said)) == (levels, bool(levels))


async def test_a_server_runs_in_the_folder_that_its_entry_names(tmp_path: Path) -> None:
    """Its program is found from there, and only from there."""
    shutil.copytree(SCRIPT.parent, tmp_path / "there", ignore=shutil.ignore_patterns("__pycache__"))
    relative = {"name": "raw", **RAW, "args": ["-S", SCRIPT.name, "stdio", "handshake"]}
    for cwd, works in (({"cwd": "there"}, True), ({}, False)):
        config = {"external_mcp": {"servers": [{**relative, **cwd}]}}
        async with running_gateway(tmp_path, config) as gateway:
            assert ("raw__echo" in await exposed(gateway)) is works


@pytest.mark.parametrize("seconds", [0.2, 0.4])
async def test_a_server_has_as_long_to_start_as_its_entry_says(tmp_path: Path, seconds: float) -> None:
    servers = [{"name": "silent", "start_timeout_seconds": seconds, **SILENT}, {"name": "raw", **RAW}]
    async with running_gateway(tmp_path, {"external_mcp": {"servers": servers}}) as gateway:
        assert "raw__echo" in await exposed(gateway)
        shown = {each["name"]: each for each in (await gateway.api("/api/servers"))["servers"]}
    assert (shown["silent"]["state"], shown["raw"]["state"]) == ("down", "up")
    assert f"not ready within {seconds:g} s" in json.dumps(shown["silent"])


@pytest.mark.parametrize(("room", "refuses"), [(1_000_000, True), (100_000_000, False)])
async def test_as_much_waits_for_a_client_that_does_not_read_as_the_limit_says(
    tmp_path: Path, room: int, refuses: bool
) -> None:
    """Sixteen answers of two megabytes, more than sockets hold: beyond the limit its calls are refused."""
    async with raw_server("http-handshake") as raw:
        config: Json = {
            "external_mcp": {"servers": [{"name": "raw", "url": raw.url}]},
            "limits": {"max_backlog_bytes": room},
        }
        async with running_gateway(tmp_path, config) as gateway, http(gateway) as client:
            async with client.stream("GET", "/sse") as response:
                unread = EventStream(response, 1 << 26)
                path = (await unread.next()).data
                sent = [await sent_and_done(gateway, client, path, number) for number in range(16)]
    refused = [response for response in sent if response.status_code == 503]
    assert bool(refused) is refuses
    assert all("limits.max_backlog_bytes" in response.text for response in refused)
    assert {response.status_code for response in sent} == ({202, 503} if refuses else {202})


async def sent_and_done(
    gateway: Running, client: httpx2.AsyncClient, path: str, number: int
) -> httpx2.Response:
    response = await client.post(path, json=call("raw__big", number, bytes=2_000_000))
    await until(lambda: not any(each.calls for each in gateway.gateway.servers()))
    return response
