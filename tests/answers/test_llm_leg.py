from __future__ import annotations

import json
from typing import Any

import pytest
import structlog

from gateway.answers.elicitation_llm import MAX_MESSAGE, complexity
from gateway.answers.stamp import KEY
from gateway.config.resolved import ElicitationByLlm, SchemaComplexity
from gateway.errors import NobodyAnswered, ProviderError
from gateway.llm.port import Attempt
from gateway.policy.model import Outcome, Strategy
from tests.answers.players import PARAMS, SCHEMA, Json, ScriptedLlm, scene

GOOD = '{"date": "2026-06-01", "seats": 4}'


def filled(*replies: Any, **options: Any) -> Any:
    return scene(Strategy.LLM, llm=ScriptedLlm(list(replies)), **options)


async def refused(stage: Any, kind: str, params: Json) -> Any:
    with pytest.raises(NobodyAnswered) as raised:
        await stage.ask(kind, params)
    return raised.value.data["legs"][0]


async def test_a_sampling_request_maps_fully_to_a_prompt() -> None:
    stage = filled("hello")
    tool = {"name": "t", "inputSchema": {"type": "object"}, "x-own": 1}
    message = {"role": "user", "content": [{"type": "text", "text": "a"}], "_meta": {"m": 1}}
    params = {
        "messages": [message],
        "maxTokens": 77,
        "systemPrompt": "Be brief",
        "temperature": 0.3,
        "stopSequences": ["END"],
        "modelPreferences": {"hints": [{"name": "small"}]},
        "tools": [tool],
        "toolChoice": {"mode": "auto"},
        "includeContext": "allServers",
    }

    result = await stage.ask("sampling", params)

    prompt = stage.llm.prompts[0]
    assert (prompt.messages, prompt.max_tokens, prompt.system) == ((message,), 77, "Be brief")
    assert (prompt.temperature, prompt.stop_sequences) == (0.3, ("END",))
    assert prompt.model_preferences == {"hints": [{"name": "small"}]}
    assert (prompt.tools, prompt.tool_choice, prompt.schema) == ((tool,), {"mode": "auto"}, None)
    assert (stage.llm.budgets[0].timeout, stage.llm.budgets[0].max_attempts) == (20.0, 2)
    del result["_meta"]
    assert result == {
        "role": "assistant",
        "content": {"type": "text", "text": "hello"},
        "model": "tiny-model",
        "stopReason": "endTurn",
    }


async def test_more_tokens_than_allowed_are_capped_for_the_model_and_logged() -> None:
    stage = filled("hello", max_tokens=100)

    with structlog.testing.capture_logs() as logs:
        await stage.ask("sampling", {**PARAMS["sampling"], "maxTokens": 5000})

    assert stage.llm.prompts[0].max_tokens == 100
    assert [(line["asked"], line["limit"]) for line in logs if line["event"] == "max_tokens_capped"] == [
        (5000, 100)
    ]


