"""Ollama's chat."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import uuid4

from gateway.errors import ProviderError
from gateway.llm.asking import within
from gateway.llm.blocks import (
    Block,
    answer_content,
    blocks_of,
    image_bytes,
    mean_logprob,
    result_blocks,
    tool_use_block,
    wanted_tools,
)
from gateway.llm.failures import (
    Peer,
    Refusal,
    malformed,
    refused,
    unreachable,
    unreadable,
    unsupported,
)
from gateway.llm.port import Completion, Prompt, Usage

OFFICIAL = "http://127.0.0.1:11434"
_STOP = {"stop": "endTurn", "length": "maxTokens"}
_PROPERTY = {"type", "items", "description", "enum"}
"""What the SDK's model of a tool keeps of a property's schema."""

Json = dict[str, Any]


class Ollama:
    """Chat at `base_url`.

    ``done_reason: stop`` is ``endTurn``: the API does not tell a natural end from a stop
    sequence. A tool call cannot be forced, so ``toolChoice: required`` is refused by name.
    """

    name = "ollama"

    def __init__(
        self,
        *,
        model: str,
        api_key: str | None = None,
        api_key_env: str | None = None,
        base_url: str | None = None,
    ) -> None:
        import httpx
        import ollama

        self.model = model
        url = base_url or OFFICIAL
        self._peer = Peer(
            self.name, model, url, api_key_env, api_key, missing_model_fix=f"run `ollama pull {model}`"
        )
        self._http = httpx
        self._sdk = ollama
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else None
        self._client = ollama.AsyncClient(host=url, headers=headers)

    async def complete(self, prompt: Prompt, *, timeout: float) -> Completion:
        """Answer once; `timeout` bounds it in seconds.

        Raises:
            ProviderError: every failure, sorted by `gateway.llm.failures`.
        """
        request = self._checked(_request(prompt, self._peer))
        return _completion(await within(timeout, self._peer, self._send(request, prompt)), self._peer)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _send(self, request: Json, prompt: Prompt) -> Json:
        try:
            reply = await cast("Any", self._client).chat(model=self.model, stream=False, **request)
        except self._sdk.ResponseError as error:
            raise refused(self._peer, _refusal(error), prompt) from None
        except (self._http.TransportError, ConnectionError) as error:
            raise unreachable(self._peer, type(error).__name__) from None
        except (ValueError, TypeError, AttributeError):  # what the SDK raises on other JSON, or none
            raise unreadable(self._peer, "a body that is not a chat response") from None
        return cast("Json", reply.model_dump())

    def _checked(self, request: Json) -> Json:
        """Let the SDK see the request first, so that its complaint is not taken for the answer's."""
        try:
            tools = [self._sdk.Tool.model_validate(tool) for tool in request.get("tools", ())]
            messages = [self._sdk.Message.model_validate(self._pictured(m)) for m in request["messages"]]
        except ValueError:
            what = "a message or a tool's schema in this form"
            raise unsupported(self._peer, what, "simplify it or use another provider") from None
        return request | {"messages": messages} | ({"tools": tools} if tools else {})

    def _pictured(self, message: Json) -> Json:
        """Images as bytes, never as text: the SDK would open a file of that name."""
        if "images" not in message:
            return message
        return message | {"images": [self._sdk.Image(value=image) for image in message["images"]]}


def _refusal(error: Any) -> Refusal:
    """The SDK drops the response's headers, but Python keeps the exception it came from."""
    response = getattr(error.__context__, "response", None)
    headers: Mapping[str, str] = response.headers if response is not None else {}
    return Refusal(int(error.status_code), message=str(error.error), headers=headers)


def _request(prompt: Prompt, peer: Peer) -> Json:
    options: Json = {"num_predict": prompt.max_tokens}
    if prompt.temperature is not None:
        options["temperature"] = prompt.temperature
    if prompt.stop_sequences:
        options["stop"] = list(prompt.stop_sequences)
    request: Json = {"messages": _messages(prompt, peer), "options": options}
    if prompt.schema is not None:
        request["format"] = dict(prompt.schema)
    if prompt.logprobs:
        request["logprobs"] = True
    choice = wanted_tools(prompt.tool_choice)
    if prompt.tools and choice == "required":
        raise unsupported(peer, "toolChoice 'required'", "ask with 'auto' or use another provider")
    if prompt.tools and choice != "none":
        request["tools"] = [_tool(tool) for tool in prompt.tools]
    return request


