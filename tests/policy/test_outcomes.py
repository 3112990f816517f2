"""What is final, what falls back, and in which order the legs are tried."""

from __future__ import annotations

import pytest

from gateway.policy import outcomes
from gateway.policy.model import Outcome, Strategy

FINAL = {Outcome.DECLINED, Outcome.CANCELLED, Outcome.REJECTED}
NEXT = {Outcome.UNAVAILABLE, Outcome.FAILED, Outcome.TIMED_OUT}


@pytest.mark.parametrize("outcome", list(Outcome))
def test_an_outcome_is_final_or_falls_back_or_answers(outcome: Outcome):
    assert outcomes.is_final(outcome) == (outcome in FINAL)
    assert outcomes.falls_back(outcome) == (outcome in NEXT)


@pytest.mark.parametrize(
    ("strategy", "fallback", "legs"),
    [
        (Strategy.LLM, True, ("llm",)),
        (Strategy.CLIENT, True, ("client",)),
        (Strategy.LLM_FIRST, True, ("llm", "client")),
        (Strategy.LLM_FIRST, False, ("llm", "client")),
        (Strategy.CLIENT_FIRST, True, ("client", "llm")),
        (Strategy.CLIENT_FIRST, False, ("client",)),
    ],
)
def test_the_fallback_setting_governs_the_second_leg_of_client_first_alone(strategy, fallback, legs):
    assert outcomes.legs(strategy, fallback_to_llm=fallback) == legs


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        ("accept", Outcome.SUCCESS),
        ("decline", Outcome.DECLINED),
        ("cancel", Outcome.CANCELLED),
        ("maybe", Outcome.FAILED),
        (None, Outcome.FAILED),
        (["accept"], Outcome.FAILED),
    ],
)
def test_an_elicitation_action_is_classified_and_unknown_ones_fail(action, outcome):
    assert outcomes.of_elicitation_action(action) is outcome


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (-1, Outcome.REJECTED),
        (-32601, Outcome.UNAVAILABLE),
        (-32602, Outcome.FAILED),
        (-32603, Outcome.FAILED),
        (1, Outcome.FAILED),
    ],
)
def test_a_clients_error_is_a_rejection_unavailability_or_a_failure(code, outcome):
    assert outcomes.of_client_error(code) is outcome


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(None, True), (429, True), (500, True), (529, True), (400, False), (401, False), (404, False)],
)
def test_a_provider_is_retried_on_429_5xx_and_silence_only(status, retryable):
    assert outcomes.is_retryable_status(status) is retryable


def test_nobody_was_available_only_if_no_leg_could_be_tried():
    assert outcomes.none_available([])
    assert outcomes.none_available([Outcome.UNAVAILABLE, Outcome.UNAVAILABLE])
    assert not outcomes.none_available([Outcome.UNAVAILABLE, Outcome.FAILED])
