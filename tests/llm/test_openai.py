from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import pytest

from gateway.errors import ProviderError
from gateway.llm.openai import OpenAi
from gateway.llm.port import Completion, Prompt
from tests.llm.dialects import (
    AUDIO,
    IMAGE,
    PNG,
    SCHEMA,
    TOOL_TURN,
    WEATHER,
    assistant,
    make_openai,
    openai_said,
    prompt,
    text,
    user,
)
from tests.support.scripted_http import ScriptedHttp, answer, scripted_http


async def exchange(asked: Prompt, *replies: dict[str, Any]) -> tuple[ScriptedHttp, Completion]:
    async with (
        scripted_http(*(answer(reply) for reply in replies or (openai_said("ok"),))) as server,
        aclosing(make_openai(server.url)) as provider,
    ):
        done = await provider.complete(asked, timeout=5)
    assert not server.unexpected
    return server, done


async def test_every_setting_of_a_request_has_its_place() -> None:
    asked = prompt("Hi", max_tokens=33, temperature=0.25, system="Be kind", stop_sequences=("END", "\n\n"))
    server, _ = await exchange(asked)
    assert server.last.json == {
        "model": "gpt-test",
        "messages": [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}],
        "max_tokens": 33,
        "temperature": 0.25,
        "stop": ["END", "\n\n"],
    }


async def test_an_image_and_a_sound_go_beside_their_words() -> None:
    server, _ = await exchange(prompt(user("What is it?", IMAGE, AUDIO)))
    assert server.last.json["messages"][0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (user({"type": "audio", "data": "AAAA", "mimeType": "audio/ogg"}), "audio/ogg"),
        (user({"type": "image", "data": PNG, "mimeType": "text/html"}), "text/html"),
        (user({"type": "video"}), "video"),
        (assistant(IMAGE), "assistant"),
    ],
)
async def test_content_it_cannot_take_is_named_before_anything_is_sent(content: Any, named: str) -> None:
    provider = make_openai("http://127.0.0.1:9")
    with pytest.raises(ProviderError, match=named) as caught:
        await provider.complete(prompt(content), timeout=5)
    assert (caught.value.code, caught.value.retryable) == ("E004", False)
    await provider.aclose()


@pytest.mark.parametrize(
    ("finish", "stop"),
    [
        ("stop", "endTurn"),
        ("length", "maxTokens"),
        ("tool_calls", "toolUse"),
        ("content_filter", "content_filter"),
    ],
)
async def test_stop_reasons_become_the_protocols(finish: str, stop: str) -> None:
    _, done = await exchange(prompt("Hi"), openai_said("So", finish=finish))
    assert done.stop_reason == stop


async def test_a_service_that_tells_which_stop_sequence_it_met_is_believed() -> None:
    reply = openai_said("So")
    reply["choices"][0]["stop_reason"] = "END"
    _, done = await exchange(prompt("Hi", stop_sequences=("END",)), reply)
    assert done.stop_reason == "stopSequence"


async def test_a_refusal_is_an_answer_with_its_own_stop_reason() -> None:
    _, done = await exchange(prompt("Hi"), openai_said(None, refusal="I will not"))
    assert (done.content, done.stop_reason) == (text("I will not"), "refusal")


async def test_tools_calls_and_results_go_both_ways() -> None:
    call = {
        "id": "c3",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'},
    }
    asked = prompt(*TOOL_TURN, tools=(WEATHER,), tool_choice={"mode": "required"})
    # Some services finish a forced call with "stop".
    server, done = await exchange(asked, openai_said("Again.", finish="stop", tool_calls=[call]))
    sent = server.last.json
    assert sent["tool_choice"] == "required"
    assert sent["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "Weather of a city",
                "parameters": WEATHER["inputSchema"],
            },
        }
    ]
    _, said, first, second = sent["messages"]
    assert said["content"] == "Let me look."
    assert [json.loads(made["function"]["arguments"]) for made in said["tool_calls"]] == [
        {"city": "Oslo"},
        {"city": "Rome"},
    ]
    assert first == {"role": "tool", "tool_call_id": "c1", "content": "-3 °C"}
    assert second == {"role": "tool", "tool_call_id": "c2", "content": "Error: no such city"}
    assert done.stop_reason == "toolUse"
    assert done.content == [
        text("Again."),
        {"type": "tool_use", "id": "c3", "name": "get_weather", "input": {"city": "Rome"}},
    ]


