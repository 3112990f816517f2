from __future__ import annotations

import base64
from contextlib import aclosing
from typing import Any

import pytest

from gateway.errors import ProviderError
from gateway.llm.port import Completion, Prompt
from tests.llm.dialects import (
    AUDIO,
    IMAGE,
    PNG,
    SCHEMA,
    TOOL_TURN,
    WEATHER,
    make_ollama,
    ollama_said,
    prompt,
    text,
    user,
)
from tests.support.scripted_http import ScriptedHttp, answer, scripted_http


async def exchange(asked: Prompt, reply: dict[str, Any] | None = None) -> tuple[ScriptedHttp, Completion]:
    async with (
        scripted_http(answer(reply or ollama_said("ok"))) as server,
        aclosing(make_ollama(server.url)) as provider,
    ):
        done = await provider.complete(asked, timeout=5)
    return server, done


async def test_every_setting_of_a_request_has_its_place() -> None:
    asked = prompt("Hi", max_tokens=33, temperature=0.25, system="Be kind", stop_sequences=("END",))
    server, _ = await exchange(asked)
    sent = server.last.json
    assert sent["model"] == "llama-test"
    assert sent["stream"] is False
    assert sent["messages"] == [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}]
    assert sent["options"] == {"num_predict": 33, "temperature": 0.25, "stop": ["END"]}


@pytest.mark.parametrize("data", [PNG, base64.b64encode(b"/etc/hostname").decode()])
async def test_an_images_bytes_arrive_as_they_were_even_if_they_read_like_a_path(data: str) -> None:
    server, _ = await exchange(prompt(user("What is it?", IMAGE | {"data": data})))
    assert server.last.json["messages"] == [{"role": "user", "content": "What is it?", "images": [data]}]


async def test_audio_is_refused_by_name() -> None:
    with pytest.raises(ProviderError, match=r"ollama .* does not take audio") as caught:
        await exchange(prompt(user("Listen", AUDIO)))
    assert (caught.value.code, caught.value.retryable) == ("E004", False)


@pytest.mark.parametrize(("done", "stop"), [("stop", "endTurn"), ("length", "maxTokens"), ("load", "load")])
async def test_stop_reasons_become_the_protocols(done: str, stop: str) -> None:
    _, completion = await exchange(prompt("Hi"), ollama_said("So", done=done))
    assert completion.stop_reason == stop


async def test_tools_calls_and_results_go_both_ways() -> None:
    call = {"function": {"name": "get_weather", "arguments": {"city": "Rome"}}}
    server, done = await exchange(prompt(*TOOL_TURN, tools=(WEATHER,)), ollama_said("", tool_calls=[call]))
    sent = server.last.json
    assert sent["tools"][0]["function"]["name"] == "get_weather"
    assert sent["tools"][0]["function"]["parameters"]["properties"] == {"city": {"type": "string"}}
    _, said, first, second = sent["messages"]
    assert said["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": {"city": "Oslo"}}
    assert first == {"role": "tool", "tool_name": "get_weather", "content": "-3 °C"}
    assert second == {"role": "tool", "tool_name": "get_weather", "content": "Error: no such city"}
    assert done.stop_reason == "toolUse"
    (made,) = done.content
    assert made["input"] == {"city": "Rome"}
    assert made["id"].startswith("call_")


async def test_what_the_library_drops_of_a_tools_schema_stands_in_the_description() -> None:
    nested = {"type": "object", "properties": {"deep": {"type": "string"}}, "description": "Where."}
    tool = WEATHER | {"inputSchema": {"type": "object", "properties": {"place": nested}}}
    server, _ = await exchange(prompt("Hi", tools=(tool,)))
    place = server.last.json["tools"][0]["function"]["parameters"]["properties"]["place"]
    assert place["description"].startswith("Where. JSON Schema: ")
    assert "deep" in place["description"]


async def test_a_tool_choice_of_none_sends_no_tools() -> None:
    server, _ = await exchange(prompt("Hi", tools=(WEATHER,), tool_choice={"mode": "none"}))
    assert not server.last.json["tools"]


async def test_a_forced_tool_call_is_refused_by_name() -> None:
    with pytest.raises(ProviderError, match="toolChoice 'required'"):
        await exchange(prompt("Hi", tools=(WEATHER,), tool_choice={"mode": "required"}))


async def test_a_tools_schema_the_library_refuses_is_not_blamed_on_the_answer() -> None:
    tool = WEATHER | {"inputSchema": {"type": "object", "required": 5}}
    with pytest.raises(ProviderError, match="a tool's schema in this form") as caught:
        await exchange(prompt("Hi", tools=(tool,)))
    assert (caught.value.code, caught.value.retryable) == ("E004", False)


async def test_a_result_of_a_call_nobody_made_is_refused() -> None:
    result = {"type": "tool_result", "toolUseId": "c9", "content": [text("x")]}
    with pytest.raises(ProviderError, match="c9"):
        await exchange(prompt(user(result)))


async def test_a_schema_is_asked_for_natively() -> None:
    server, _ = await exchange(prompt("Who?", schema=SCHEMA))
    assert server.last.json["format"] == SCHEMA


async def test_a_model_that_is_not_there_comes_with_the_command_that_gets_it() -> None:
    async with (
        scripted_http(answer({"error": "model 'llama-test' not found"}, status=404)) as server,
        aclosing(make_ollama(server.url)) as provider,
    ):
        with pytest.raises(ProviderError, match="ollama pull llama-test"):
            await provider.complete(prompt("Hi"), timeout=5)
