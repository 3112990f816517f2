"""The multi round-trip driver, against a server that is a script of results."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.calls.model import LATER, Resume, Suspended
from gateway.config.resolved import ServerConfig
from gateway.errors import CallError, LimitExceeded, NobodyAnswered, QuestionRefused
from gateway.upstream.rounds import drive
from tests.support.raw.peers import HERE, Recorder

Json = dict[str, Any]
CONFIG = ServerConfig("s", "http", HERE, max_rounds=3, max_questions=4)
DONE: Json = {"resultType": "complete", "content": []}
ASK: Json = {"method": "elicitation/create", "params": {"message": "?"}}
SAMPLE: Json = {"method": "sampling/createMessage", "params": {"messages": []}}
YES: Json = {"action": "accept", "content": {}}


class Script:
    """Answers each round with the next result, and keeps the params it was sent."""

    def __init__(self, *results: Json) -> None:
        self.results = list(results)
        self.sent: list[Json] = []

    async def __call__(self, params: Json) -> Json:
        self.sent.append(params)
        return self.results.pop(0)


def asks(state: str | None = None, **requests: Json) -> Json:
    result: Json = {"resultType": "input_required"}
    if requests:
        result["inputRequests"] = requests
    if state is not None:
        result["requestState"] = state
    return result


async def test_a_result_without_a_type_is_final() -> None:
    script = Script({"content": []})
    assert await drive(CONFIG, {"name": "t"}, None, None, script) == {"content": []}
    assert script.sent == [{"name": "t"}]


async def test_answers_go_back_by_key_with_the_servers_state_byte_for_byte() -> None:
    state = '\u2028{"é":\x00 1}  '
    script = Script(asks(state, a=ASK, b=SAMPLE), DONE)
    recorder = Recorder({"elicitation/create": YES, "sampling/createMessage": {"model": "m"}})
    assert await drive(CONFIG, {"name": "t", "x": 1}, recorder.scope, None, script) == DONE
    assert script.sent[1] == {
        "name": "t",
        "x": 1,
        "inputResponses": {"a": YES, "b": {"model": "m"}},
        "requestState": state,
    }


async def test_no_state_is_sent_where_none_came_and_no_old_one_either() -> None:
    script = Script(asks("one", a=ASK), asks(None, b=ASK), DONE)
    await drive(CONFIG, {}, Recorder({"elicitation/create": YES}).scope, None, script)
    assert script.sent[1] == {"inputResponses": {"a": YES}, "requestState": "one"}
    assert script.sent[2] == {"inputResponses": {"b": YES}}


async def test_rounds_of_state_alone_are_retried_without_answers() -> None:
    script = Script(asks("one"), asks("two"), DONE)
    assert await drive(CONFIG, {}, None, None, script) == DONE
    assert script.sent[1:] == [{"requestState": "one"}, {"requestState": "two"}]


async def test_more_rounds_than_allowed_end_the_call_naming_the_setting() -> None:
    script = Script(*(asks(str(n)) for n in range(9)))
    with pytest.raises(LimitExceeded, match="max_rounds"):
        await drive(CONFIG, {}, None, None, script)
    assert len(script.sent) == CONFIG.max_rounds + 1


async def test_more_questions_than_allowed_end_the_call_before_any_is_put() -> None:
    recorder = Recorder()
    script = Script(asks(**{str(n): ASK for n in range(5)}))
    with pytest.raises(LimitExceeded, match="max_questions"):
        await drive(CONFIG, {}, recorder.scope, None, script)
    assert recorder.questions == []


async def test_a_question_for_later_suspends_the_call_with_what_is_answered_already() -> None:
    script = Script(asks("state", a=ASK, b=SAMPLE))
    recorder = Recorder({"elicitation/create": LATER, "sampling/createMessage": {"model": "m"}})
    outcome = await drive(CONFIG, {"name": "t"}, recorder.scope, None, script)
    assert outcome == Suspended({"a": ASK}, Resume("state", {"b": {"model": "m"}}, 1, 2, {"a": 1}))


async def test_a_resumed_call_sends_its_answers_at_once_and_counts_on() -> None:
    resume = Resume("state", {"a": YES, "b": {"model": "m"}}, 2, 2, {"a": 1})
    script = Script(asks("next", c=ASK))
    outcome = await drive(CONFIG, {}, Recorder({"elicitation/create": LATER}).scope, resume, script)
    assert script.sent == [{"inputResponses": {"a": YES, "b": {"model": "m"}}, "requestState": "state"}]
    assert isinstance(outcome, Suspended)
    assert (outcome.resume.round, outcome.resume.questions) == (3, 3)


async def test_a_resumed_call_without_state_sends_none() -> None:
    script = Script(DONE)
    await drive(CONFIG, {}, None, Resume(None, {"a": YES}), script)
    assert script.sent == [{"inputResponses": {"a": YES}}]


@pytest.mark.parametrize(("answers", "asked"), [({}, 2), ({"a": YES}, 0)])
async def test_a_key_counts_as_asked_again_only_if_its_retry_lacked_the_answer(
    answers: Json, asked: int
) -> None:
    recorder = Recorder({"elicitation/create": LATER})
    outcome = await drive(
        CONFIG, {}, recorder.scope, Resume("s", answers, 2, 2, {"a": 2}), Script(asks("s", a=ASK))
    )
    assert recorder.questions[0][1].asked == asked
    assert isinstance(outcome, Suspended)
    assert outcome.resume.asked == {"a": asked + 1}


async def test_one_question_that_fails_ends_the_call_and_takes_the_others_back() -> None:
    withdrawn = asyncio.Event()

    class Scope:
        async def question(self, asked: Any, *, deferrable: bool) -> Json:
            if asked.method == "sampling/createMessage":
                raise NobodyAnswered("nobody", {}, unavailable=True)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                withdrawn.set()
                raise
            return {}

        def notification(self, method: str, params: Json) -> None: ...

    with pytest.raises(NobodyAnswered, match="nobody"):
        await drive(CONFIG, {}, Scope(), None, Script(asks("s", a=ASK, b=SAMPLE)))
    assert withdrawn.is_set()


async def test_a_question_on_a_request_of_the_gateways_own_is_an_error() -> None:
    with pytest.raises(CallError, match="no client made"):
        await drive(CONFIG, {}, None, None, Script(asks("s", a=ASK)))


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({}, "neither inputRequests nor requestState"),
        ({"requestState": 7}, "not a string"),
        ({"inputRequests": ["a"]}, "not an object"),
        ({"inputRequests": {"a": 1}}, "'a' that is not a request"),
        ({"inputRequests": {"a": {"method": "m", "params": []}}}, "'a' that is not a request"),
    ],
)
async def test_an_input_required_result_that_makes_no_sense_is_named(result: Json, words: str) -> None:
    script = Script({"resultType": "input_required", **result})
    with pytest.raises(CallError, match=words):
        await drive(CONFIG, {}, Recorder({"m": QuestionRefused("no")}).scope, None, script)
