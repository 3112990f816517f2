"""What README.md tells people to write works as it stands there."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.support.command_line import ROOT, environment, run, serving

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


async def test_its_configuration_has_no_problems_and_each_level_wins_where_it_says(tmp_path: Path) -> None:
    keys = {"ANTHROPIC_API_KEY": "k" * 20, "SEARCH_TOKEN": "t" * 20}
    for block in blocks("yaml"):
        file = tmp_path / block.partition("\n")[0].removeprefix("# ")
        file.parent.mkdir(exist_ok=True)
        file.write_text(block)
    checked = await run("check", "-c", "gateway.yaml", cwd=tmp_path, **keys)
    assert (checked.status, checked.err) == (0, "")
    for asks, winner in (
        (("-s", "everything", "-t", "trigger-sampling-request"), "client_forwarded, level 1 tool"),
        (("-s", "search"), "magictunnel_handled, level 2 external server"),
        (("-s", "everything", "-t", "echo"), "client_first, level 3 organization"),
    ):
        told = await run("explain", "-c", "gateway.yaml", *asks, "--kind", "sampling", cwd=tmp_path, **keys)
        assert f"because: {winner}" in told.out


async def test_its_agent_is_asked_by_the_example_server(tmp_path: Path) -> None:
    (script,) = blocks("python")
    example: dict[str, Any] = YAML(typ="safe").load(ROOT / "config" / "external_mcp_servers.yaml")
    ask = {**example["mcpServers"]["ask"], "command": sys.executable, "cwd": str(ROOT)}
    async with serving(tmp_path, {"external_mcp": {"servers": [{"name": "ask", **ask}]}}) as served:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            script.replace("http://127.0.0.1:8080/mcp", served.url),
            stdout=asyncio.subprocess.PIPE,
            env=environment(tmp_path),
        )
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert "[ask] A table for 2 on Friday" in out.decode()
    assert "Booked: a table for 2 on Friday, inside." in out.decode()
