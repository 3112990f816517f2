from __future__ import annotations

from typing import Any

import pytest

from gateway.answers import outgoing
from gateway.answers.client import ClientAnswerer, read_answer
from gateway.answers.model import DEFERRED, Answer, LegEnded
from gateway.calls.model import Unanswered
from gateway.policy.model import Outcome, Route, Strategy
from tests.answers.players import (
    ACCEPTED,
    CLIENT_ANSWER,
    EVERYTHING,
    PARAMS,
    SAMPLED,
    FakeCaller,
    Json,
    scene,
)

ROUTE = Route("sampling", Strategy.CLIENT, "built_in", "built in", True, 5.0, 5.0, 1, ())
URL: Json = {"mode": "url", "message": "Sign in", "url": "https://example.com", "elicitationId": "1"}


async def ended(caller: FakeCaller, kind: str, params: Json | None = None, **changes: Any) -> LegEnded:
    request = scene(caller=caller).request(kind, params, **changes)
    with pytest.raises(LegEnded) as raised:
        await ClientAnswerer().answer(request, ROUTE)
    return raised.value


@pytest.mark.parametrize(
    ("kind", "params", "bit"),
    [
        ("sampling", {}, "sampling"),
        ("sampling", {"tools": [{"name": "t"}]}, "sampling.tools"),
        ("sampling", {"toolChoice": {"mode": "none"}}, "sampling.tools"),
        ("elicitation", {}, "elicitation.form"),
        ("elicitation", {"mode": "form"}, "elicitation.form"),
        ("elicitation", URL, "elicitation.url"),
    ],
)
async def test_a_client_is_not_asked_what_it_did_not_declare(kind: str, params: Json, bit: Any) -> None:
    caller = FakeCaller(profile=EVERYTHING - {bit})

    leg = await ended(caller, kind, {**PARAMS[kind], **params})

    assert leg.outcome is Outcome.UNAVAILABLE
    assert leg.reason == f"the client did not declare the capability '{bit}'"
    assert caller.asked == []


async def test_an_elicitation_mode_nobody_knows_is_asked_of_nobody() -> None:
    leg = await ended(FakeCaller(), "elicitation", {"mode": "telepathy", "message": "?"})

    assert leg.outcome is Outcome.UNAVAILABLE


async def test_a_question_of_no_call_has_no_client() -> None:
    leg = await ended(FakeCaller(), "sampling", call=None)

    assert leg.outcome is Outcome.UNAVAILABLE
    assert "belongs to no call" in leg.reason


async def test_a_modern_client_gets_deferrable_questions_with_its_result() -> None:
    request = scene(caller=FakeCaller(defers=True)).request("elicitation", deferrable=True, asked=1)

    assert await ClientAnswerer().answer(request, ROUTE) is DEFERRED


async def test_capabilities_are_checked_before_a_question_is_deferred() -> None:
    modern = FakeCaller(defers=True, profile=frozenset({"sampling"}))

    assert (await ended(modern, "elicitation", deferrable=True)).outcome is Outcome.UNAVAILABLE


async def test_a_modern_client_has_failed_after_two_retries_without_the_answer() -> None:
    leg = await ended(FakeCaller(defers=True), "elicitation", deferrable=True, asked=2)

    assert leg.outcome is Outcome.FAILED
    assert leg.reason == "the client retried 2 times without answering"


async def test_a_modern_client_is_asked_while_a_handshake_server_waits() -> None:
    caller = FakeCaller(CLIENT_ANSWER["elicitation"], defers=True)

    answer = await ClientAnswerer().answer(scene(caller=caller).request("elicitation"), ROUTE)

    assert isinstance(answer, Answer)
    assert answer.result == CLIENT_ANSWER["elicitation"]


async def test_a_modern_client_that_retries_without_an_answer_has_failed() -> None:
    leg = await ended(FakeCaller(Unanswered("retried 2 times"), defers=True), "elicitation")

    assert (leg.outcome, leg.reason) == (Outcome.FAILED, "retried 2 times")


async def test_the_label_changes_an_elicitations_message_and_nothing_else() -> None:
    params = {**PARAMS["elicitation"], "x-extra": {"a": [1]}, "_meta": {"b": 2}}
    before = str(params)
    stage = scene(caller=FakeCaller(ACCEPTED))

    await stage.ask("elicitation", params)

    assert stage.caller.asked == [("elicitation/create", {**params, "message": "[booking] Which table?"})]
    assert str(params) == before


