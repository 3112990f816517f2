"""The benchmark of `hybrid`: its questions are sound, and it runs the gateway's own way."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.hybrid import report
from benchmarks.hybrid.legs import Leg, two_thirds
from benchmarks.hybrid.pairs import run
from benchmarks.hybrid.questions import load
from gateway.llm.chain import Chain
from gateway.llm.port import Completion

QUESTIONS = load()


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)
def test_every_question_knows_its_right_answer_from_its_wrong_one(question) -> None:
    assert question.is_right(question.right)
    assert not question.is_right(question.wrong)
    assert not question.is_right("")
    assert not question.is_right(question.ask)


def test_there_are_enough_questions_of_every_kind_in_every_part() -> None:
    parts = Counter((question.kind, question.part) for question in QUESTIONS)
    kinds = {kind for kind, _ in parts}
    assert len(QUESTIONS) >= 60
    assert all(parts[kind, "tuning"] == parts[kind, "held out"] == 6 for kind in kinds)
    assert all(parts[kind, "reworded"] == 3 for kind in kinds)
    assert len({question.ask for question in QUESTIONS}) == len({question.id for question in QUESTIONS})


def test_the_scripted_leg_is_wrong_on_a_known_third() -> None:
    leg = two_thirds(QUESTIONS)
    wrong = [question for question in QUESTIONS if not leg.right(question)]
    assert [question.number for question in wrong] == [*range(2, len(QUESTIONS), 3)]
    assert len({question.wrongly for question in wrong}) == 3


async def test_both_legs_are_asked_and_measured_by_the_gateways_own_broker() -> None:
    wrong = two_thirds(QUESTIONS)
    right = Leg("right", "knows everything")
    for question in QUESTIONS:
        right.said[question.id] = Completion(
            {"type": "text", "text": question.right}, "m", "p", "endTurn", logprob=-0.1
        )

    best = await run(wrong, right, QUESTIONS, Chain([]), "best")

    assert all(one.llm for one in best)
    assert sum(one.client for one in best) == 80
    assert sum(one.combined for one in best) > 80 + 20
    for lines in (report.accuracies(best, best), report.by_kind(best), report.fashions(best)):
        assert list(lines)
    assert "0.9 to 1.0" in "\n".join(report.calibration(best))
