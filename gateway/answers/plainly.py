"""Sampling requests whose parameters are plainly what the schema says, told without building its models.

Most are a few messages of text. Whatever else there may be is looked at by the schema itself.
"""

from __future__ import annotations

from typing import Any, Final, cast

_FIELDS: Final = frozenset(
    {"messages", "maxTokens", "systemPrompt", "temperature", "_meta", "metadata", "includeContext"}
)
_TEXT: Final = frozenset({"type", "text"})
_MESSAGE: Final = frozenset({"role", "content"})
_ROLES: Final = ("user", "assistant")
_CONTEXTS: Final = ("none", "thisServer", "allServers")


def plainly_valid(params: dict[str, Any]) -> bool:
    """Whether parameters of `sampling/createMessage` need no closer look (2025-11-25, client/sampling)."""
    if not params.keys() <= _FIELDS or type(params.get("maxTokens")) is not int:
        return False
    temperature, messages = params.get("temperature"), params.get("messages")
    return (
        isinstance(messages, list)
        and all(_is_text(message) for message in cast("list[Any]", messages))
        and (temperature is None or type(temperature) in (int, float))
        and isinstance(params.get("systemPrompt", ""), str)
        and isinstance(params.get("metadata", {}), dict)
        and params.get("includeContext", "none") in _CONTEXTS
        and not params.get("_meta")
    )


def _is_text(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    fields = cast("dict[str, Any]", message)
    content: Any = fields.get("content")
    if fields.keys() != _MESSAGE or fields["role"] not in _ROLES or not isinstance(content, dict):
        return False
    block = cast("dict[str, Any]", content)
    return block.keys() == _TEXT and block["type"] == "text" and isinstance(block["text"], str)
