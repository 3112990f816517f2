"""How probable an answer's tokens were: asked for when wanted, and only then."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from gateway.llm.blocks import mean_logprob
from gateway.llm.local import Local
from tests.llm.dialects import DIALECTS, Dialect, make_openai, openai_said, prompt
from tests.support.scripted_http import answer, scripted_http

TOKENS = [{"token": "Hel", "logprob": -0.5, "top_logprobs": []}, {"token": "lo", "logprob": -1.5}]


def telling(dialect: Dialect) -> dict[str, Any]:
    """Word an answer with its tokens' probabilities, where the service has a place for them."""
    said = dialect.said("Hello")
    if dialect.name == "openai":
        said["choices"][0]["logprobs"] = {"content": TOKENS, "refusal": None}
    return said | {"logprobs": TOKENS} if dialect.name == "ollama" else said


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
@pytest.mark.parametrize("wanted", [True, False])
async def test_services_are_asked_for_probabilities_only_where_they_are_wanted(dialect, wanted) -> None:
    async with (
        scripted_http(answer(telling(dialect))) as server,
        aclosing(dialect.make(server.url)) as provider,
    ):
        done = await provider.complete(prompt("Hi", logprobs=wanted), timeout=5)
    tells = dialect.name != "anthropic"
    assert server.last.json.get("logprobs", False) is (wanted and tells)
    assert done.logprob == (-1.0 if tells else None)


async def test_a_model_that_refuses_them_is_asked_once_more_and_never_again() -> None:
    message = "You are not allowed to request logprobs from this model"
    refusal = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    async with (
        scripted_http(answer(refusal, status=403), *[answer(openai_said("ok"))] * 2) as server,
        aclosing(make_openai(server.url)) as provider,
    ):
        for _ in range(2):
            assert (await provider.complete(prompt("Hi", logprobs=True), timeout=5)).logprob is None
    assert ["logprobs" in request.json for request in server.requests] == [True, False, False]


async def test_the_model_in_the_process_tells_how_sure_it_was() -> None:
    async with aclosing(Local()) as model:
        asked = prompt("What is the capital of France?", temperature=0.0, max_tokens=12, logprobs=True)
        sure = await model.complete(asked, timeout=60)
        plain = await model.complete(prompt("Hi", max_tokens=2), timeout=60)
    assert sure.logprob is not None
    assert -1 < sure.logprob <= 0
    assert plain.logprob is None


@pytest.mark.parametrize("told", [None, "x", [], [None], [{"token": "a"}], [{"logprob": "-1"}]])
def test_what_is_no_list_of_probabilities_says_nothing(told) -> None:
    assert mean_logprob(told) is None
