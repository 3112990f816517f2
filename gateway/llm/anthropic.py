"""Anthropic's messages."""

from __future__ import annotations

import base64
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
    image_bytes,
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

OFFICIAL = "https://api.anthropic.com"
_STOP = {
    "end_turn": "endTurn",
    "stop_sequence": "stopSequence",
    "max_tokens": "maxTokens",
    "tool_use": "toolUse",
    "model_context_window_exceeded": "maxTokens",
}
_CHOICE = {"auto": "auto", "required": "any", "none": "none"}

Json = dict[str, Any]


class Anthropic:
    """Messages at `base_url`.

    `temperature` is capped at 1, the most the API takes; a model that refuses it
    altogether is asked once more without it, and that is remembered.
    """

    name = "anthropic"

    def __init__(
        self, *, model: str, api_key: str, api_key_env: str | None = None, base_url: str | None = None
    ) -> None:
        # The SDK takes most of a second to import: only who uses it waits for it.
        import anthropic

        # At debug level the SDK logs whole requests: prompts do not belong in a log.
        logging.getLogger("anthropic").setLevel(logging.WARNING)
        self.model = model
        url = base_url or OFFICIAL
        self._peer = Peer(self.name, model, url, api_key_env, api_key)
        self._sdk = anthropic
        transport = Transport()
        self._again = Again(transport)
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=url,
            max_retries=0,
            timeout=None,
            http_client=anthropic.DefaultAsyncHttpxClient(transport=transport),
        )
        self._temperature = True

    async def complete(self, prompt: Prompt, *, timeout: float) -> Completion:
        """Answer once; `timeout` bounds it in seconds.

        Raises:
            ProviderError: every failure, sorted by `gateway.llm.failures`.
        """
        messages = [_message(message, self._peer) for message in prompt.messages]
        asking = insisted(
            self._peer,
            prompt,
            lambda: self._send(prompt, messages),
            lambda refusal: self._spare_temperature(refusal, prompt),
        )
        return _completion(await within(timeout, self._peer, asking), self._peer)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _spare_temperature(self, refusal: Refusal, prompt: Prompt) -> bool:
        sent = self._temperature and prompt.temperature is not None
        if not sent or refusal.status != 400 or "temperature" not in refusal.message:
            return False
        self._temperature = False
        return True

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
            raise unreachable(self._peer, type(error.__cause__ or error).__name__) from None
        except sdk.AnthropicError as error:
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
        return await self._client.post("/v1/messages", cast_to=httpx2.Response, body=request)

    def _request(self, prompt: Prompt, messages: list[Json]) -> Json:
        request: Json = {"model": self.model, "messages": messages, "max_tokens": prompt.max_tokens}
        if prompt.system:
            request["system"] = prompt.system
        if prompt.temperature is not None and self._temperature:
            request["temperature"] = min(prompt.temperature, 1.0)
        if prompt.stop_sequences:
            request["stop_sequences"] = list(prompt.stop_sequences)
        if prompt.schema is not None:
            request["output_config"] = {
                "format": {"type": "json_schema", "schema": self._schema(prompt.schema)}
            }
        if prompt.tools:
            request["tools"] = [_tool(tool) for tool in prompt.tools]
            request["tool_choice"] = {"type": _CHOICE.get(wanted_tools(prompt.tool_choice), "auto")}
        return request

    def _schema(self, schema: Mapping[str, Any]) -> Json:
        """The API takes a part of JSON Schema; the SDK moves the rest into descriptions."""
        try:
            return self._sdk.transform_schema(dict(schema))
        except (ValueError, TypeError, AttributeError, AssertionError):
            what = "this JSON Schema (each part needs one `type`)"
            raise unsupported(self._peer, what, "simplify the schema or use another provider") from None


def _refusal(status: int, body: object, headers: Mapping[str, str]) -> Refusal:
    """`body` is ``{"type": "error", "error": {"type", "message"}}``, or text, or None."""
    error = cast("Mapping[str, object]", body).get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return Refusal(status, message="" if isinstance(body, Mapping) else str(body or ""), headers=headers)
    known = cast("Mapping[str, object]", error)
    return Refusal(status, str(known.get("type") or ""), str(known.get("message") or ""), headers)


def _tool(tool: Mapping[str, Any]) -> Json:
    described: Json = {
        "name": tool.get("name"),
        "input_schema": tool.get("inputSchema") or {"type": "object"},
    }
    if tool.get("description"):
        described["description"] = tool["description"]
    return described


def _message(message: Mapping[str, Any], peer: Peer) -> Json:
    blocks = blocks_of(message, peer)
    content = [_block(block, peer) for block in blocks if block.get("type") != "text" or block.get("text")]
    return {"role": message.get("role"), "content": content}


def _block(block: Block, peer: Peer) -> Json:
    kind = block.get("type")
    if kind == "text":
        return {"type": "text", "text": str(block["text"])}
    if kind == "image":
        data = base64.b64encode(image_bytes(block, peer)).decode()
        return {
            "type": "image",
            "source": {"type": "base64", "media_type": str(block.get("mimeType", "")), "data": data},
        }
    if kind == "tool_use":
        return {
            "type": "tool_use",
            "id": block.get("id"),
            "name": block.get("name"),
            "input": block.get("input") or {},
        }
    if kind == "tool_result":
        return _tool_result(block, peer)
    if kind == "audio":
        raise unsupported(peer, "audio", "add a provider that takes it (openai) to the chain")
    raise malformed(peer, f"a message holds content of type '{kind}'")


def _tool_result(block: Block, peer: Peer) -> Json:
    result: Json = {
        "type": "tool_result",
        "tool_use_id": block.get("toolUseId"),
        "content": [_block(part, peer) for part in result_blocks(block, peer)],
    }
    return result | {"is_error": True} if block.get("isError") else result


def _completion(body: Json, peer: Peer) -> Completion:
    content = body.get("content")
    if not isinstance(content, list):
        raise unreadable(peer, "no content")
    blocks = cast("list[Json]", content)
    text = "".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")
    calls = [
        tool_use_block(str(block.get("id")), str(block.get("name")), cast("Json", block.get("input") or {}))
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    stop = str(body.get("stop_reason") or "end_turn")
    usage = cast("Json", body.get("usage") or {})
    return Completion(
        content=answer_content(text, calls),
        model=str(body.get("model") or peer.model),
        provider=peer.provider,
        stop_reason=_STOP.get(stop, stop),
        usage=Usage(usage.get("input_tokens"), usage.get("output_tokens")),
    )