async def test_url_elicitations_are_labelled_and_sampling_is_not() -> None:
    stage = scene(caller=FakeCaller({"action": "accept"}))
    await stage.ask("elicitation", URL)
    stage.caller.reply = SAMPLED
    await stage.ask("sampling", {**PARAMS["sampling"], "message": "odd"})

    assert [params["message"] for _, params in stage.caller.asked] == ["[booking] Sign in", "odd"]


async def test_labels_can_be_turned_off() -> None:
    stage = scene(caller=FakeCaller(ACCEPTED), label=False)

    await stage.ask("elicitation")

    assert stage.caller.asked[0][1] is PARAMS["elicitation"]


def test_a_message_that_is_no_text_stays_as_it_is() -> None:
    assert outgoing.label({"message": 7}, "booking") == {"message": 7}
    assert outgoing.label({}, "booking") == {}


@pytest.mark.parametrize("declared", [True, False])
async def test_include_context_goes_only_to_clients_that_declared_it(declared: bool) -> None:
    profile = EVERYTHING if declared else EVERYTHING - {"sampling.context"}
    stage = scene(caller=FakeCaller(SAMPLED, profile))
    params = {**PARAMS["sampling"], "includeContext": "allServers", "metadata": {"k": "v"}}

    await stage.ask("sampling", params)

    assert stage.caller.asked[0][1] == (
        params if declared else {**PARAMS["sampling"], "metadata": {"k": "v"}}
    )


async def test_the_client_gets_max_tokens_as_the_server_asked() -> None:
    stage = scene(caller=FakeCaller(SAMPLED), max_tokens=10)

    await stage.ask("sampling", {**PARAMS["sampling"], "maxTokens": 100_000})

    assert stage.caller.asked[0][1]["maxTokens"] == 100_000


def form(schema: Any, content: Any) -> Json:
    request = scene().request("elicitation", {"message": "?", "requestedSchema": schema})
    return read_answer(request, {"action": "accept", "content": content}).result


def test_a_null_in_an_optional_field_counts_as_left_empty() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}

    assert form({**schema, "required": ["a"]}, {"a": "x", "b": None})["content"] == {"a": "x", "b": None}
    with pytest.raises(LegEnded):
        form({**schema, "required": ["b"]}, {"a": "x", "b": None})


def test_a_persons_answer_is_not_thrown_away_over_a_format() -> None:
    schema = {"type": "object", "properties": {"mail": {"type": "string", "format": "email"}}}

    assert form(schema, {"mail": "call me"})["content"] == {"mail": "call me"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "no-such-type"}}},
        {"type": "object", "properties": {"a": {"pattern": "(?=x)"}}},
        {"$ref": "http://169.254.169.254/latest"},
        "not a schema",
    ],
)
def test_a_schema_that_cannot_be_applied_is_the_servers_fault_not_the_clients(schema: Any) -> None:
    assert form(schema, {"a": "b"})["content"] == {"a": "b"}


def test_why_content_is_refused_names_the_rule_and_never_the_content() -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer", "maximum": 150}}}

    with pytest.raises(LegEnded) as raised:
        form(schema, {"age": 31337})

    assert raised.value.reason.endswith("content.age does not satisfy maximum: 150")
    assert "31337" not in raised.value.reason


@pytest.mark.parametrize("content", [None, [], "text"])
def test_accepted_content_must_be_an_object(content: Any) -> None:
    with pytest.raises(LegEnded, match="not an object"):
        form({"type": "object", "properties": {}}, content)


def test_an_empty_form_may_be_accepted_without_content() -> None:
    request = scene().request("elicitation", {"message": "?", "requestedSchema": {"type": "object"}})

    assert read_answer(request, {"action": "accept"}).result == {"action": "accept"}


@pytest.mark.parametrize(
    "result",
    [
        {},
        {**SAMPLED, "role": "system"},
        {**SAMPLED, "model": None},
        {**SAMPLED, "content": "text"},
        {**SAMPLED, "content": [{"type": "text"}, 3]},
        {key: value for key, value in SAMPLED.items() if key != "content"},
    ],
)
def test_a_sampling_result_without_role_content_or_model_has_failed(result: Json) -> None:
    with pytest.raises(LegEnded) as raised:
        read_answer(scene().request("sampling"), result)

    assert (raised.value.outcome, raised.value.code) == (Outcome.FAILED, "E010")


def test_a_sampling_result_may_hold_several_blocks_of_any_type() -> None:
    blocks = [{"type": "tool_use", "id": "1", "name": "t", "input": {}}, {"type": "of-the-future"}]

    answer = read_answer(scene().request("sampling"), {**SAMPLED, "content": blocks})

    assert answer.result["content"] == blocks
    assert answer.model == "client-model"
