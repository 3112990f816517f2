"""The two parties that can answer, each recognisable by what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
from mcp import Client

from tests.support.scripted_http import Exchange, ScriptedHttp, Step, answer, scripted_http

Json = dict[str, Any]

SAMPLING: Json = {
    "method": "sampling/createMessage",
    "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": "Who are you?"}}],
        "maxTokens": 50,
    },
}
ELICITATION: Json = {
    "method": "elicitation/create",
    "params": {
        "message": "Which colour?",
        "requestedSchema": {
            "type": "object",
            "properties": {"colour": {"type": "string"}},
            "required": ["colour"],
        },
    },
}
REQUESTS = {"sampling": SAMPLING, "elicitation": ELICITATION}
ENVIRON = {"TEST_LLM_KEY": "sk-test-0123456789"}


async def _speak(exchange: Exchange) -> None:
    """Answer as an OpenAI service whose model is asked for text, or for a form as JSON."""
    wants_form = "response_format" in exchange.request.json
    text = '{"colour": "llm blue"}' if wants_form else "the LLM speaking"
    await answer(
        {
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-test",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        }
    )(exchange)


@asynccontextmanager
async def speaking_llm(*script: Step) -> AsyncIterator[ScriptedHttp]:
    """A service that answers every question, after what is scripted."""
    async with scripted_http(*script, otherwise=_speak) as service:
        yield service


def llm_config(service: ScriptedHttp, **settings: Any) -> Json:
    """The `llm_config` block that points at a service."""
    return {
        "provider": "openai",
        "model": "gpt-test",
        "base_url": f"{service.url}/v1",
        "api_key_env": "TEST_LLM_KEY",
        **settings,
    }


def untied(params: Json) -> Json:
    """A question's params without what the gateway says of how deep it stands."""
    names = ("backchannel/depth", "backchannel/root")
    meta = {name: value for name, value in params.get("_meta", {}).items() if name not in names}
    rest = {name: value for name, value in params.items() if name != "_meta"}
    return {**rest, "_meta": meta} if meta else rest


@dataclass
class Person:
    """The client's side of a question: answers it, and remembers it.

    `action` is what the person does with a form; `rejects` makes sampling be refused;
    `fails` answers with that JSON-RPC error instead.
    """

    action: str = "accept"
    rejects: bool = False
    fails: types.ErrorData | None = None
    asked: list[Any] = field(default_factory=list)

    async def sample(self, context: Any, params: types.CreateMessageRequestParams) -> Any:
        self.asked.append(params)
        if self.rejects:
            return types.ErrorData(code=-1, message="User rejected sampling request")
        if self.fails is not None:
            return self.fails
        return types.CreateMessageResult(
            role="assistant",
            content=types.TextContent(type="text", text="the client speaking"),
            model="client-model",
            stop_reason="endTurn",
        )

    async def elicit(self, context: Any, params: types.ElicitRequestParams) -> Any:
        self.asked.append(params)
        if self.fails is not None:
            return self.fails
        content = {"colour": "client green"} if self.action == "accept" else None
        return types.ElicitResult(action=self.action, content=content)

    def client(self, url: str, mode: str = "legacy", **options: Any) -> Client:
        """A client of the SDK that can be asked everything."""
        callbacks = {"sampling_callback": self.sample, "elicitation_callback": self.elicit}
        return Client(url, mode=mode, **{**callbacks, **options})


def who(response: Json) -> str:
    """Tell from the raw response that a server got to its question who gave it."""
    result = response.get("result", response)
    if "error" in response:
        return f"error {response['error']['code']}"
    if result.get("action") in ("decline", "cancel"):
        return result["action"]
    said = result["content"]["text"] if "role" in result else result["content"]["colour"]
    return "llm" if "llm" in said.lower() else "client"