async def test_a_request_that_forgets_max_tokens_gets_the_bound() -> None:
    stage = filled("hello", max_tokens=100)

    await stage.ask("sampling", {"messages": PARAMS["sampling"]["messages"]})

    assert stage.llm.prompts[0].max_tokens == 100


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"messages": "text"}, "messages"),
        ({"messages": [{"role": "wizard", "content": {"type": "text", "text": "x"}}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": {"type": "text"}}]}, "messages.0.content"),
        ({"maxTokens": 0}, "maxTokens"),
        ({"maxTokens": "many"}, "maxTokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"tools": [{"no": "name"}]}, "tools.0"),
    ],
)
async def test_an_unusable_request_never_reaches_a_model_and_the_field_is_named(
    change: Json, place: str
) -> None:
    stage = filled("never")

    leg = await refused(stage, "sampling", {**PARAMS["sampling"], **change})

    assert stage.llm.prompts == []
    assert (leg["outcome"], leg["code"]) == ("failed", "E011")
    assert place in leg["reason"]


async def test_a_chains_attempts_are_recorded_when_it_fails() -> None:
    error = ProviderError("all down", code="E008")
    error.attempts = (Attempt("openai", "gpt", 0.1, "503 from host", "E008"),)
    stage = filled(error)

    leg = await refused(stage, "sampling", PARAMS["sampling"])

    assert "503" not in str(leg)
    assert stage.decision.legs[0].attempts[0]["error"] == "503 from host"
    assert stage.decision.legs[0].detail == "all down"


async def test_a_model_that_ignores_its_budget_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.answers.llm._GRACE_SECONDS", 0.0)
    stage = filled(None, timeout=0.01)

    leg = await refused(stage, "sampling", PARAMS["sampling"])

    assert (leg["outcome"], leg["code"]) == ("timed_out", "E002")
    assert stage.llm.aborted


async def test_a_form_is_accepted_and_marked_as_the_llms() -> None:
    stage = filled(GOOD)

    result = await stage.ask("elicitation")

    assert result.pop("_meta")[KEY]["source"] == "llm"
    assert result == {"action": "accept", "content": {"date": "2026-06-01", "seats": 4}}
    assert stage.llm.prompts[0].schema == SCHEMA


@pytest.mark.parametrize("text", [f"```json\n{GOOD}\n```", f"  {GOOD}\n", '{"extra": 1, ' + GOOD[1:]])
async def test_fences_blanks_and_fields_nobody_asked_for_are_taken_off(text: str) -> None:
    assert (await filled(text).ask("elicitation"))["content"] == {"date": "2026-06-01", "seats": 4}


async def test_the_prompt_holds_only_the_form_and_what_the_server_got_in_this_call() -> None:
    stage = filled(GOOD)

    await stage.ask("elicitation", {**PARAMS["elicitation"], "_meta": {"trace": "hidden"}})

    prompt = stage.llm.prompts[0]
    (message,) = prompt.messages
    assert message["content"]["text"].splitlines() == [
        "The form asks: Which table?",
        f"Its JSON Schema: {json.dumps(SCHEMA)}",
        'The call being carried out: tools/call {"name": "book", "arguments": {"city": "Ulm"}}',
    ]
    assert "hidden" not in str(prompt)
    assert "alice" not in str(prompt)


async def test_a_wrong_answer_is_sent_back_with_the_error_and_repaired() -> None:
    stage = filled('{"date": "soon", "seats": 4}', GOOD)

    assert (await stage.ask("elicitation"))["content"]["date"] == "2026-06-01"

    first, second, repair = stage.llm.prompts[1].messages
    assert second == {
        "role": "assistant",
        "content": {"type": "text", "text": '{"date": "soon", "seats": 4}'},
    }
    assert "'soon' is not a 'date'" in repair["content"]["text"]
    assert first["role"] == "user"
    assert stage.llm.budgets[1].timeout <= stage.llm.budgets[0].timeout
    leg = stage.decision.legs[0]
    assert (leg.input_tokens, leg.output_tokens, len(leg.attempts)) == (14, 6, 2)


@pytest.mark.parametrize("repairs", [0, 1, 3])
async def test_repairs_are_bounded_by_their_setting(repairs: int) -> None:
    stage = filled("not json", settings=ElicitationByLlm(max_repairs=repairs))

    leg = await refused(stage, "elicitation", PARAMS["elicitation"])

    assert len(stage.llm.prompts) == repairs + 1
    assert (leg["outcome"], leg["code"]) == ("failed", "E010")
    assert len(stage.decision.legs[0].attempts) == repairs + 1


async def test_a_provider_that_fails_during_a_repair_keeps_the_first_attempt_on_record() -> None:
    error = ProviderError("late", code="E002")
    error.attempts = (Attempt("local", "tiny-model", 1.0, "late", "E002"),)
    stage = filled("[]", error)

    leg = await refused(stage, "elicitation", PARAMS["elicitation"])

    assert leg["outcome"] == "timed_out"
    assert [attempt["error"] for attempt in stage.decision.legs[0].attempts] == [None, "late"]


@pytest.mark.parametrize("text", ["[]", "null", '"text"', "{", '{"date": null, "seats": 1}', "[" * 100_000])
async def test_what_is_not_the_asked_for_object_is_not_an_answer(text: str) -> None:
    leg = await refused(filled(text), "elicitation", PARAMS["elicitation"])

    assert leg["outcome"] == "failed"


@pytest.mark.parametrize("word", ["decline", "cancel"])
async def test_a_model_cannot_decline_for_a_person(word: str) -> None:
    leg = await refused(filled(json.dumps({"action": word})), "elicitation", PARAMS["elicitation"])

    assert leg["outcome"] == "failed"


async def test_url_mode_is_never_put_to_a_model() -> None:
    stage = filled(GOOD)

    leg = await refused(stage, "elicitation", {"mode": "url", "message": "x", "url": "https://e.com"})

    assert (leg["outcome"], leg["code"]) == ("unavailable", "E007")
    assert stage.llm.prompts == []


def text_form(*names: str, **extra: Any) -> Json:
    return {"type": "object", "properties": {name: {"type": "string", **extra} for name in names}}


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"message": "x", "requestedSchema": text_form("api_key")}, "E007"),
        ({"message": "Shall I delete it?", "requestedSchema": text_form("answer")}, "E007"),
        ({"message": "x" * (MAX_MESSAGE + 1), "requestedSchema": text_form("name")}, "E006"),
        ({"message": "x"}, "E011"),
        ({"message": "x", "requestedSchema": {"$ref": "#"}}, "E011"),
    ],
    ids=["secret", "consent", "long", "no schema", "endless schema"],
)
async def test_what_no_model_may_fill_in_is_unavailable(params: Json, code: str) -> None:
    stage = filled("{}")

    leg = await refused(stage, "elicitation", params)

    assert (leg["outcome"], leg["code"]) == ("unavailable", code)
    assert stage.llm.prompts == []


