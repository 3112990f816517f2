"""What is taken for plainly valid is valid by the schema, and means the same there."""

from __future__ import annotations

from typing import Any

import pytest
from mcp_types import CreateMessageRequestParams
from pydantic import ValidationError

from gateway.answers.plainly import plainly_valid

TEXT: dict[str, Any] = {"role": "user", "content": {"type": "text", "text": "Hello"}}
PLAIN: dict[str, Any] = {"messages": [TEXT], "maxTokens": 10}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"messages": []},
        {"messages": [TEXT, {**TEXT, "role": "assistant"}]},
        {
            "systemPrompt": "Be brief.",
            "temperature": 0.2,
            "includeContext": "thisServer",
            "metadata": {"a": 1},
        },
        {"temperature": 1},
    ],
)
def test_what_is_plainly_valid_is_valid(more: dict[str, Any]) -> None:
    params = {**PLAIN, **more}
    assert plainly_valid(params)
    checked = CreateMessageRequestParams.model_validate(params)
    assert (checked.max_tokens, checked.system_prompt, checked.temperature) == (
        params["maxTokens"],
        params.get("systemPrompt"),
        params.get("temperature"),
    )


@pytest.mark.parametrize(
    "more",
    [
        {"messages": None},
        {"messages": [None]},
        {"messages": ["Hello"]},
        {"messages": [{**TEXT, "role": "system"}]},
        {"messages": [{**TEXT, "content": None}]},
        {"messages": [{**TEXT, "content": {"type": "text"}}]},
        {"messages": [{**TEXT, "content": {"type": "text", "text": 1}}]},
        {"messages": [{**TEXT, "content": {"type": "hologram", "text": "x"}}]},
        {"messages": [{"role": ["user"], "content": TEXT["content"]}]},
        {"maxTokens": None},
        {"maxTokens": "ten"},
        {"temperature": "warm"},
        {"temperature": []},
        {"systemPrompt": 1},
        {"includeContext": "everything"},
        {"includeContext": {}},
        {"metadata": []},
        {"stopSequences": 1},
        {"_meta": 1},
        {"tools": {}},
        {"modelPreferences": []},
    ],
)
def test_what_is_invalid_is_never_plainly_valid(more: dict[str, Any]) -> None:
    params = {**PLAIN, **more}
    with pytest.raises(ValidationError):
        CreateMessageRequestParams.model_validate(params)
    assert not plainly_valid(params)
