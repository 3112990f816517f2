"""OpenAI's chat completions, and every service compatible with them."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from typing import Any, cast

import httpx2

from gateway.errors import ProviderError
from gateway.llm.again import Again
from gateway.llm.asking import insisted, within
from gateway.llm.blocks import (
    Block,
    answer_content,
    blocks_of,
    data_url,
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
    told,
    unreachable,
    unreadable,
    unsupported,
)
from gateway.llm.port import Completion, Prompt, Usage
from gateway.llm.transport import Transport

OFFICIAL = "https://api.openai.com/v1"
_STOP = {"stop": "endTurn", "length": "maxTokens", "tool_calls": "toolUse", "function_call": "toolUse"}
_AUDIO = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}

Json = dict[str, Any]


class OpenAi:
    """Chat completions at `base_url`.

    OpenAI itself is asked with ``max_completion_tokens``, which its newer models demand;
    other services with ``max_tokens``, which they know. A model that refuses the name, or
    `temperature`, or `logprobs`, is asked once more without it, and that is remembered.

    ``finish_reason: stop`` is ``endTurn``: the API does not tell a natural end from a stop
    sequence. Services that do tell (``stop_reason`` beside it) are believed.
    """

    name = "openai"

    def __init__(
        self, *, model: str, api_key: str | None, api_key_env: str | None = None, base_url: str | None = None
    ) -> None:
        # The SDK takes most of a second to import: only who uses it waits for it.
        import openai

        # At debug level the first 3.x versions log whole requests: prompts do not belong in a log.
        logging.getLogger("openai").setLevel(logging.WARNING)
        self.model = model
        url = base_url or OFFICIAL
        self._peer = Peer(self.name, model, url, api_key_env, api_key)
        self._sdk = openai
        # A service without keys gets no Authorization header, least of all one from the environment.
        self._options: Json = {} if api_key else {"headers": {"Authorization": openai.Omit()}}
        transport = Transport()
        self._again = Again(transport)
        self._client = openai.AsyncOpenAI(
            api_key=api_key or "none",
            base_url=url,
            max_retries=0,
            timeout=None,
            http_client=openai.DefaultAsyncHttpxClient(transport=transport),
        )
        self._limit = "max_completion_tokens" if url.rstrip("/") == OFFICIAL else "max_tokens"
        self._temperature = True
        self._logprobs = True

    async def complete(self, prompt: Prompt, *, timeout: float) -> Completion:
        """Answer once; `timeout` bounds it in seconds.

        Raises:
            ProviderError: every failure, sorted by `gateway.llm.failures`.
        """
        messages = _messages(prompt, self._peer)
        asking = insisted(
            self._peer,
            prompt,
            lambda: self._send(prompt, messages),
            lambda refusal: self._adapt(refusal, prompt),
        )
        return _completion(await within(timeout, self._peer, asking), prompt, self._peer)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _adapt(self, refusal: Refusal, prompt: Prompt) -> bool:
        if prompt.logprobs and self._logprobs and "logprobs" in refusal.message:
            self._logprobs = False
            return True
        if refusal.status != 400 or not refusal.code.startswith("unsupported_"):
            return False
        if "max_tokens" in refusal.message or "max_completion_tokens" in refusal.message:
            other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
            self._limit = other[self._limit]
            return True
        if "temperature" in refusal.message and self._temperature and prompt.temperature is not None:
            self._temperature = False
            return True
        return False

    async def _send(self, prompt: Prompt, messages: list[Json]) -> Json | Refusal:
        sdk = self._sdk
        request = self._request(prompt, messages)
        try:
            reply = await self._again.post(request, lambda: self._by_the_sdk(request))
            if reply.status >= 400:
                return _refusal(reply.status, told(reply.content), reply.headers)
            body: object = reply.json()
        except sdk.APIStatusError as error:
            return _refusal(error.response.status_code, error.body, error.response.headers)
        except httpx2.RequestError as error:
            raise unreachable(self._peer, type(error).__name__) from None
        except sdk.APIConnectionError as error:
            raise unreachable(self._peer, _reason(error)) from None
        except sdk.OpenAIError as error:
            raise ProviderError(
                f"{self._peer} failed in its client: {type(error).__name__}", code="E999"
            ) from None
        except ValueError:
            raise unreadable(self._peer, "a body that is not JSON") from None
        if not isinstance(body, dict):
            raise unreadable(self._peer, "JSON that is not an object")
        return cast("Json", body)

    async def _by_the_sdk(self, request: Json) -> httpx2.Response:
        # The SDK's own `create` copies a request by its types, which took longer than sending it.
        return await self._client.post(
            "/chat/completions",
            cast_to=httpx2.Response,
            body=request,
            options=cast("Any", self._options),
        )

    def _request(self, prompt: Prompt, messages: list[Json]) -> Json:
        request: Json = {"model": self.model, "messages": messages, self._limit: prompt.max_tokens}
        if prompt.temperature is not None and self._temperature:
            request["temperature"] = prompt.temperature
        if prompt.stop_sequences:
            request["stop"] = list(prompt.stop_sequences)
        if prompt.logprobs and self._logprobs:
            request["logprobs"] = True
        if prompt.schema is not None:
            # Not strict: strict mode refuses optional properties, which elicitation schemas have.
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": dict(prompt.schema), "strict": False},
            }
        if prompt.tools:
            request["tools"] = [_tool(tool) for tool in prompt.tools]
            request["tool_choice"] = wanted_tools(prompt.tool_choice)
        return request


def _reason(error: Exception) -> str:
    """The class of what broke: its words may hold addresses with credentials."""
    return type(error.__cause__ or error).__name__


def _refusal(status: int, body: object, headers: Mapping[str, str]) -> Refusal:
    """`body` is the SDK's: the ``error`` object, or the text, or None."""
    if not isinstance(body, Mapping):
        return Refusal(status, message=str(body or ""), headers=headers)
    error = cast("Mapping[str, object]", body)
    inner = error.get("error")
    if isinstance(inner, Mapping):
        error = cast("Mapping[str, object]", inner)
    message = " ".join(str(error.get(key)) for key in ("param", "message") if error.get(key))
    return Refusal(status, str(error.get("code") or error.get("type") or ""), message, headers)


