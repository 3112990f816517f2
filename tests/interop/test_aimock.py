"""The official SDKs of three providers against a third party's idea of their services: npm aimock.

Its journal holds what arrived, its chaos is what services do on bad days. All through a whole
gateway, with a real server that asks.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.interop.clients import INSTALLED, NODE
from tests.llm.dialects import IMAGE, WEATHER, user
from tests.support.llm_gateway import Asking, asking_of

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

Json = dict[str, Any]
SCRIPT = Path(__file__).with_name("aimock.mjs")
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}
PROVIDERS = tuple(PATHS)
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
FIXTURES: list[Json] = [
    {"match": {"toolCallId": "call_1"}, "response": {"content": "It is cold.", "usage": USAGE}},
    {
        "match": {"userMessage": "weather"},
        "response": {
            "toolCalls": [{"id": "call_1", "name": "get_weather", "arguments": '{"city": "Oslo"}'}],
            "usage": USAGE,
        },
    },
    {"match": {"userMessage": "hello"}, "response": {"content": "Hi there!", "usage": USAGE}},
    {"match": {"userMessage": "cut"}, "response": {"content": "half", "finishReason": "length"}},
    {
        "match": {"userMessage": "key"},
        "response": {"error": {"message": "no such key", "type": "authentication_error"}, "status": 401},
    },
    {
        "match": {"userMessage": "busy", "sequenceIndex": 0},
        "response": {"error": {"message": "slow down", "type": "rate_limit_error"}, "status": 429,
                     "retryAfter": 1},
    },
    {"match": {"userMessage": "busy"}, "response": {"content": "not any more"}},
    {
        "match": {"userMessage": "broken"},
        "response": {"error": {"message": "oh no", "type": "server_error"}, "status": 500},
    },
    {"match": {"userMessage": "reset"}, "response": {"content": "x"}, "chaos": {"disconnectRate": 1}},
    {"match": {"userMessage": "garbled"}, "response": {"content": "x"}, "chaos": {"malformedRate": 1}},
    {"match": {"userMessage": "slow"}, "response": {"content": "x"}, "chaos": {"latencyMs": 30000}},
]  # fmt: skip


@dataclass
class Mocked:
    """A gateway whose provider is aimock, and aimock's journal."""

    asked: Asking
    url: str

    async def journal(self) -> list[Json]:
        """Every request that arrived, oldest first."""
        async with httpx2.AsyncClient() as http:
            return (await http.get(f"{self.url}/__aimock/journal")).json()

    async def body(self) -> str:
        """The last request's body, as aimock read it."""
        return json.dumps((await self.journal())[-1]["body"])


@asynccontextmanager
async def aimock(folder: Path) -> AsyncIterator[str]:
    fixtures = folder / "fixtures.json"
    fixtures.write_text(json.dumps(FIXTURES))
    process = await asyncio.create_subprocess_exec(
        NODE, str(SCRIPT), str(INSTALLED), str(fixtures),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def mocked(folder: Path, provider: str, *, retries: int = 0, **settings: Any) -> AsyncIterator[Mocked]:
    async with aimock(folder) as url:
        llm = {
            "provider": provider,
            "model": "a-model",
            "base_url": f"{url}/v1" if provider == "openai" else url,
            "api_key_env": "TEST_LLM_KEY",
            **settings,
        }
        config = {
            "sampling": {
                "llm_config": llm,
                "default_sampling_strategy": "magictunnel_handled",
                "max_retry_attempts": retries,
            }
        }
        async with asking_of(folder, config) as asked:
            yield Mocked(asked, url)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_text_image_turns_and_parameters_arrive_and_usage_comes_back(tmp_path, provider: str) -> None:
    async with mocked(tmp_path, provider) as mock:
        said = await mock.asked.sampling(
            user("first"),
            {"role": "assistant", "content": {"type": "text", "text": "second"}},
            user("hello", IMAGE),
            systemPrompt="Be brief.",
            stopSequences=["END", "STOP"],
            maxTokens=33,
        )
        (entry,) = await mock.journal()
        body = await mock.body()
        leg = await mock.asked.last_leg()
    assert said["result"]["content"] == {"type": "text", "text": "Hi there!"}
    assert said["result"]["stopReason"] == "endTurn"
    assert entry["path"] == PATHS[provider]
    for part in ("first", "second", "hello", "Be brief."):
        assert part in body, part
    # What the journal leaves out of a format, tests/llm shows byte by byte.
    assert (IMAGE["data"] in body) == (provider == "openai")
    assert ("END" in body) == (provider == "openai")
    if provider != "ollama":
        assert "33" in body
        assert (leg["input_tokens"], leg["output_tokens"]) == (11, 7)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_tool_is_called_and_its_result_answered(tmp_path: Path, provider: str) -> None:
    question = user("What is the weather?")
    async with mocked(tmp_path, provider) as mock:
        called = (await mock.asked.sampling(question, tools=[WEATHER]))["result"]
        assert called["stopReason"] == "toolUse"
        blocks = called["content"] if isinstance(called["content"], list) else [called["content"]]
        (use,) = [block for block in blocks if block["type"] == "tool_use"]
        assert (use["name"], use["input"]) == ("get_weather", {"city": "Oslo"})
        result = {
            "type": "tool_result",
            "toolUseId": use["id"],
            "content": [{"type": "text", "text": "-5 °C"}],
        }
        turns = [question, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
        answered = await mock.asked.sampling(*turns, tools=[WEATHER])
        body = await mock.body()
    assert "-5" in body
    assert "get_weather" in body
    if provider != "ollama":  # which knows no ids of calls
        assert answered["result"]["content"] == {"type": "text", "text": "It is cold."}


@pytest.mark.parametrize("provider", ["openai", "anthropic"])  # aimock's Ollama always says "stop"
async def test_an_answer_that_was_cut_off_says_so(tmp_path: Path, provider: str) -> None:
    async with mocked(tmp_path, provider) as mock:
        assert (await mock.asked.sampling(user("cut")))["result"]["stopReason"] == "maxTokens"


@pytest.mark.parametrize(
    ("fault", "code", "tries"),
    [("key", "E004", 1), ("broken", "E008", 2), ("reset", "E008", 2), ("garbled", "E008", 2),
     ("slow", "E002", 2)],
)  # fmt: skip
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_each_bad_day_has_its_code_and_its_number_of_tries(
    tmp_path: Path, provider: str, fault: str, code: str, tries: int
) -> None:
    settings = {"timeout_seconds": 0.3} if fault == "slow" else {}
    async with mocked(tmp_path, provider, retries=1, **settings) as mock:
        error = (await mock.asked.sampling(user(fault)))["error"]
        leg = await mock.asked.last_leg()
    assert error["data"]["code"] == code
    assert [attempt["code"] for attempt in leg["attempts"]] == [code] * tries


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_rate_limit_is_waited_for_as_long_as_the_service_asks(tmp_path: Path, provider: str) -> None:
    async with mocked(tmp_path, provider, retries=1) as mock:
        assert await mock.asked.text("busy") == "not any more"
        leg = await mock.asked.last_leg()
    assert [attempt["code"] for attempt in leg["attempts"]] == ["E003", None]
    assert leg["seconds"] >= (0.9 if provider != "ollama" else 0)