def _tool(tool: Mapping[str, Any]) -> Json:
    """The SDK drops nested schemas: what it would drop goes into the property's description."""
    schema = dict(cast("Json", tool.get("inputSchema") or {"type": "object"}))
    properties = cast("dict[str, Any]", schema.get("properties") or {})
    schema["properties"] = {name: _property(value) for name, value in properties.items()}
    return {
        "type": "function",
        "function": {
            "name": tool.get("name"),
            "description": tool.get("description") or "",
            "parameters": schema,
        },
    }


def _property(schema: object) -> object:
    if not isinstance(schema, Mapping):
        return {}
    known = dict(cast("Mapping[str, Any]", schema))
    lost = {key: value for key, value in known.items() if key not in _PROPERTY}
    if not lost:
        return known
    described = f"{known.get('description', '')} JSON Schema: {json.dumps(lost)}".strip()
    return {key: known[key] for key in _PROPERTY if key in known} | {"description": described}


def _messages(prompt: Prompt, peer: Peer) -> list[Json]:
    messages: list[Json] = [{"role": "system", "content": prompt.system}] if prompt.system else []
    names: dict[str, str] = {}
    for message in prompt.messages:
        blocks = blocks_of(message, peer)
        for block in blocks:
            if block.get("type") == "tool_use":
                names[str(block.get("id"))] = str(block.get("name"))
        results = [block for block in blocks if block.get("type") == "tool_result"]
        messages += [_tool_result(block, names, peer) for block in results]
        rest = [block for block in blocks if block.get("type") != "tool_result"]
        if rest:
            messages.append({"role": message.get("role"), **_content(rest, peer)})
    return messages


def _content(blocks: Sequence[Block], peer: Peer) -> Json:
    text: list[str] = []
    images: list[bytes] = []
    calls: list[Json] = []
    for block in blocks:
        kind = block.get("type")
        if kind == "text":
            text.append(str(block.get("text", "")))
        elif kind == "image":
            images.append(image_bytes(block, peer))
        elif kind == "tool_use":
            calls.append({"function": {"name": block.get("name"), "arguments": block.get("input") or {}}})
        elif kind == "audio":
            raise unsupported(peer, "audio", "add a provider that takes it (openai) to the chain")
        else:
            raise malformed(peer, f"a message holds content of type '{kind}'")
    extra: Json = {"images": images} if images else {}
    return {"content": "".join(text), **extra, **({"tool_calls": calls} if calls else {})}


def _tool_result(block: Block, names: Mapping[str, str], peer: Peer) -> Json:
    """Ollama knows a result by the tool's name, MCP by the id of the call."""
    called = str(block.get("toolUseId"))
    if called not in names:
        raise malformed(peer, f"a tool_result names '{called}', which no tool_use before it has")
    content = _content(result_blocks(block, peer), peer)
    if block.get("isError"):
        content["content"] = f"Error: {content['content']}"
    return {"role": "tool", "tool_name": names[called], **content}


def _completion(body: Json, peer: Peer) -> Completion:
    message = cast("Json", body["message"])
    calls = [
        # Ollama has no ids for calls; MCP needs one to match the result.
        tool_use_block(f"call_{uuid4().hex}", call["function"]["name"], call["function"]["arguments"])
        for call in cast("list[Json]", message.get("tool_calls") or [])
    ]
    done = str(body.get("done_reason") or "stop")
    if body.get("done") is False:
        raise ProviderError(f"{peer} answered with an unfinished response", code="E008", retryable=True)
    return Completion(
        content=answer_content(str(message.get("content") or ""), calls),
        model=str(body.get("model") or peer.model),
        provider=peer.provider,
        stop_reason="toolUse" if calls else _STOP.get(done, done),
        usage=Usage(body.get("prompt_eval_count"), body.get("eval_count")),
        logprob=mean_logprob(body.get("logprobs")),
    )