async def test_an_image_in_a_tools_result_follows_as_a_users_message() -> None:
    result = {"type": "tool_result", "toolUseId": "c1", "content": [text("a map"), IMAGE]}
    call = {"type": "tool_use", "id": "c1", "name": "map", "input": {}}
    server, _ = await exchange(prompt("Map?", assistant(call), user(result)))
    tool, follow = server.last.json["messages"][2:]
    assert tool == {"role": "tool", "tool_call_id": "c1", "content": "a map"}
    assert follow["role"] == "user"
    assert follow["content"][0]["type"] == "image_url"


async def test_resources_and_structured_content_of_a_result_become_text() -> None:
    resource = {"type": "resource", "resource": {"uri": "file:///a", "text": "inside"}}
    link = {"type": "resource_link", "uri": "file:///b", "name": "b"}
    results = (
        {"type": "tool_result", "toolUseId": "c1", "content": [resource, link]},
        {"type": "tool_result", "toolUseId": "c2", "content": [], "structuredContent": {"n": 1}},
    )
    server, _ = await exchange(prompt(user(*results)))
    first, second = server.last.json["messages"]
    assert first["content"] == 'inside\n{"name": "b", "uri": "file:///b"}'
    assert second["content"] == '{"n": 1}'


async def test_tool_arguments_that_are_no_object_fail_by_name() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{broken"}}
    with pytest.raises(ProviderError, match="arguments that are not a JSON object"):
        await exchange(prompt("Hi", tools=(WEATHER,)), openai_said(None, tool_calls=[call]))


async def test_a_schema_is_asked_for_natively() -> None:
    server, _ = await exchange(prompt("Who?", schema=SCHEMA))
    assert server.last.json["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA, "strict": False},
    }


def test_the_official_service_is_asked_with_the_newer_name_of_the_token_limit() -> None:
    provider = OpenAi(model="gpt-test", api_key="k")
    assert provider._limit == "max_completion_tokens"


async def test_a_model_that_refuses_a_spare_parameter_is_asked_once_more_without_it() -> None:
    def refusal(param: str, words: str) -> Any:
        error = {
            "code": "unsupported_parameter",
            "param": param,
            "message": words,
            "type": "invalid_request_error",
        }
        return answer({"error": error}, status=400)

    asked = prompt("Hi", max_tokens=9, temperature=0.1)
    steps = (
        refusal("max_tokens", "Unsupported parameter: use 'max_completion_tokens' instead."),
        answer(openai_said("one")),
        refusal("temperature", "Unsupported value: 'temperature'"),
        answer(openai_said("two")),
        answer(openai_said("three")),
    )
    async with scripted_http(*steps) as server, aclosing(make_openai(server.url)) as provider:
        for words in ("one", "two", "three"):
            assert (await provider.complete(asked, timeout=5)).content == text(words)
    sent = [request.json for request in server.requests]
    assert [("max_completion_tokens" in body, "temperature" in body) for body in sent] == [
        (False, True),
        (True, True),
        (True, True),
        (True, False),
        (True, False),
    ]


async def test_a_service_without_keys_gets_no_authorization_header() -> None:
    async with (
        scripted_http(answer(openai_said("ok"))) as server,
        aclosing(make_openai(server.url, key=None)) as provider,
    ):
        await provider.complete(prompt("Hi"), timeout=5)
    assert "authorization" not in server.last.headers


async def test_an_exhausted_quota_is_not_worth_a_retry() -> None:
    body = {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}
    async with (
        scripted_http(answer(body, status=429)) as server,
        aclosing(make_openai(server.url)) as provider,
    ):
        with pytest.raises(ProviderError, match="OPENAI_API_KEY") as caught:
            await provider.complete(prompt("Hi"), timeout=5)
    assert (caught.value.code, caught.value.retryable) == ("E003", False)


@pytest.mark.parametrize(
    ("resource", "sent"),
    [
        ({"mimeType": "image/png", "blob": PNG}, "image_url"),
        ({"mimeType": "application/pdf", "blob": "AA=="}, None),
    ],
)
async def test_a_binary_resource_of_a_result_is_an_image_or_refused_by_name(
    resource: dict[str, Any], sent: str | None
) -> None:
    part = {"type": "resource", "resource": {"uri": "file:///a", **resource}}
    asked = prompt(user({"type": "tool_result", "toolUseId": "c1", "content": [part]}))
    if sent is None:
        with pytest.raises(ProviderError, match="application/pdf"):
            await exchange(asked)
        return
    server, _ = await exchange(asked)
    assert server.last.json["messages"][1]["content"][0]["type"] == sent


async def test_an_answer_in_parts_is_joined() -> None:
    reply = openai_said(None)
    reply["choices"][0]["message"]["content"] = [
        {"type": "text", "text": "one "},
        {"type": "text", "text": "two"},
    ]
    _, done = await exchange(prompt("Hi"), reply)
    assert done.content == text("one two")
