"""The doctor tells what clients do not see, why, and nothing that is secret."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.support.command_line import run, write
from tests.support.merged import ANYTHING, SAYING, offering

TASKS = {"requests": {"tools": {"call": {}}}}


async def test_it_names_hidden_tools_patterns_that_match_nothing_and_clashes(tmp_path: Path) -> None:
    must = {"name": "must", "inputSchema": ANYTHING, "execution": {"taskSupport": "required"}}
    listed = [must, *({"name": name, "inputSchema": ANYTHING} for name in ("read", "write", "drop"))]
    says = {**offering("handshake", tools={}, tasks=TASKS), "tools/list": {"tools": listed}}
    says["resources/list"] = {"resources": [{"uri": "x:///1", "name": "one"}]}
    says["initialize"]["capabilities"]["resources"] = {}
    args = ["-S", str(SAYING), "stdio", "handshake", "--says", json.dumps(says)]
    server = {"command": sys.executable, "args": args}
    servers = [
        {"name": "a", **server, "deny": ["dr*", "nothing"]},
        {"name": "b", **server, "allow": ["read"]},
    ]
    (tmp_path / "capabilities").mkdir()
    (tmp_path / "capabilities" / "tools.yaml").write_text(
        "tools:\n  - {name: a__drop, elicitation_strategy: client_forwarded}\n"
    )
    write(tmp_path, {"external_mcp": {"servers": servers}})
    ended = await run("doctor", "--config", "gateway.yaml", cwd=tmp_path)
    assert ended.status == 0, ended.out + ended.err
    notes = [line.removeprefix("! ") for line in ended.out.splitlines() if line.startswith("! ")]
    for words in (
        "hidden of server 'a': drop: deny has 'dr*'",
        "hidden of server 'a': must: it can only be called as a task, and the gateway offers none",
        "hidden of server 'b': must, write, drop: no pattern of allow matches",
        "'nothing' in deny of server 'a' (",
        "resource 'x:///1' of server 'b' is hidden: server 'a' exposes the same",
        "no tool is called 'a__drop'",
    ):
        assert len([note for note in notes if words in note]) == 1, (words, notes)
    assert "nothing is broken, 6 things to look at above" in ended.out
    (row,) = [line.split() for line in ended.out.splitlines() if " stdio " in line and " a " in line]
    assert row[row.index("2025-11-25") + 1] == "2"


async def test_it_shows_no_header_and_no_variable_of_a_server(tmp_path: Path) -> None:
    headers = {"Authorization": "Bearer ${TOKEN}", "X-Own": "${TOKEN}"}
    servers = [
        {"name": "gone", "url": "http://127.0.0.1:9/mcp", "headers": headers},
        {"name": "dies", "command": "false", "env": {"KEY": "${TOKEN}"}},
    ]
    write(tmp_path, {"external_mcp": {"servers": servers}})
    ended = await run("doctor", "--config", "gateway.yaml", cwd=tmp_path, TOKEN="quite-s3cr3t")
    assert ended.status == 1
    assert "quite-s3cr3t" not in ended.out + ended.err
