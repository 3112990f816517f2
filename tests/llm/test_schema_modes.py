"""Each provider's own way to be held to a JSON Schema, with every form that an elicitation may have."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import jsonschema
import pytest
import pytest_asyncio

from gateway.llm.local import Local
from tests.llm.dialects import DIALECTS, Dialect, prompt
from tests.support.forms import FORMS, form_of
from tests.support.scripted_http import answer, scripted_http


def schema_in(request: dict[str, Any], dialect: Dialect) -> Any:
    """Where each service takes a schema, by its API reference."""
    if dialect.name == "openai":
        assert request["response_format"]["type"] == "json_schema"
        return request["response_format"]["json_schema"]["schema"]
    if dialect.name == "anthropic":
        assert request["output_config"]["format"]["type"] == "json_schema"
        return request["output_config"]["format"]["schema"]
    return request["format"]


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
async def test_a_service_is_sent_every_form_of_a_schema_in_its_own_mode(dialect) -> None:
    schemas = [form_of(field) for field, _, _ in FORMS.values()]
    async with (
        scripted_http(*[answer(dialect.said("{}"))] * len(schemas)) as server,
        aclosing(dialect.make(server.url)) as provider,
    ):
        for schema in schemas:
            await provider.complete(prompt("Fill it in", schema=schema), timeout=5)
    for request, schema in zip(server.requests, schemas, strict=True):
        sent = schema_in(request.json, dialect)
        jsonschema.Draft202012Validator.check_schema(sent)
        assert set(sent["properties"]) == {"which", "name"}
        assert set(sent["required"]) == {"which", "name"}
        if dialect.name != "anthropic":  # whose SDK moves what the API does not take into descriptions
            assert sent == schema


LOOSE = {"a number": ("minimum", "maximum"), "an address": ("format",), "a link": ("format",)}
"""What llama.cpp's grammars do not hold a model to; the gateway's own check does, and has it repaired."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[Local]:
    async with aclosing(Local()) as provider:
        yield provider


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", FORMS)
async def test_the_model_in_the_process_keeps_to_every_form(model, name) -> None:
    loose = LOOSE.get(name, ())
    field = {key: value for key, value in FORMS[name][0].items() if key not in loose}
    # Text without an end would run into the token limit, where no grammar can help.
    bounded = {"maxLength": 12, **field} if field == {"type": "string"} else field
    schema = form_of(bounded)
    schema["properties"]["name"]["maxLength"] = 8
    asked = prompt("Fill in the form for Ann.", schema=schema, max_tokens=120, temperature=0.0)
    done = await model.complete(asked, timeout=60)
    jsonschema.validate(json.loads(done.content["text"]), schema)
