"""Each provider answers what a real server asks; each way it can fail is told to that server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.llm.dialects import DIALECTS, IMAGE, Dialect, anthropic_said, openai_said, user
from tests.support.llm_gateway import Asking, asking_of
from tests.support.scripted_http import ScriptedHttp, Step, answer, reset, scripted_http, silence, truncated

Json = dict[str, Any]
KEY = "sk-test-of-the-provider"
BY_NAME = {dialect.name: dialect for dialect in DIALECTS}


@dataclass
class AskingService(Asking):
    """A gateway whose LLM is one scripted service, and a server that asks it."""

    service: ScriptedHttp = field(kw_only=True)


@asynccontextmanager
async def asking(
    folder: Path, provider: Json, *script: Step, strategy: str = "magictunnel_handled", retries: int = 0
) -> AsyncIterator[AskingService]:
    async with scripted_http(*script) as service:
        llm = {
            key: value.replace("URL", service.url) if isinstance(value, str) else value
            for key, value in provider.items()
        }
        sampling = {
            "llm_config": llm,
            "default_sampling_strategy": strategy,
            "max_retry_attempts": retries,
        }
        async with asking_of(folder, {"sampling": sampling}, {"PROVIDER_KEY": KEY}) as asked:
            yield AskingService(**vars(asked), service=service)


def provider(name: str, **settings: Any) -> Json:
    base = "URL/v1" if name == "openai" else "URL"
    return {"provider": name, "model": "a-model", "base_url": base, "api_key_env": "PROVIDER_KEY", **settings}


@pytest.mark.parametrize("name", list(BY_NAME))
async def test_a_request_reaches_the_service_whole_and_its_answer_the_server(
    tmp_path: Path, name: str
) -> None:
    dialect = BY_NAME[name]
    script = [answer(dialect.said("first")), answer(dialect.said("second"))]
    async with asking(tmp_path, provider(name), *script) as asked:
        said = await asked.sampling(
            user("Hello"),
            {"role": "assistant", "content": {"type": "text", "text": "Hi"}},
            user("What is on it?", IMAGE),
            systemPrompt="Be brief.",
            maxTokens=33,
            temperature=0.25,
            stopSequences=["END", "STOP"],
        )
        sent = asked.service.last
        await asked.sampling(user("Again"))
        decisions = await asked.gateway.decisions()
    result = said["result"]
    assert (result["role"], result["content"]) == ("assistant", {"type": "text", "text": "first"})
    assert result["stopReason"] == "endTurn"
    assert sent.path == dialect.path
    assert KEY.encode() in sent.raw
    body = sent.body.decode()
    for part in ("Hello", "Hi", "What is on it?", IMAGE["data"], "Be brief.", "END", "STOP", "33", "0.25"):
        assert part in body, part
    assert [decision["source"] for decision in decisions] == ["llm", "llm"]
    leg = decisions[0]["legs"][0]
    assert (leg["provider"], leg["input_tokens"], leg["output_tokens"]) == (name, 11, 7)
    assert asked.person.asked == []


@pytest.mark.parametrize(
    ("name", "said", "reason"),
    [
        ("openai", openai_said("cut", finish="length"), "maxTokens"),
        ("anthropic", anthropic_said("cut", stop="max_tokens"), "maxTokens"),
        ("anthropic", anthropic_said("cut", stop="stop_sequence"), "stopSequence"),
        ("ollama", {**BY_NAME["ollama"].said("cut"), "done_reason": "length"}, "maxTokens"),
    ],
)
async def test_why_an_answer_ended_is_told_in_the_protocols_words(tmp_path, name, said, reason) -> None:
    async with asking(tmp_path, provider(name), answer(said)) as asked:
        assert (await asked.sampling(user("Go on")))["result"]["stopReason"] == reason


async def test_the_model_in_the_process_answers_a_real_server(tmp_path: Path) -> None:
    async with asking(tmp_path, {"provider": "local"}) as asked:
        said = (await asked.sampling(user("Say hello."), maxTokens=24, temperature=0))["result"]
        assert said["content"]["text"].strip()
        assert "smollm2" in said["model"].lower()
        cut = (await asked.sampling(user("Tell me a long story."), maxTokens=5, temperature=0))["result"]
        assert cut["stopReason"] == "maxTokens"
        stopped = (await asked.sampling(user("Say: a, b, c, d, e"), stopSequences=[","], temperature=0))[
            "result"
        ]
        assert "," not in stopped["content"]["text"]
        refused = (await asked.sampling(user("What is it?", IMAGE)))["error"]
        assert (refused["code"], refused["data"]["code"]) == (-32603, "E004")
        # A provider's own words are for the operator, not for the server.
        assert "image" in (await asked.gateway.decisions())[-1]["legs"][0]["detail"]


def failures(dialect: Dialect) -> dict[str, tuple[list[Step], Json, str, int]]:
    """Each failure: what the service does, its settings, our code for it, and how often it is asked."""
    error = dialect.error
    return {
        "401": ([answer(error("invalid_api_key", "no such key"), status=401)], {}, "E004", 1),
        "400": ([answer(error("bad_request", "what?"), status=400)], {}, "E004", 1),
        "404": ([answer(error("model_not_found", "no such model"), status=404)], {}, "E008", 1),
        "429": (
            [answer(error("rate_limit", "slow down"), status=429, headers={"retry-after": "0"})] * 2,
            {},
            "E003",
            2,
        ),
        "500": ([answer(error("server_error", "oh no"), status=500)] * 2, {}, "E008", 2),
        "reset": ([reset(), reset()], {}, "E008", 2),
        "truncated": ([truncated(dialect.said("half"))] * 2, {}, "E008", 2),
        "silence": ([silence(), silence()], {"timeout_seconds": 0.2}, "E002", 2),
    }


@pytest.mark.parametrize("failure", list(failures(BY_NAME["openai"])))
@pytest.mark.parametrize("name", list(BY_NAME))
async def test_a_failing_service_is_told_to_the_server_by_code(tmp_path, name, failure) -> None:
    script, settings, code, times = failures(BY_NAME[name])[failure]
    async with asking(tmp_path, provider(name, **settings), *script, retries=1) as asked:
        error = (await asked.sampling(user("Hello")))["error"]
        assert len(asked.service.requests) == times
        assert asked.service.unexpected == []
    assert error["code"] == -32603
    assert error["data"]["code"] == code, error
    assert error["data"]["suggestedAction"]
    (leg,) = error["data"]["legs"]
    assert (leg["source"], leg["outcome"]) == ("llm", "timed_out" if failure == "silence" else "failed")
    assert KEY not in str(error)


@pytest.mark.parametrize("failure", ["401", "429", "500", "reset", "silence"])
async def test_a_failing_service_is_replaced_by_the_client_where_policy_says_so(tmp_path, failure) -> None:
    script, settings, _, _ = failures(BY_NAME["openai"])[failure]
    kind = provider("openai", **settings)
    async with asking(tmp_path, kind, *script, strategy="magictunnel_first", retries=1) as asked:
        said = (await asked.sampling(user("Hello")))["result"]
        (decision,) = await asked.gateway.decisions()
    assert said["content"]["text"] == "the client speaking"
    routing = said["_meta"]["backchannel/routing"]
    assert (routing["source"], routing["hybrid_processing_mode"]) == ("client", "local_first_fallback")
    assert routing["fallback_reason"]
    assert [leg["source"] for leg in decision["legs"]] == ["llm", "client"]


async def test_a_service_that_recovers_is_asked_again_and_answers(tmp_path: Path) -> None:
    dialect = BY_NAME["openai"]
    script = [
        answer(dialect.error("rate_limit", "slow down"), status=429, headers={"retry-after": "0"}),
        answer(dialect.said("now")),
    ]
    async with asking(tmp_path, provider("openai"), *script, retries=2) as asked:
        assert (await asked.sampling(user("Hello")))["result"]["content"]["text"] == "now"
        (decision,) = await asked.gateway.decisions()
    assert [attempt["code"] for attempt in decision["legs"][0]["attempts"]] == ["E003", None]
