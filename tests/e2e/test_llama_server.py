"""The adapters of OpenAI and Anthropic against a real server with a real model: llama.cpp speaks both."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.llm.dialects import IMAGE, WEATHER, text, user
from tests.support.llama_server import KEY, llama_server
from tests.support.llm_gateway import asking_of
from tests.support.paced import Cell, House, house
from tests.support.parked import said

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]
FORM: Json = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Ulm", "Oslo"]},
        "nights": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "nights"],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url() -> AsyncIterator[str]:
    """The address of the server, which has loaded its model once for all tests here."""
    async with llama_server() as address:
        yield address


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
async def test_a_real_server_answers_as_its_parameters_say(url: str, tmp_path: Path, provider: str) -> None:
    async with asking_of(tmp_path, config(provider, url), {"LLAMA_KEY": KEY}) as asked:
        hello = (await asked.sampling(user("Say hello."), maxTokens=24, temperature=0))["result"]
        leg = await asked.last_leg()
        assert hello["content"]["text"].strip()
        assert (leg["provider"], leg["output_tokens"] in range(1, 25)) == (provider, True)
        assert leg["input_tokens"] > 5

        cut = (await asked.sampling(user("Tell me a long story."), maxTokens=5, temperature=0))["result"]
        assert (cut["stopReason"], (await asked.last_leg())["output_tokens"]) == ("maxTokens", 5)

        whole = hello["content"]["text"]
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


async def test_a_real_server_holds_an_answer_to_the_schema_of_a_form(url: str, tmp_path: Path) -> None:
    """By OpenAI's format; of Anthropic's `output_config` llama.cpp takes no notice."""
    async with asking_of(tmp_path, config("openai", url), {"LLAMA_KEY": KEY}) as asked:
        params = {"message": "Where to, and for how many nights?", "requestedSchema": FORM}
        form = {"method": "elicitation/create", "params": params}
        result = await asked.client.call_tool("raw__ask", {"requests": {"q": form}})
        filled = result.structured_content["answers"]["q"]["result"]
        assert filled["action"] == "accept"
        assert filled["content"]["nights"] in range(1, 10)
        assert asked.person.asked == []


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_what_a_real_server_refuses_has_its_code(url: str, tmp_path: Path, provider: str) -> None:
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


QUESTIONS: dict[str, Json] = {
    "sampling": {
        "method": "sampling/createMessage",
        "params": {"messages": [user("Say hello.")], "maxTokens": 4, "temperature": 0.1},
    },
    "elicitation": {
        "method": "elicitation/create",
        "params": {"message": "Where to, and for how many nights?", "requestedSchema": FORM},
    },
}
GIVEN: dict[str, Json] = {
    "sampling": said("the client speaking"),
    "elicitation": {"action": "accept", "content": {"city": "Oslo", "nights": 3}},
}
ERAS = ("handshake", "modern")
BOTH = {"client": "success", "llm": "success"}
LEGS: dict[str, Json] = {
    "magictunnel_handled": {"llm": "success"},
    "magictunnel_first": {"llm": "success"},
    "parallel": {"llm": "success"},
    "client_forwarded": {"client": "success"},
    "client_first": {"client": "success"},
    "hybrid": BOTH,
}
"""Who is asked, and how that ends. The client answers unless the LLM goes first or `parallel` has it race."""


@asynccontextmanager
async def llama_house(folder: Path, provider: str, url: str) -> AsyncIterator[House]:
    """A house whose model is a real server's."""
    block = config(provider, url)["sampling"]["llm_config"]
    llm = {"llm_config": {**block, "api_key_env": "PROVIDER_KEY"}}
    kinds = {"sampling": llm, "elicitation": llm}
    async with house(folder, servers=("http", "modern"), head_start_ms=60_000, key=KEY, **kinds) as h:
        yield h


async def ended(call: Any) -> Json:
    """The metadata of the answer that the server got in a call."""
    answer = (await call.end())["result"]["structuredContent"]["answers"]["q"]
    return answer.get("result", answer)["_meta"]["backchannel/routing"]


@pytest.mark.extensive
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("provider", "kind"), [("openai", "sampling"), ("openai", "elicitation"), ("anthropic", "sampling")]
)
async def test_a_real_server_takes_part_in_every_strategy(
    url: str, tmp_path: Path, provider: str, kind: str
) -> None:
    """For both eras; forms in OpenAI's format, which alone the server holds to a schema."""
    async with llama_house(tmp_path, provider, url) as h:
        for strategy, client, server in itertools.product(LEGS, ERAS, ("http", "modern")):
            call = h.call(Cell(strategy, kind, client, server), QUESTIONS[kind])
            if "client" in LEGS[strategy]:
                await call.answer({"result": GIVEN[kind]})
            stamp = await ended(call)
            expected = LEGS[strategy]
            if (strategy, kind, client) == ("parallel", "sampling", "handshake"):
                expected = {"llm": "success", "client": "cancelled"}
                assert call.withdrawn
            legs = {leg["source"]: leg for leg in stamp["legs"]}
            where = (strategy, client, server)
            assert {source: leg["outcome"] for source, leg in legs.items()} == expected, where
            if "llm" in legs:
                assert legs["llm"]["provider"] == provider
                assert legs["llm"]["tokens"]["output"] > 0
            if strategy == "hybrid":
                assert stamp["combined_responses"] == 2
            else:
                assert stamp["source"] == next(iter(expected)), where


@pytest.mark.extensive
@pytest.mark.timeout(180)
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_real_server_is_stopped_when_the_client_is_quicker(
    url: str, tmp_path: Path, provider: str
) -> None:
    """It has places for two: a third question is answered, since those that lost have left theirs."""
    long = {**QUESTIONS["sampling"], "params": {**QUESTIONS["sampling"]["params"], "maxTokens": 3000}}
    async with llama_house(tmp_path, provider, url) as h:
        for _ in range(3):
            call = h.call(Cell("parallel", "sampling", "handshake", "http"), long)
            await call.answer({"result": GIVEN["sampling"]})
            stamp = await ended(call)
            assert [(leg["source"], leg["outcome"]) for leg in stamp["legs"]] == [
                ("client", "success"),
                ("llm", "cancelled"),
            ]
        call = h.call(Cell("magictunnel_handled", "sampling", "handshake", "http"), QUESTIONS["sampling"])
        assert (await ended(call))["source"] == "llm"
