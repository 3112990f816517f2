from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog

from gateway import codes
from gateway.answers.model import Decision, DecisionOutcome, Leg
from gateway.observability.decisions import DecisionLog
from gateway.observability.summary import line
from gateway.policy.model import Outcome


def decision(**changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "id": "1",
        "at": "2026-05-01T10:00:00.000Z",
        "server": "demo",
        "kind": "sampling",
        "method": "sampling/createMessage",
        "call": 1,
        "target": "demo__ask",
        "client": "desk",
        "principal": None,
        "session": None,
        "strategy": "client_first",
        "level": "organization",
        "path": "config/gateway.yaml:12 sampling.default_sampling_strategy",
        "legs": [Leg("llm", Outcome.SUCCESS, 0.4, model="SmolLM2", provider="local")],
        "source": "llm",
        "outcome": "answered",
        "seconds": 0.44,
        **changes,
    }
    return Decision(**fields)


def test_a_decision_reads_as_one_line() -> None:
    assert line(decision()) == (
        "sampling from 'demo' answered by llm (local SmolLM2, 0.4 s) — level organization, "
        "config/gateway.yaml:12 sampling.default_sampling_strategy"
    )


def test_the_line_tells_why_another_leg_was_needed() -> None:
    first = Leg("client", Outcome.UNAVAILABLE, 0.0, "the client did not declare 'sampling'")

    text = line(decision(legs=[first, *decision().legs]))

    assert "(local SmolLM2, 0.4 s) after client: the client did not declare 'sampling' — level" in text


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("declined", "declined by the user"),
        ("dismissed", "dismissed by the user"),
        ("rejected", "rejected by the user"),
        ("deferred", "put to the client"),
        ("unanswered", "answered by nobody (0.4 s): why"),
        ("refused", "refused (0.4 s): why"),
        ("limited", "turned away (0.4 s): why"),
        ("cancelled", "withdrawn with its call"),
        ("broken", "lost to a fault"),
    ],
)
def test_every_outcome_has_its_words(outcome: DecisionOutcome, words: str) -> None:
    error = "why" if outcome in ("unanswered", "refused", "limited") else None

    assert words in line(decision(outcome=outcome, source="client", legs=[], error=error, level=None))


def test_only_the_last_decisions_are_kept_newest_first() -> None:
    log = DecisionLog(3)
    for number in range(5):
        log.record(decision(id=str(number)))

    assert [entry["id"] for entry in log.recent(10)] == ["4", "3", "2"]
    assert [entry["id"] for entry in log.recent(1)] == ["4"]
    assert log.recent(-1) == []


async def test_a_decision_is_logged_after_who_recorded_it_has_gone_on() -> None:
    log = DecisionLog(3)
    with structlog.testing.capture_logs() as logs:
        log.record(decision())
        assert logs == []
        await asyncio.sleep(0)
        assert [entry["event"] for entry in logs] == ["decision", "decision_detail"]


async def test_who_reads_at_once_finds_what_was_recorded_a_moment_ago() -> None:
    log = DecisionLog(3)
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as logs:
        with structlog.contextvars.bound_contextvars(worker=2):
            log.record(decision())
        (entry,) = log.recent(9)
    assert (len(log), entry["outcome"]) == (1, "answered")
    assert {event["worker"] for event in logs} == {2}


def test_decisions_are_selected_by_their_fields() -> None:
    log = DecisionLog(10)
    log.record(decision(id="a", server="one"))
    log.record(decision(id="b", server="two", kind="elicitation"))
    log.record(decision(id="c", server="two"))

    assert [entry["id"] for entry in log.recent(9, server="two", kind=None)] == ["c", "b"]
    assert [entry["id"] for entry in log.recent(1, server="two", kind="elicitation")] == ["b"]
    assert log.recent(9, server="three") == []


def test_a_filter_nobody_knows_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ValueError, match="unknown filter colour; known: client, "):
        DecisionLog(1).recent(1, colour="red")


def test_a_log_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        DecisionLog(0)


def test_each_decision_is_one_event_without_a_providers_words() -> None:
    attempt = {"provider": "openai", "model": "m", "seconds": 0.1, "error": "quoted prompt", "code": "E008"}
    leg = Leg("llm", Outcome.FAILED, 0.1, "failed", "E008", attempts=(attempt,), detail="quoted prompt")
    log = DecisionLog(1)

    with structlog.testing.capture_logs() as logs:
        log.record(decision(legs=[leg]))

    (event,) = [entry for entry in logs if entry["log_level"] != "debug"]
    assert (event["event"], event["log_level"]) == ("decision", "info")
    assert event["decision"]["level"] == "organization"
    assert event["decision"]["legs"][0]["attempts"] == [
        {"provider": "openai", "model": "m", "seconds": 0.1, "code": "E008"}
    ]
    action = codes.describe("E008").action
    assert (event["decision"]["legs"][0]["suggestedAction"], bool(action)) == (action, True)
    assert "quoted prompt" not in str(event)
    assert log.recent(1)[0]["legs"][0]["detail"] == "quoted prompt"


@pytest.mark.parametrize("outcome", ["unanswered", "limited", "broken"])
def test_what_went_wrong_is_a_warning(outcome: DecisionOutcome) -> None:
    with structlog.testing.capture_logs() as logs:
        DecisionLog(1).record(decision(outcome=outcome))

    assert logs[0]["log_level"] == "warning"


def test_secrets_are_gone_before_a_decision_is_kept() -> None:
    leg = Leg("llm", Outcome.FAILED, 0.1, detail="401: Incorrect API key provided: sk-proj-12345678abc")
    log = DecisionLog(1)

    log.record(decision(legs=[leg], error="Bearer abcdefgh12345678"))

    kept = str(log.recent(1))
    assert "12345678" not in kept
    assert "[redacted]" in kept
