"""What the confidence in an answer is made of: its form, what can be checked in it, and how they weigh."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from gateway.answers.confidence import measure
from gateway.answers.form import form
from gateway.answers.model import Answer
from gateway.answers.soundness import soundness
from gateway.policy.model import Weights

KEYS = 'Reply with JSON only, an object with the keys "name" and "age".'
OPTIONS = "Which flies? A) whale B) eagle C) snake Answer with the letter only."
GIVEN = "Text: Anna Schmidt was born in 1987 and lives in Vienna.\nQuestion: In which city does she live?"


@pytest.mark.parametrize(
    ("asked", "text", "grade"),
    [
        ("Tell me of dragons.", "Once upon a time", None),
        (KEYS, '{"name": "Bob", "age": 3}', 1),
        (KEYS, '```json\n{"name": "Bob", "age": 3}\n```', 1),
        (KEYS, '{"name": "Bob"}', 0.5),
        (KEYS, '["Bob", 3]', 0),
        (KEYS, "Here it is: {}", 0),
        ("Give the result as JSON.", "[1, 2]", 1),
        ("Give the result as JSON.", "[" * 100_000, 0),
        ("Is it? Answer yes or no.", "Yes.", 1),
        ("Is it? Answer yes or no.", "No, since it is a matter of taste to most people.", 0.7),
        ("Is it? Answer yes or no.", "It depends.", 0),
        (OPTIONS, "B", 1),
        (OPTIONS, "B) eagle", 0.7),
        (OPTIONS, "The eagle.", 0),
        ("Name the color in one word.", "Blue", 1),
        ("Name the color in one word.", "Light blue", 0.5),
        ("Name the color in one word.", "It is a kind of blue.", 0),
        ("Describe it in at most 4 words.", "Warm and rather nice", 1),
        ("Describe it in at most 4 words.", "Warm and rather nice, most of the time", 0.5),
        ("Explain it in one sentence.", "It falls. It breaks.", 0.5),
        ("List three fruits.", "- apple\n- pear\n- plum", 1),
        ("List three fruits.", "apple, pear", 2 / 3),
        ("How many legs has it?", "Eight.", 1),
        ("How many legs has it?", "Some.", 0),
        ("Say briefly what it is.", "A bird.", 1),
        ("Say briefly what it is.", "word " * 24, 0.5),
    ],
)
def test_an_answer_is_graded_by_the_form_that_was_asked_for(asked, text, grade) -> None:
    assert form(asked, text) == grade


@pytest.mark.parametrize(
    ("asked", "text", "share"),
    [
        ("What is 6 * 7?", "42", 1),
        ("What is 6 * 7?", "6 * 7 = 48", 0),
        ("What is 6 times 7?", "The result is 42.", 1),
        ("What is 10 plus 15?", "10 + 15 is 25", 1),
        ("What is 2 + 3 * 4?", "14", 1),
        ("What is 9 - 4 - 2?", "5", 0),
        ("Calculate 1,000 - 1.", "999", 1),
        ("What is 10 / 3?", "3.33", 1),
        ("What is 10 / 3?", "3.3", 1),
        ("What is 10 / 3?", "3.5", 0),
        ("What is 1 / 0?", "0", 0),
        ("How was it?", "We sold 3 + 4 = 7 tickets, and 2 x 5 = 11 drinks.", 0.5),
        ("What is 2 + 2?", "I cannot say.", None),
        ("When is 2026-05-01?", "On Friday", None),
        ("Call 555-0142.", "I did.", None),
        (OPTIONS, "B) eagle", 1),
        (OPTIONS, "A) eagle", 0),
        (OPTIONS, "B) eagle or C) snake", 0),
        (OPTIONS, "whale, eagle and snake", 0),
        (OPTIONS, "B", None),
        (GIVEN, "Vienna", 1),
        (GIVEN, "She lives in Vienna.", 1),
        (GIVEN, "She has lived in Graz since 1987.", 0.5),
        (f"{GIVEN} Reply in JSON.", json.dumps({"city": "Graz"}), 0),
        ("Translate to German: the house is very big", "Das Haus ist sehr groß", None),
        ("Tell me about Rome.", "It was founded in 753 BC.", None),
    ],
)
def test_what_can_be_checked_in_an_answer_is_checked(asked, text, share) -> None:
    assert soundness(asked, text) == share


HOSTILE = (
    "1 + " * 50_000,
    "A) " * 50_000,
    ": a" * 50_000,
    '"keys" ' * 50_000,
    "i'm " * 50_000,
    "1" * 200_000,
)


@pytest.mark.parametrize("text", HOSTILE)
def test_measuring_strangers_words_takes_little_time(text) -> None:
    began = time.process_time()
    question = {"messages": [{"role": "user", "content": {"type": "text", "text": f"JSON? What is {text}"}}]}
    answer = Answer("client", {"content": {"type": "text", "text": text}})
    measure(question, answer, answer, Weights())
    assert time.process_time() - began < 2


def said(text: str, *, logprob: float | None = None, **fields: Any) -> Answer:
    return Answer("llm", {"content": {"type": "text", "text": text}, **fields}, logprob=logprob)


def asked(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}


def test_the_score_is_the_weighted_mean_of_what_could_be_measured() -> None:
    one = measure(asked("What is 2 + 2?"), said("4", stopReason="maxTokens"), None, Weights())

    assert one.signals == {"stop": 0.3, "directness": 1.0, "soundness": 1.0}
    assert one.score == (0.3 + 1 + 2) / 4


def test_a_weight_of_zero_leaves_a_signal_out_of_the_score() -> None:
    weights = Weights(stop=0, soundness=0)
    assert measure(asked("What is 2 + 2?"), said("5", stopReason="maxTokens"), None, weights).score == 1


def test_both_parties_are_measured_alike() -> None:
    question = asked("Is it 7? Answer yes or no.")
    mine = said("Yes")
    theirs = Answer("client", mine.result)
    assert measure(question, mine, theirs, Weights()) == measure(question, theirs, mine, Weights())


def test_a_tool_call_is_not_worse_for_having_no_words() -> None:
    call = {"type": "tool_use", "id": "1", "name": "look", "input": {}}
    result = {"content": [call], "stopReason": "toolUse"}
    found = measure(asked("Look. Answer yes or no."), Answer("llm", result), said("Maybe"), Weights())
    assert (found.score, found.signals) == (1.0, {"stop": 1.0})


def test_an_empty_answer_is_worth_nothing_but_its_end() -> None:
    found = measure(asked("Answer yes or no."), said("", stopReason="endTurn"), said("yes"), Weights())
    assert (found.signals["directness"], found.signals["format"], found.signals["agreement"]) == (0, 0, 0)
