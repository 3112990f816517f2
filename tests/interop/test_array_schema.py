"""A tool whose output is an array, as 2026-07-28 allows, beside clients of the handshake era."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.interop.clients import ERA, KINDS, Kind, Step, converse
from tests.support.gateway import running_gateway
from tests.support.raw import strangeness
from tests.support.raw.peers import entry_of, raw_server
from tests.support.raw.strangeness import ARRAY, NUMBERS

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

SCRIPT = Path(strangeness.__file__).with_name("strange.py")


async def test_the_typescript_client_refuses_a_whole_list_for_one_such_tool(tmp_path: Path) -> None:
    async with raw_server("stdio-handshake", "--array", script=SCRIPT) as raw:
        assert raw.command is not None
        with pytest.raises(AssertionError, match="the client failed; its error is above"):
            await converse("typescript", [raw.command, *raw.args], [Step("tools/list")], tmp_path)


@pytest.mark.parametrize("kind", KINDS)
async def test_through_the_gateway_it_costs_no_client_the_rest_of_the_list(
    tmp_path: Path, kind: Kind
) -> None:
    async with raw_server("stdio-modern", "--array", script=SCRIPT) as raw:
        config = {"servers": [entry_of("now", raw)]}
        async with running_gateway(tmp_path, {"external_mcp": config}) as gateway:
            steps = [Step("tools/list"), Step("tools/call", {"name": "now__numbers", "arguments": {}})]
            seen = await converse(kind, gateway.url, steps, tmp_path)
    listed, called = (each["result"] for each in seen.results)
    tools: dict[str, Any] = {tool["name"]: tool for tool in listed["tools"]}
    assert list(tools) == ["now__numbers", "now__strange", "now__echo", "now__fail", "now__seen"]
    if ERA[kind] == "modern":
        assert tools["now__numbers"]["outputSchema"] == ARRAY["outputSchema"]
        assert called["structuredContent"] == NUMBERS["structuredContent"]
    else:
        assert tools["now__numbers"].get("outputSchema") is None
        assert called.get("structuredContent") is None
        assert "[1,2.5]" in "".join(block["text"].replace(" ", "") for block in called["content"])
