"""Forms that the LLM fills in: each shape of a field, defaults and titles, and how far it is believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.answers.elicitation_llm import complexity
from gateway.answers.grounding import grounding
from gateway.answers.stamp import KEY
from gateway.config.resolved import ElicitationByLlm
from gateway.errors import NobodyAnswered
from gateway.policy.model import Strategy
from tests.answers.players import FakeCaller, Scene, ScriptedLlm, scene
from tests.support.forms import FORMS, form_of

Json = dict[str, Any]


def stage_of(*replies: Any, strategy: Strategy = Strategy.LLM, **fields: Any) -> Scene:
    texts = [json.dumps(reply) for reply in replies]
    return scene(strategy, llm=ScriptedLlm(list(texts)), **fields)


def asking(schema: Json, message: str = "Which one?") -> Json:
    return {"message": message, "requestedSchema": schema}


@pytest.mark.parametrize("name", FORMS)
async def test_every_form_of_a_field_is_filled_in_as_the_specification_has_it(name) -> None:
    field, fitting, _ = FORMS[name]
    for value in fitting:
        stage = stage_of({"which": value, "name": "Ann"})
        result = await stage.ask("elicitation", asking(form_of(field)))
        assert result["content"] == {"which": value, "name": "Ann"}
        assert stage.llm.prompts[0].schema == form_of(field)


@pytest.mark.parametrize("name", FORMS)
async def test_what_does_not_fit_a_field_is_sent_back_and_never_delivered(name) -> None:
    field, fitting, unfit = FORMS[name]
    for value in unfit:
        stage = stage_of({"which": value, "name": "Ann"}, {"which": fitting[0], "name": "Ann"})
        result = await stage.ask("elicitation", asking(form_of(field)))
        assert result["content"]["which"] == fitting[0]
        assert len(stage.llm.prompts) == 2

        stage = stage_of({"which": value, "name": "Ann"}, settings=ElicitationByLlm(max_repairs=0))
        with pytest.raises(NobodyAnswered):
            await stage.ask("elicitation", asking(form_of(field)))


@pytest.mark.parametrize("name", FORMS)
def test_multiple_choices_are_arrays_and_everything_else_is_simple(name) -> None:
    expected = "WithArrays" if name.startswith("several") else "Simple"
    assert complexity(form_of(FORMS[name][0])) == expected


@pytest.mark.parametrize(
    ("name", "said", "value"),
    [
        ("a titled choice", "Large", "L"),
        ("a titled choice", " small ", "S"),
        ("an older titled choice", "Large", "L"),
        ("several titled choices", ["Small"], ["S"]),
    ],
)
async def test_a_choice_given_by_its_title_becomes_its_value(name, said, value) -> None:
    stage = stage_of({"which": said, "name": "Ann"})
    assert (await stage.ask("elicitation", asking(form_of(FORMS[name][0]))))["content"]["which"] == value
    assert len(stage.llm.prompts) == 1


@pytest.mark.parametrize(
    ("field", "default"),
    [
        ({"type": "string"}, "Ulm"),
        ({"type": "number"}, 1.5),
        ({"type": "integer"}, 3),
        ({"type": "boolean"}, True),
        ({"type": "string", "enum": ["S", "L"]}, "L"),
        ({"type": "array", "items": {"type": "string", "enum": ["S", "L"]}}, ["S"]),
    ],
)
async def test_defaults_stand_where_the_model_left_a_field_out(field, default) -> None:
    schema = form_of({**field, "default": default})
    result = await stage_of({"name": "Ann"}).ask("elicitation", asking(schema))
    assert result["content"] == {"which": default, "name": "Ann"}


SOURCE = "A table for two on May 3 in the Blue Room, please. Size: Large. Mail to ann@b.org"


@pytest.mark.parametrize(
    ("field", "value", "mark"),
    [
        ({"type": "string"}, "Blue Room", 1),
        ({"type": "string"}, "Room Blue", 0.5),
        ({"type": "string"}, "Green Garden", 0),
        ({"type": "string", "format": "email"}, "ann@b.org", 1),
        ({"type": "integer"}, 2, 1),
        ({"type": "integer"}, 4, 0),
        ({"type": "string", "format": "date"}, "2026-05-03", 1),
        ({"type": "string", "format": "date"}, "2026-06-03", 0),
        ({"type": "string", "format": "date"}, "2026-05-04", 0),
        (FORMS["a titled choice"][0], "L", 1),
        (FORMS["a titled choice"][0], "S", 0),
        (FORMS["several titled choices"][0], ["L", "S"], 0.5),
        ({"type": "boolean"}, True, 0),
        ({"type": "boolean", "default": True}, True, 1),
        ({"type": "string", "default": "none"}, "none", 1),
    ],
)
def test_a_value_is_worth_as_much_as_of_it_stands_in_what_the_server_sent(field, value, mark) -> None:
    assert grounding({"which": value}, form_of(field), SOURCE, {}) == mark


@pytest.mark.parametrize("value", [True, 7, "Ulm", ["a", "b"]])
def test_an_argument_of_the_same_name_and_value_is_as_good_as_it_gets(value) -> None:
    assert grounding({"which": value}, form_of({}), "", {"which": value}) == 1
    assert grounding({"which": value}, form_of({}), "", {}) == 0


FORM = form_of({"type": "string"})


@pytest.mark.parametrize(
    ("content", "floor", "stands"),
    [
        ({"which": "Ulm", "name": "book"}, 0.0, True),
        ({"which": "Paris", "name": "Bob"}, 0.0, True),
        ({"which": "Paris", "name": "Bob"}, 0.5, False),
        ({"which": "Ulm", "name": "Ann"}, 0.9, True),
        ({"which": "Ulm", "name": "Bob"}, 0.9, False),
    ],
)
async def test_a_form_below_the_floor_is_no_answer(content, floor, stands) -> None:
    stage = stage_of(content, min_confidence=floor)
    params = asking(FORM, "In which city does Ann want it?")

    if stands:
        result = await stage.ask("elicitation", params)
        confidence = result["_meta"][KEY]["legs"][0]["confidence"]
        assert confidence["score"] >= floor
        assert set(confidence["signals"]) == {"grounding", "format"}
    else:
        with pytest.raises(NobodyAnswered) as raised:
            await stage.ask("elicitation", params)
        assert raised.value.data is not None
        assert raised.value.data["code"] == "E014"
        assert "Paris" not in str(raised.value.data)
        assert len(stage.decision.legs[0].attempts) == 1
    assert stage.llm.prompts[0].logprobs is (floor > 0)


async def test_below_the_floor_a_person_is_asked_where_the_strategy_falls_back() -> None:
    theirs = {"action": "accept", "content": {"which": "Bonn", "name": "Ann"}}
    stage = stage_of(
        {"which": "Paris", "name": "Bob"},
        strategy=Strategy.LLM_FIRST,
        caller=FakeCaller(theirs),
        min_confidence=0.6,
    )
    result = await stage.ask("elicitation", asking(FORM))
    assert result["content"] == theirs["content"]
    assert [leg["outcome"] for leg in result["_meta"][KEY]["legs"]] == ["failed", "success"]


async def test_a_form_that_had_to_be_repaired_is_believed_less() -> None:
    scores: list[float] = []
    for replies in (({"which": "Ulm", "name": "Ulm"},), ({"which": 5}, {"which": "Ulm", "name": "Ulm"})):
        result = await stage_of(*replies).ask("elicitation", asking(FORM))
        scores.append(result["_meta"][KEY]["legs"][0]["confidence"]["score"])
    assert scores[0] > scores[1]
