"""How the LLM makes its answers: reasoning that is not returned, votes, revisions, and their bounds."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any

import pytest

from gateway.answers.reasoning import concluded
from gateway.answers.stamp import KEY
from gateway.config.resolved import ElicitationByLlm
from gateway.errors import NobodyAnswered, ProviderError
from gateway.policy.model import Outcome, Strategy, Technique
from tests.answers.players import FakeCaller, Scene, ScriptedLlm, scene

DOWN = ProviderError("down", code="E008")
THINKING = Technique("chain_of_thought")
VOTING = Technique("consensus", samples=3, temperature=0.5)
REVISING = Technique("iterative", rounds=2)


def stage_of(technique: Technique, *replies: Any, **fields: Any) -> Scene:
    return scene(Strategy.LLM, llm=ScriptedLlm(list(replies)), technique=technique, **fields)


def asking(text: str = "What is 6 * 7?", **params: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": {"type": "text", "text": text}}],
        "maxTokens": 50,
        **params,
    }


def leg_of(result: dict[str, Any]) -> dict[str, Any]:
    return result["_meta"][KEY]["legs"][-1]


@pytest.mark.parametrize(
    ("text", "conclusion"),
    [
        ("Six sevens. <answer>42</answer>", "42"),
        ("First <answer>40</answer>, no: <ANSWER>\n42\n</ANSWER> done", "42"),
        ("Six sevens. <answer>42", "42"),
        ("<think>is it <answer>41</answer>?</think><answer>42</answer>", "42"),
        ("<think>six sevens</think>\n42", "42"),
        ("<think>six sevens, which goes on", None),
        ("Six sevens.\n**Final Answer:** 42", "42"),
        ("Six sevens.\nThe final answer is: **42**", "42"),
        ("So it is \\boxed{42}.", "42"),
        ("Six sevens are forty-two.", None),
        ("<answer></answer>", None),
        ("", None),
    ],
)
def test_a_conclusion_is_what_a_model_marked_as_such(text, conclusion) -> None:
    assert concluded(text) == conclusion


async def test_reasoning_is_asked_for_and_not_returned() -> None:
    stage = stage_of(THINKING, "Six sevens make it.\n<answer>42</answer>")

    result = await stage.ask("sampling", asking(systemPrompt="Be brief", stopSequences=["6"]))

    (prompt,) = stage.llm.prompts
    assert result["content"] == {"type": "text", "text": "42"}
    assert prompt.system is not None
    assert prompt.system.startswith("Be brief")
    assert "<answer>" in prompt.system
    assert prompt.stop_sequences == ()
    assert prompt.max_tokens == 1000
    assert leg_of(result)["technique"] == {"name": "chain_of_thought", "steps": 1}


async def test_a_stop_sequence_ends_the_answer_and_not_the_reasoning() -> None:
    stage = stage_of(THINKING, "END here? no. <answer>forty END two</answer>")
    result = await stage.ask("sampling", asking(stopSequences=["END"]))
    assert (result["content"]["text"], result["stopReason"]) == ("forty ", "stopSequence")


async def test_an_answer_that_was_not_marked_is_asked_for_once_more_and_both_are_paid_for() -> None:
    stage = stage_of(THINKING, "Six sevens are forty-two.", "42")

    result = await stage.ask("sampling", asking(stopSequences=["END"]))

    assert result["content"]["text"] == "42"
    again = stage.llm.prompts[1]
    assert [message["role"] for message in again.messages] == ["user", "assistant", "user"]
    assert (again.max_tokens, again.stop_sequences) == (50, ("END",))
    leg = leg_of(result)
    assert (leg["tokens"], len(leg["attempts"])) == ({"input": 14, "output": 6}, 2)


async def test_the_answer_of_a_vote_is_the_one_that_the_others_agree_with() -> None:
    stage = stage_of(VOTING, "42", "48", "The answer is 42.")

    result = await stage.ask("sampling", asking())

    leg = leg_of(result)
    assert result["content"]["text"] in ("42", "The answer is 42.")
    assert leg["technique"]["samples"] == 3
    assert 0 < leg["technique"]["agreement"] < 1
    assert (leg["tokens"]["output"], len(leg["attempts"])) == (9, 3)
    assert {prompt.temperature for prompt in stage.llm.prompts} == {0.5}


async def test_agreement_is_what_confidence_in_a_vote_is_made_of() -> None:
    certain: list[float] = []
    for replies in (("42", "42", "42"), ("42", "48", "54")):
        stage = scene(
            Strategy.HYBRID,
            caller=FakeCaller({"content": {"type": "text", "text": "42"}, "model": "m", "role": "assistant"}),
            llm=ScriptedLlm(list(replies)),
            technique=VOTING,
        )
        stamp = (await stage.ask("sampling", asking()))["_meta"][KEY]
        certain.append(stamp["local_metadata"]["confidence"]["signals"]["certainty"])
    assert certain == [1.0, 0.0]


async def test_a_request_with_a_temperature_of_its_own_is_sampled_at_it() -> None:
    stage = stage_of(VOTING, "42")
    await stage.ask("sampling", asking(temperature=0.2))
    assert {prompt.temperature for prompt in stage.llm.prompts} == {0.2}


async def test_a_vote_goes_on_without_the_samples_that_failed() -> None:
    stage = stage_of(VOTING, DOWN, "42", DOWN)
    result = await stage.ask("sampling", asking())
    assert result["content"]["text"] == "42"
    assert leg_of(result)["technique"] == {"name": "consensus", "samples": 1, "agreement": None}


async def test_a_vote_in_which_every_sample_failed_has_failed() -> None:
    stage = stage_of(VOTING, DOWN)
    with pytest.raises(NobodyAnswered):
        await stage.ask("sampling", asking())
    assert stage.decision.legs[0].outcome is Outcome.FAILED


async def test_samples_are_taken_at_once_and_stopped_together() -> None:
    stage = stage_of(VOTING, None)
    asked = asyncio.ensure_future(stage.ask("sampling", asking()))
    await stage.llm.reached.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait((asked,))
    assert asked.cancelled()
    assert (len(stage.llm.prompts), stage.llm.aborted) == (3, True)


@pytest.mark.parametrize(
    ("replies", "text", "rounds", "asked"),
    [
        (("42", "OK"), "42", 1, 2),
        (("41", "6 * 7 is not 41", "42", "OK."), "42", 2, 4),
        (("41", "wrong", "42", "still wrong", "6 * 7 = 42"), "6 * 7 = 42", 2, 5),
        (("42", "wrong", "6 * 7 = 48"), "42", 1, 3),
        (("42", DOWN), "42", 0, 2),
        (("42", "wrong", DOWN), "42", 0, 3),
    ],
)
async def test_an_answer_is_revised_until_it_stands_or_rounds_are_over(replies, text, rounds, asked) -> None:
    stage = stage_of(REVISING, *replies)
    result = await stage.ask("sampling", asking())
    assert result["content"]["text"] == text
    assert leg_of(result)["technique"] == {"name": "iterative", "rounds": rounds}
    assert len(stage.llm.prompts) == asked
    assert leg_of(result)["tokens"]["output"] == 3 * sum(isinstance(reply, str) for reply in replies)


TOOLS = [{"name": "t", "inputSchema": {"type": "object"}}]
PICTURE = {"type": "image", "data": "AAAA", "mimeType": "image/png"}


@pytest.mark.parametrize("technique", [THINKING, VOTING, REVISING], ids=lambda technique: technique.name)
@pytest.mark.parametrize(
    ("params", "reason"),
    [
        (asking(tools=TOOLS), "the request has tools"),
        ({"messages": [{"role": "user", "content": [PICTURE]}]}, "the request has more than text"),
    ],
)
async def test_tools_and_media_are_answered_at_once_and_the_record_says_why(
    technique, params, reason
) -> None:
    stage = stage_of(technique, "as it is")
    result = await stage.ask("sampling", params)
    assert leg_of(result)["technique"] == {"name": technique.name, "used": "single_shot", "reason": reason}
    assert len(stage.llm.prompts) == 1


async def test_an_answer_at_once_says_nothing_of_techniques() -> None:
    assert "technique" not in leg_of(await stage_of(Technique(), "42").ask("sampling", asking()))


@pytest.mark.parametrize("technique", [THINKING, VOTING, REVISING], ids=lambda technique: technique.name)
@pytest.mark.parametrize(("bound", "asked"), list(itertools.product((20, 60, 400), (10, 50, 4000))))
async def test_no_technique_spends_more_tokens_than_one_question_may(technique, bound, asked) -> None:
    """A provider that writes as much as it may: what was asked for in all is what it could cost."""
    stage = stage_of(technique, "no mark", max_tokens=bound)
    llm = stage.llm
    complete = llm.complete
    spent: list[int] = []

    async def greedy(prompt: Any, budget: Any) -> Any:
        done = await complete(prompt, budget)
        spent.append(prompt.max_tokens)
        object.__setattr__(done.usage, "output_tokens", prompt.max_tokens)
        return done

    llm.complete = greedy
    with contextlib.suppress(NobodyAnswered):
        await stage.ask("sampling", asking(maxTokens=asked))
    assert sum(spent) <= bound


@pytest.mark.parametrize("technique", [THINKING, VOTING, REVISING], ids=lambda technique: technique.name)
async def test_the_legs_time_holds_for_the_whole_technique(technique) -> None:
    stage = stage_of(technique, "no mark", timeout=5.0)
    await stage.ask("sampling", asking())
    left = [budget.timeout for budget in stage.llm.budgets]
    assert left == sorted(left, reverse=True)
    assert max(left) == 5.0


async def test_a_form_is_filled_in_at_once_whatever_sampling_does() -> None:
    stage = stage_of(VOTING, '{"date": "2026-06-01", "seats": 4}', settings=ElicitationByLlm())
    await stage.ask("elicitation")
    assert len(stage.llm.prompts) == 1


async def test_reasoning_that_leaves_no_tokens_for_an_answer_fails_by_its_code() -> None:
    stage = stage_of(THINKING, "no mark", max_tokens=10)
    with pytest.raises(NobodyAnswered) as raised:
        await stage.ask("sampling", asking())
    assert raised.value.data is not None
    assert raised.value.data["code"] == "E010"
