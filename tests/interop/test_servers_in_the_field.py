"""Third-party servers behind one gateway: the TypeScript SDK's server-everything, and mcp-server-time.

The gateway's LLM is the real model in the process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import DECLINED, Mode, Person, accepted, connect, sampled, text_of
from tests.support.gateway import Running, running_gateway

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

INSTALLED = Path(__file__).resolve().parents[2] / ".cache" / "interop"
EVERYTHING = INSTALLED / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
FORM = "everything__trigger-elicitation-request"
SAMPLE = "everything__trigger-sampling-request"


def config() -> dict[str, Any]:
    assert EVERYTHING.exists(), "the third-party servers are not installed: run scripts/interop"
    return {
        "sampling": {
            "default_sampling_strategy": "magictunnel_first",
            "llm_config": {"provider": "local"},
        },
        "elicitation": {"default_elicitation_strategy": "client_forwarded"},
        "external_mcp": {
            "servers": [
                {
                    "name": "everything",
                    "command": str(INSTALLED / "bin" / "node"),
                    "args": [str(EVERYTHING), "stdio"],
                },
                {"name": "time", "command": sys.executable, "args": ["-m", "mcp_server_time"]},
            ]
        },
    }


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_gateway(tmp_path, config()) as gateway:
        yield gateway


@pytest.mark.parametrize("mode", ["handshake", "modern"])
async def test_the_model_in_the_process_answers_their_sampling(running: Running, mode: Mode) -> None:
    person = Person(sampling=sampled("never asked"), elicitation=DECLINED)
    async with connect(running.url, person, mode) as client:
        await client.list_tools()
        result = text_of(await client.call_tool(SAMPLE, {"prompt": "Say hello.", "maxTokens": 12}))
    answer = json.loads(result.partition("\n")[2])
    assert answer["model"].startswith("SmolLM2-135M-Instruct")
    assert answer["content"]["text"]
    assert answer["_meta"]["backchannel/routing"]["source"] == "llm"
    assert person.asked == []
    (decision,) = await running.decisions()
    assert (decision["server"], decision["source"]) == ("everything", "llm")


@pytest.mark.parametrize("mode", ["handshake", "modern"])
async def test_the_client_answers_their_elicitation(running: Running, mode: Mode) -> None:
    person = Person(elicitation=accepted(name="Ada", check=True))
    async with connect(running.url, person, mode) as client:
        await client.list_tools()
        result = await client.call_tool(FORM, {})
    shown = " ".join(content.text for content in result.content if content.type == "text")
    assert "Ada" in shown
    (form,) = person.questions("elicitation/create")
    assert form["message"].startswith("[everything] ")
    assert "firstLine" in form["requestedSchema"]["properties"]


@pytest.mark.parametrize("mode", ["handshake", "modern"])
async def test_who_cannot_be_asked_is_not_shown_a_tool_that_would_ask(running: Running, mode: Mode) -> None:
    async with connect(running.url, Person(), mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
    assert SAMPLE in names
    assert FORM not in names


@pytest.mark.parametrize("mode", ["handshake", "modern"])
async def test_both_servers_are_one_catalog(running: Running, mode: Mode) -> None:
    steps: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with connect(running.url, None, mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        time = json.loads(text_of(await client.call_tool("time__get_current_time", {"timezone": "UTC"})))
        total = text_of(await client.call_tool("everything__get-sum", {"a": 2, "b": 3}))
        image = await client.call_tool("everything__get-tiny-image", {})
        prompts = {prompt.name for prompt in (await client.list_prompts()).prompts}
        resources = (await client.list_resources()).resources
        read = await client.read_resource(str(resources[0].uri))
        await client.call_tool(
            "everything__trigger-long-running-operation",
            {"duration": 0.3, "steps": 3},
            progress_callback=on_progress,
        )
    assert {"time__get_current_time", "everything__echo"} <= names
    assert time["timezone"] == "UTC"
    assert "5" in total
    assert "image" in {content.type for content in image.content}
    assert "everything__simple-prompt" in prompts
    assert read.contents
    assert steps == [1, 2, 3]
