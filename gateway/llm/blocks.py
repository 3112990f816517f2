"""Content of sampling messages, whichever shape the server chose, as plain blocks.

MCP 2025-11-25 client/sampling, "Message Content": one block or a list of text, image,
audio, tool_use and tool_result; a tool_result holds ContentBlocks of a tool's result.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from gateway.llm.failures import Peer, malformed, unsupported

Block = Mapping[str, Any]


def blocks_of(message: Mapping[str, Any], peer: Peer) -> list[Block]:
    """Return the message's blocks.

    Raises:
        ProviderError: E004, the content is neither a block nor a list of blocks.
    """
    content = message.get("content")
    blocks = cast("list[object]", content) if isinstance(content, list) else [content]
    if not all(isinstance(block, Mapping) for block in blocks):
        raise malformed(peer, "a message's content is neither a block nor a list of blocks")
    return cast("list[Block]", blocks)


def image_bytes(block: Block, peer: Peer) -> bytes:
    """Decode an image block's data.

    Decoding is also a guard: a string that is not base64 never reaches a library that
    might take it for the name of a local file.

    Raises:
        ProviderError: E004, the data is not base64.
    """
    try:
        return base64.b64decode(str(block.get("data", "")), validate=True)
    except (binascii.Error, ValueError):
        raise malformed(peer, f"the data of an {block.get('type')} block is not base64") from None


def data_url(block: Block, peer: Peer) -> str:
    """Return an image block as a `data:` URL, its media type being an image's."""
    media = str(block.get("mimeType", ""))
    if not media.startswith("image/"):
        raise malformed(peer, f"an image block has the media type '{media}'")
    return f"data:{media};base64,{base64.b64encode(image_bytes(block, peer)).decode()}"


def result_blocks(block: Block, peer: Peer) -> list[Block]:
    """Return a tool_result's content as text and image blocks only.

    Embedded resources and links become the text they carry; structured content stands in
    where there is no other.

    Raises:
        ProviderError: E004, the content holds audio or a block of an unknown type.
    """
    raw = block.get("content")
    parts: list[Block] = [_result_block(part, peer) for part in cast("Sequence[Block]", raw or ())]
    if not parts and block.get("structuredContent") is not None:
        parts = [text_block(json.dumps(block["structuredContent"], ensure_ascii=False))]
    return parts


def _result_block(part: Block, peer: Peer) -> Block:
    kind = part.get("type")
    if kind in ("text", "image"):
        return part
    if kind == "resource_link":
        return text_block(
            json.dumps({key: part[key] for key in ("name", "uri", "description") if key in part})
        )
    if kind == "resource":
        resource = cast("Block", part.get("resource") or {})
        if "text" in resource:
            return text_block(str(resource["text"]))
        media = str(resource.get("mimeType", ""))
        if media.startswith("image/"):
            return {"type": "image", "data": resource.get("blob", ""), "mimeType": media}
        raise unsupported(peer, f"a tool result with a resource of type '{media}'", "return it as text")
    raise unsupported(peer, f"a tool result with {kind} content", "return it as text")


def text_block(text: str) -> dict[str, Any]:
    """Return an MCP text block."""
    return {"type": "text", "text": text}


def tool_use_block(call_id: str, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return an MCP tool_use block."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": dict(arguments)}


def answer_content(text: str, calls: Sequence[Block]) -> Block | list[Block]:
    """One text block, or with tool calls a list: the text if any, then the calls."""
    if not calls:
        return text_block(text)
    return [*([text_block(text)] if text else []), *calls]


def mean_logprob(tokens: object) -> float | None:
    """Return the mean of what a provider's list of ``{"token", "logprob", …}`` says of an answer's tokens."""
    listed = cast("list[object]", tokens) if isinstance(tokens, list) else []
    found = [cast("Block", token).get("logprob") for token in listed if isinstance(token, Mapping)]
    known = [float(value) for value in found if isinstance(value, int | float)]
    return sum(known) / len(known) if known else None


def wanted_tools(choice: Mapping[str, Any] | None) -> str:
    """`mode` of a ToolChoice: ``auto`` (the default), ``required`` or ``none``."""
    return str((choice or {}).get("mode", "auto"))
