"""`backchannel serve`: its one line, its ends, its door, and what it shows operators."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import httpx2

from gateway import __version__
from tests.support.clients import Person, accepted, connect
from tests.support.command_line import Served, run, serving, write
from tests.support.listening import free_port_socket
from tests.support.parties import ELICITATION
from tests.support.processes import descendants, none_left, stop
from tests.support.raw.peers import SCRIPT

ASK: dict[str, Any] = {
    "name": "ask",
    "command": sys.executable,
    "args": ["-S", str(SCRIPT), "stdio", "handshake"],
}
DEAD: dict[str, Any] = {"name": "dead", "command": "a-program-that-is-not-there"}


def servers(*listed: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"external_mcp": {"servers": list(listed)}, **more}


async def test_one_line_says_where_it_is_and_how_its_servers_are_and_sigterm_ends_it(tmp_path: Path) -> None:
    config = servers(ASK, DEAD)
    async with serving(tmp_path, config) as served:
        told = re.fullmatch(
            r"backchannel (\S+) ready on http://127\.0\.0\.1:(\d+)/mcp — 2 servers: "
            r"ask \(up, (\d+) tools\), dead \(down: (.*)\)",
            served.line,
        )
        assert told, served.line
        version, port, tools, reason = told.groups()
        assert version == __version__
        assert int(port) > 0
        assert int(tools) > 5
        assert "'a-program-that-is-not-there' was not found" in reason
        children = descendants(served.process.pid)
        assert children
        status = await stop(served.process)
        assert served.process.stdout is not None
        rest = await served.process.stdout.read()
    assert (status, rest) == (0, b"")
    await none_left(children)


async def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, servers())
    with free_port_socket() as taken:
        port = taken.getsockname()[1]
        ended = await run("serve", "-c", "gateway.yaml", "--port", str(port), cwd=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("backchannel: ")
    assert f"{port} on 127.0.0.1 is in use" in line
    assert "choose another with --port" in line


async def test_other_machines_are_let_in_only_with_keys_or_on_purpose(tmp_path: Path) -> None:
    write(tmp_path, servers())
    ended = await run("serve", "-c", "gateway.yaml", "--host", "0.0.0.0", "--port", "0", cwd=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert "http.host" in ended.err
    assert "--insecure" in ended.err
    async with serving(tmp_path, servers(), "--host", "0.0.0.0", "--insecure") as served:
        assert served.url.startswith("http://0.0.0.0:")
        assert await stop(served.process) == 0


async def test_a_wrong_key_in_the_file_stops_it_before_it_starts(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("http:\n  prot: 1\nauht: {}\n")
    ended = await run("serve", "-c", "gateway.yaml", cwd=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == (
        "gateway.yaml:2: http.prot: unknown key 'prot'\n    fix: did you mean 'port'?\n"
        "gateway.yaml:3: auht: unknown key 'auht'\n    fix: did you mean 'auth'?\n"
        "2 problems in the configuration\n"
    )


async def get(served: Served, path: str, **headers: str) -> tuple[int, Any]:
    async with httpx2.AsyncClient(base_url=served.base) as client:
        response = await client.get(path, headers={name.title(): value for name, value in headers.items()})
        return response.status_code, response.json()


async def test_operators_see_health_servers_and_decisions(tmp_path: Path) -> None:
    config = servers(ASK, DEAD)
    async with serving(tmp_path, config) as served:
        person = Person(elicitation=accepted(colour="blue"))
        async with connect(served.url, person) as client:
            await client.call_tool("ask__ask", {"requests": {"q": ELICITATION}})
        assert await get(served, "/health") == (200, {"status": "ok"})
        assert await get(served, "/ready") == (200, {"status": "ready"})
        _, shown = await get(served, "/api/servers")
        assert {server["name"]: server["state"] for server in shown["servers"]} == {
            "ask": "up",
            "dead": "down",
        }
        _, log = await get(served, "/api/decisions?kind=elicitation")
        (decision,) = log["decisions"]
        assert (decision["server"], decision["source"]) == ("ask", "client")
        assert (decision["strategy"], decision["path"]) == ("client_forwarded", "built in")
        for header in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
            status, refusal = await get(served, "/api/decisions", **header)
            assert status == 403
            assert "evil.example" in refusal["error"]["message"]
        assert (await get(served, "/api/decisions?limit=no"))[0] == 400


async def test_pages_for_operators_need_a_key_where_keys_are_configured(tmp_path: Path) -> None:
    config = servers(auth={"keys": [{"principal": "ops", "key_env": "OPS_KEY"}]})
    async with serving(tmp_path, config, OPS_KEY="correct-horse") as served:
        for path in ("/api/decisions", "/api/servers"):
            for headers in ({}, {"authorization": "Bearer wrong"}):
                status, refusal = await get(served, path, **headers)
                assert status == 401
                assert "API key" in refusal["error"]["message"]
            assert (await get(served, path, authorization="Bearer correct-horse"))[0] == 200
        assert (await get(served, "/health"))[0] == 200
