from __future__ import annotations

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
    anthropic_said,
    make_anthropic,
    prompt,
    text,
    user,
)
from tests.support.scripted_http import ScriptedHttp, Step, answer, scripted_http


async def exchange(asked: Prompt, *steps: Step) -> tuple[ScriptedHttp, Completion]:
    async with (
        scripted_http(*(steps or (answer(anthropic_said("ok")),))) as server,
        aclosing(make_anthropic(server.url)) as provider,
    ):
        done = await provider.complete(asked, timeout=5)
    assert not server.unexpected
    return server, done


async def test_every_setting_of_a_request_has_its_place() -> None:
    asked = prompt("Hi", max_tokens=33, temperature=1.5, system="Be kind", stop_sequences=("END",))
    server, _ = await exchange(asked)
    assert server.last.json == {
        "model": "claude-test",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "max_tokens": 33,
        "temperature": 1.0,  # the most the API takes
        "system": "Be kind",
        "stop_sequences": ["END"],
    }


async def test_an_image_goes_beside_its_words() -> None:
    server, _ = await exchange(prompt(user("What is it?", IMAGE)))
    assert server.last.json["messages"][0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
    ]


async def test_audio_is_refused_by_name() -> None:
    with pytest.raises(ProviderError, match=r"anthropic .* does not take audio") as caught:
        await exchange(prompt(user("Listen", AUDIO)))
    assert (caught.value.code, caught.value.retryable) == ("E004", False)


@pytest.mark.parametrize(
    ("said", "stop"),
    [
        ("end_turn", "endTurn"),
        ("stop_sequence", "stopSequence"),
        ("max_tokens", "maxTokens"),
        ("model_context_window_exceeded", "maxTokens"),
        ("refusal", "refusal"),
    ],
)
async def test_stop_reasons_become_the_protocols(said: str, stop: str) -> None:
    _, done = await exchange(prompt("Hi"), answer(anthropic_said("So", stop=said)))
    assert done.stop_reason == stop


async def test_tools_calls_and_results_go_both_ways() -> None:
    call = {"type": "tool_use", "id": "t3", "name": "get_weather", "input": {"city": "Rome"}}
    thinking = {"type": "thinking", "thinking": "hm", "signature": "x"}
    asked = prompt(*TOOL_TURN, tools=(WEATHER,), tool_choice={"mode": "required"})
    reply = anthropic_said("Again.", stop="tool_use", extra=(thinking, call))
    server, done = await exchange(asked, answer(reply))
    sent = server.last.json
    assert sent["tool_choice"] == {"type": "any"}
    assert sent["tools"] == [
        {"name": "get_weather", "description": "Weather of a city", "input_schema": WEATHER["inputSchema"]}
    ]
    _, said, results = sent["messages"]
    assert said["content"][1] == {
        "type": "tool_use",
        "id": "c1",
        "name": "get_weather",
        "input": {"city": "Oslo"},
    }
    assert results["content"] == [
        {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "-3 °C"}]},
        {
            "type": "tool_result",
            "tool_use_id": "c2",
            "content": [{"type": "text", "text": "no such city"}],
            "is_error": True,
        },
    ]
    assert done.stop_reason == "toolUse"
    assert done.content == [text("Again."), call]


async def test_a_schema_is_asked_for_natively_within_what_the_api_takes() -> None:
    server, _ = await exchange(prompt("Who?", schema=SCHEMA))
    sent = server.last.json["output_config"]["format"]
    assert sent["type"] == "json_schema"
    assert sent["schema"]["required"] == ["name"]
    assert sent["schema"]["additionalProperties"] is False
    assert "minimum: 0" in sent["schema"]["properties"]["age"]["description"]


async def test_a_schema_the_api_cannot_take_is_refused_by_name() -> None:
    with pytest.raises(ProviderError, match="JSON Schema") as caught:
        await exchange(prompt("Who?", schema={"type": "object", "properties": {"a": {}}}))
    assert caught.value.code == "E004"


async def test_a_model_that_refuses_temperature_is_asked_once_more_without_it() -> None:
    error = {"type": "invalid_request_error", "message": "`temperature` is not supported for this model"}
    refusal: Any = answer({"type": "error", "error": error}, status=400)
    asked = prompt("Hi", temperature=0.1)
    server, done = await exchange(asked, refusal, answer(anthropic_said("ok")))
    assert ["temperature" in request.json for request in server.requests] == [True, False]
    assert done.content == text("ok")