PRIMITIVE: Json = {"type": "string"}
CHOICE: Json = {"type": "string", "oneOf": [{"const": "a", "title": "A"}]}
LIST: Json = {"type": "array", "items": {"type": "string", "enum": ["a"]}}
TITLED_LIST: Json = {"type": "array", "items": {"anyOf": [{"const": "a", "title": "A"}]}}
OPTIONAL: Json = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
OBJECT: Json = {"type": "object", "properties": {"street": {"type": "string"}}}
NESTED_LIST: Json = {"type": "array", "items": {"type": "array"}}


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (PRIMITIVE, "Simple"),
        (CHOICE, "Simple"),
        (OPTIONAL, "Simple"),
        ({"enum": ["a", "b"]}, "Simple"),
        ({"type": ["string", "null"]}, "Simple"),
        (LIST, "WithArrays"),
        (TITLED_LIST, "WithArrays"),
        (OBJECT, "Complex"),
        (NESTED_LIST, "Complex"),
        ({"$ref": "#/$defs/x"}, "Complex"),
        ({}, "Complex"),
        (True, "Complex"),
    ],
)
def test_a_schema_is_as_complex_as_its_most_complex_field(field: Any, expected: SchemaComplexity) -> None:
    assert complexity({"type": "object", "properties": {"plain": PRIMITIVE, "field": field}}) == expected


@pytest.mark.parametrize("allowed", ["Simple", "WithArrays", "Complex"])
@pytest.mark.parametrize("field", [PRIMITIVE, LIST, OBJECT])
async def test_schemas_above_the_setting_are_unavailable_and_name_it(
    allowed: SchemaComplexity, field: Json
) -> None:
    order = ["Simple", "WithArrays", "Complex"]
    schema = {"type": "object", "properties": {"place": field}}
    stage = filled("{}", settings=ElicitationByLlm(max_schema_complexity=allowed))
    params = {"message": "Where?", "requestedSchema": schema}

    if order.index(complexity(schema)) <= order.index(allowed):
        assert (await stage.ask("elicitation", params))["action"] == "accept"
    else:
        leg = await refused(stage, "elicitation", params)
        assert leg["outcome"] == Outcome.UNAVAILABLE.value
        assert "elicitation.max_schema_complexity" in leg["reason"]


async def test_a_kind_without_models_has_no_llm_leg() -> None:
    stage = scene(Strategy.LLM, llm=ScriptedLlm([], available=False))

    leg = await refused(stage, "sampling", PARAMS["sampling"])

    assert leg["outcome"] == "unavailable"
    assert "sampling.llm_config" in leg["reason"]