def _tool(tool: Mapping[str, Any]) -> Json:
    function: Json = {"name": tool.get("name"), "parameters": tool.get("inputSchema") or {"type": "object"}}
    if tool.get("description"):
        function["description"] = tool["description"]
    return {"type": "function", "function": function}


def _messages(prompt: Prompt, peer: Peer) -> list[Json]:
    messages: list[Json] = [{"role": "system", "content": prompt.system}] if prompt.system else []
    for message in prompt.messages:
        blocks = blocks_of(message, peer)
        messages += _assistant(blocks, peer) if message.get("role") == "assistant" else _user(blocks, peer)
    return messages


def _assistant(blocks: list[Block], peer: Peer) -> list[Json]:
    text: list[str] = []
    calls: list[Json] = []
    for block in blocks:
        if block.get("type") == "text":
            text.append(str(block.get("text", "")))
        elif block.get("type") == "tool_use":
            function = {"name": block.get("name"), "arguments": json.dumps(block.get("input") or {})}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        else:
            raise unsupported(
                peer, f"{block.get('type')} content in an assistant message", "put it in a user message"
            )
    message: Json = {"role": "assistant", "content": "".join(text) or None}
    return [message | {"tool_calls": calls}] if calls else [message | {"content": "".join(text)}]


def _user(blocks: list[Block], peer: Peer) -> list[Json]:
    """Tool results come first, each a message of its own; the rest is one user message."""
    results: list[Json] = []
    parts: list[Json] = []
    for block in blocks:
        if block.get("type") == "tool_result":
            result, images = _tool_result(block, peer)
            results.append(result)
            parts += images
        else:
            parts.append(_part(block, peer))
    if parts and all(part["type"] == "text" for part in parts):
        return [*results, {"role": "user", "content": "".join(part["text"] for part in parts)}]
    return [*results, {"role": "user", "content": parts}] if parts else results


def _part(block: Block, peer: Peer) -> Json:
    kind = block.get("type")
    if kind == "text":
        return {"type": "text", "text": str(block.get("text", ""))}
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": data_url(block, peer)}}
    if kind == "audio":
        media = str(block.get("mimeType", ""))
        if media not in _AUDIO:
            raise unsupported(peer, f"audio of type '{media}'", "send audio/wav or audio/mpeg")
        data = base64.b64encode(image_bytes(block, peer)).decode()
        return {"type": "input_audio", "input_audio": {"data": data, "format": _AUDIO[media]}}
    raise malformed(peer, f"a user message holds content of type '{kind}'")


def _tool_result(block: Block, peer: Peer) -> tuple[Json, list[Json]]:
    """The tool message, which takes text only, and the images that must follow it."""
    parts = result_blocks(block, peer)
    text = "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
    if block.get("isError"):
        text = f"Error: {text}"
    images = [_part(part, peer) for part in parts if part.get("type") == "image"]
    return {"role": "tool", "tool_call_id": block.get("toolUseId"), "content": text}, images


def _completion(body: Json, prompt: Prompt, peer: Peer) -> Completion:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise unreadable(peer, "no choice")
    choice = cast("Json", choices[0])
    message = cast("Json", choice.get("message") or {})
    calls = [_call(call, peer) for call in cast("list[Json]", message.get("tool_calls") or [])]
    finish = str(choice.get("finish_reason") or "stop")
    stop = _STOP.get(finish, finish)
    if calls and stop == "endTurn":  # some services say "stop" for a call they were forced to make
        stop = "toolUse"
    if stop == "endTurn" and choice.get("stop_reason") in prompt.stop_sequences:
        stop = "stopSequence"
    if message.get("refusal") and not message.get("content"):
        stop = "refusal"
    usage = cast("Json", body.get("usage") or {})
    return Completion(
        content=answer_content(_text(message), calls),
        model=str(body.get("model") or peer.model),
        provider=peer.provider,
        stop_reason=stop,
        usage=Usage(usage.get("prompt_tokens"), usage.get("completion_tokens")),
        logprob=mean_logprob(cast("Json", choice.get("logprobs") or {}).get("content")),
    )


def _text(message: Json) -> str:
    content = message.get("content") or message.get("refusal") or ""
    if isinstance(content, list):  # parts, as some compatible services answer
        return "".join(str(part.get("text", "")) for part in cast("list[Json]", content))
    return str(content)


def _call(call: Json, peer: Peer) -> Json:
    function = cast("Json", call.get("function") or {})
    try:
        arguments: object = json.loads(function.get("arguments") or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise ProviderError(f"{peer} called a tool with arguments that are not a JSON object", code="E999")
    return tool_use_block(str(call.get("id")), str(function.get("name")), cast("Json", arguments))
