"""The three services' bodies, as their API references give them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.llm.anthropic import Anthropic
from gateway.llm.ollama import Ollama
from gateway.llm.openai import OpenAi
from gateway.llm.port import Prompt, Provider

KEY = "sk-test-0123456789abcdef"
Json = dict[str, Any]


@dataclass(frozen=True)
class Dialect:
    """How to build the provider against a URL, and how its service words things."""

    name: str
    make: Callable[[str], Provider]
    path: str
    said: Callable[[str], Json]
    error: Callable[[str, str], Json]

    def __str__(self) -> str:
        return self.name


def openai_said(text: str | None, *, finish: str = "stop", **message: Any) -> Json:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-test-2026-01-01",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, **message},
                "finish_reason": finish,
            }
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }


def anthropic_said(text: str | None, *, stop: str = "end_turn", extra: tuple[Json, ...] = ()) -> Json:
    content = [{"type": "text", "text": text}] if text is not None else []
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-test-20260101",
        "content": [*content, *extra],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 11, "output_tokens": 7},
    }


def ollama_said(text: str, *, done: str = "stop", **message: Any) -> Json:
    return {
        "model": "llama-test:latest",
        "created_at": "2026-01-01T00:00:00Z",
        "message": {"role": "assistant", "content": text, **message},
        "done": True,
        "done_reason": done,
        "prompt_eval_count": 11,
        "eval_count": 7,
    }


def make_openai(url: str, key: str | None = KEY) -> OpenAi:
    return OpenAi(model="gpt-test", api_key=key, api_key_env="OPENAI_API_KEY", base_url=f"{url}/v1")


def make_anthropic(url: str) -> Anthropic:
    return Anthropic(model="claude-test", api_key=KEY, api_key_env="ANTHROPIC_API_KEY", base_url=url)


def make_ollama(url: str) -> Ollama:
    return Ollama(model="llama-test", api_key=KEY, api_key_env="OLLAMA_API_KEY", base_url=url)


DIALECTS = (
    Dialect(
        "openai",
        make_openai,
        "/v1/chat/completions",
        openai_said,
        lambda code, message: {"error": {"code": code, "type": code, "message": message, "param": None}},
    ),
    Dialect(
        "anthropic",
        make_anthropic,
        "/v1/messages",
        anthropic_said,
        lambda code, message: {"type": "error", "error": {"type": code, "message": message}},
    ),
    Dialect("ollama", make_ollama, "/api/chat", ollama_said, lambda code, message: {"error": message}),
)


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def user(*content: Json | str) -> Json:
    blocks = [text(block) if isinstance(block, str) else block for block in content]
    return {"role": "user", "content": blocks[0] if len(blocks) == 1 else blocks}


def assistant(*content: Json | str) -> Json:
    return user(*content) | {"role": "assistant"}


def prompt(*messages: Json | str, max_tokens: int = 50, **rest: Any) -> Prompt:
    said = tuple(user(message) if isinstance(message, str) else message for message in messages)
    return Prompt(messages=said, max_tokens=max_tokens, **rest)


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE = {"type": "image", "data": PNG, "mimeType": "image/png"}
AUDIO = {"type": "audio", "data": "UklGRg==", "mimeType": "audio/wav"}

WEATHER: Json = {
    "name": "get_weather",
    "description": "Weather of a city",
    "inputSchema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOL_TURN = (
    user("Weather in Oslo and Rome?"),
    assistant(
        "Let me look.",
        {"type": "tool_use", "id": "c1", "name": "get_weather", "input": {"city": "Oslo"}},
        {"type": "tool_use", "id": "c2", "name": "get_weather", "input": {"city": "Rome"}},
    ),
    user(
        {"type": "tool_result", "toolUseId": "c1", "content": [text("-3 °C")]},
        {"type": "tool_result", "toolUseId": "c2", "content": [text("no such city")], "isError": True},
    ),
)
SCHEMA: Json = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}
