"""The adapters of OpenAI and Anthropic against a real server with a real model: llama.cpp speaks both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.llm.dialects import IMAGE, WEATHER, text, user
from tests.support.llama_server import KEY, llama_server
from tests.support.llm_gateway import asking_of

Json = dict[str, Any]
FORM = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Ulm", "Oslo"]},
        "nights": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "nights"],
}


def config(provider: str, url: str, **settings: Any) -> Json:
    llm = {
        "provider": provider,
        "model": "smollm2-135m-instruct",
        "base_url": f"{url}/v1" if provider == "openai" else url,
        "api_key_env": "LLAMA_KEY",
        **settings,
    }
    return {
        "sampling": {
            "llm_config": llm,
            "default_sampling_strategy": "magictunnel_handled",
            "max_retry_attempts": 0,
        },
        "elicitation": {"default_elicitation_strategy": "magictunnel_handled"},
    }


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_real_server_answers_as_its_parameters_say(tmp_path: Path, provider: str) -> None:
    async with llama_server() as url, asking_of(tmp_path, config(provider, url), {"LLAMA_KEY": KEY}) as asked:
        said = (await asked.sampling(user("Say hello."), maxTokens=24, temperature=0))["result"]
        leg = await asked.last_leg()
        assert said["content"]["text"].strip()
        assert (leg["provider"], leg["output_tokens"] in range(1, 25)) == (provider, True)
        assert leg["input_tokens"] > 5

        cut = (await asked.sampling(user("Tell me a long story."), maxTokens=5, temperature=0))["result"]
        assert (cut["stopReason"], (await asked.last_leg())["output_tokens"]) == ("maxTokens", 5)

        whole = said["content"]["text"]
        stop = whole.split()[4]
        stopped = await asked.text("Say hello.", stopSequences=[stop], temperature=0, maxTokens=24)
        assert stop not in stopped
        assert whole.startswith(stopped.rstrip())

        alone = user("What is my name? Answer with the name alone.")
        read: list[int] = []
        for turns in (
            [alone],
            [user("I am Ada."), {"role": "assistant", "content": text("Hello, Ada!")}, alone],
        ):
            await asked.sampling(*turns, maxTokens=4)
            read.append((await asked.last_leg())["input_tokens"])
        for more in ({"systemPrompt": "Be very brief."}, {"tools": [WEATHER]}):
            await asked.sampling(alone, maxTokens=4, **more)
            read.append((await asked.last_leg())["input_tokens"])
        # What a model of this size makes of it is its own; that it was given all of it, its tokens tell.
        assert all(count > read[0] for count in read[1:]), read


async def test_a_real_server_holds_an_answer_to_the_schema_of_a_form(tmp_path: Path) -> None:
    """By OpenAI's format; of Anthropic's `output_config` llama.cpp takes no notice."""
    async with llama_server() as url:
        async with asking_of(tmp_path, config("openai", url), {"LLAMA_KEY": KEY}) as asked:
            params = {"message": "Where to, and for how many nights?", "requestedSchema": FORM}
            form = {"method": "elicitation/create", "params": params}
            result = await asked.client.call_tool("raw__ask", {"requests": {"q": form}})
            filled = result.structured_content["answers"]["q"]["result"]
            assert filled["action"] == "accept"
            assert filled["content"]["nights"] in range(1, 10)
            assert asked.person.asked == []


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_what_a_real_server_refuses_has_its_code(tmp_path: Path, provider: str) -> None:
    async with llama_server() as url:
        async with asking_of(tmp_path, config(provider, url), {"LLAMA_KEY": KEY}) as asked:
            blind = await asked.sampling(user("What is it?", IMAGE))
            long = await asked.sampling(user("word " * 6000))
        async with asking_of(tmp_path, config(provider, url), {"LLAMA_KEY": "another-key"}) as asked:
            stranger = await asked.sampling(user("Hello"))
            detail = (await asked.last_leg())["detail"]
    assert long["error"]["data"]["code"] == "E006"
    assert stranger["error"]["data"]["code"] == "E004"
    assert "set a valid key" in detail
    assert "another-key" not in detail
    assert blind["error"]["data"]["code"] == "E008"
