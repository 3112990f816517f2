"""Clients nobody here wrote answer what servers of either era ask: the TypeScript SDKs, and the Inspector."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.interop.clients import INSTALLED, Step, converse, node
from tests.support.gateway import Running, running_gateway
from tests.support.parked import answered, blue, said
from tests.support.parties import ELICITATION, ENVIRON, SAMPLING, llm_config, speaking_llm
from tests.support.raw.peers import raw_server
from tests.support.raw.stage import Show, Stage, staged

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

Json = dict[str, Any]
SCRIPT = Path(__file__).parent / "client_v2.mjs"
INSPECTOR = INSTALLED / "node_modules" / ".bin" / "mcp-inspector"
ANSWERS: Json = {"sampling": said(), "elicitation": blue(), "roots": {"roots": [{"uri": "file:///home"}]}}


async def ask_twice(show: Show) -> Json:
    await show.progress(1)
    await show.ask_all(ELICITATION, SAMPLING)
    await show.progress(2)
    return answered(await show.ask(ELICITATION["method"], ELICITATION["params"]))


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway before a handshake-era server `s` and one of 2026-07-28, `m`."""
    async with AsyncExitStack() as stack:
        llm = await stack.enter_async_context(speaking_llm())
        modern = await stack.enter_async_context(raw_server("http-modern"))
        url = await stack.enter_async_context(staged(Stage(ask=ask_twice)))
        servers = [{"name": "s", "url": url}, {"name": "m", "url": modern.url}]
        config: Json = {
            "sampling": {"llm_config": llm_config(llm)},
            "elicitation": {"default_elicitation_strategy": "client_first"},
            "external_mcp": {"servers": servers},
        }
        yield await stack.enter_async_context(running_gateway(tmp_path, config, ENVIRON))


MODERN_CALL: Json = {"name": "m__ask", "arguments": {"requests": {"a": ELICITATION, "b": SAMPLING}}}


def check_answers(results: list[Json]) -> None:
    parked, stateless = (result["result"] for result in results)
    assert parked["structuredContent"]["answer"]["content"] == blue()["content"]
    got = stateless["structuredContent"]["answers"]
    assert got["a"]["content"] == blue()["content"]
    assert got["b"]["model"] == "client-model"


@pytest.mark.parametrize("era", ["handshake", "modern"])
async def test_the_second_typescript_sdk_answers_in_both_eras(
    running: Running, tmp_path: Path, era: str
) -> None:
    steps = [{"params": {"name": "s__ask", "arguments": {}}, "progress": True}, {"params": MODERN_CALL}]
    script = tmp_path / "script.json"
    script.write_text(
        json.dumps({"target": running.url, "era": era, "answers": ANSWERS, "steps": steps, "headers": {}})
    )
    seen = await node(SCRIPT, INSTALLED, script)
    assert seen["era"] == {"handshake": "legacy", "modern": "modern"}[era]
    check_answers(seen["results"])
    assert sorted(method for method, _ in seen["asked"]) == [
        *["elicitation/create"] * 3,
        *["sampling/createMessage"] * 2,
    ]
    # For each round this SDK reports progress of its own, with a message.
    assert [each["progress"] for each in seen["progress"] if "message" not in each] == [1, 2]
    decisions = await running.decisions()
    assert {decision["source"] for decision in decisions} == {"client"}


async def test_the_first_typescript_sdk_answers(running: Running, tmp_path: Path) -> None:
    steps = [
        Step("tools/call", {"name": "s__ask", "arguments": {}}, progress=True),
        Step("tools/call", MODERN_CALL),
    ]
    seen = await converse("typescript", running.url, steps, tmp_path, ANSWERS)
    check_answers(seen.results)
    assert len(seen.asked) == 5


async def test_the_inspector_lists_and_calls_and_the_llm_answers_in_its_place(running: Running) -> None:
    """It can answer nothing from the command line: policy hands its questions to the LLM."""
    target = [running.url, "--transport", "http"]
    listed = await node(INSPECTOR, "--cli", *target, "--method", "tools/list")
    assert {"s__ask", "m__echo"} <= {tool["name"] for tool in listed["tools"]}
    called = await node(INSPECTOR, "--cli", *target, "--method", "tools/call", "--tool-name", "s__ask")
    assert called["structuredContent"]["answer"]["content"] == {"colour": "llm blue"}
