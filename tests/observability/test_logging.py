from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gateway.answers.model import Leg
from gateway.config.resolved import Logging
from gateway.observability.decisions import DecisionLog
from gateway.observability.logging import configure
from gateway.policy.model import Outcome
from tests.observability.test_decision_log import decision


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """A place for the log; what was configured before comes back afterwards."""
    root = logging.getLogger()
    handlers, level, before = root.handlers, root.level, structlog.get_config()
    yield io.StringIO()
    root.handlers, root.level = handlers, level
    structlog.configure(**before)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_records_are_one_object_a_line_from_either_library(stream: io.StringIO) -> None:
    configure(Logging(format="json"), stream)

    structlog.get_logger("backchannel.x").info("started", port=8080)
    logging.getLogger("uvicorn.error").warning("odd %s", "thing", extra={"client": "c"})

    ours, theirs = lines(stream)
    assert (ours["event"], ours["port"], ours["level"], ours["logger"]) == (
        "started",
        8080,
        "info",
        "backchannel.x",
    )
    assert (theirs["event"], theirs["client"], theirs["level"]) == ("odd thing", "c", "warning")
    assert ours["timestamp"].endswith("Z")


@pytest.mark.parametrize("form", ["json", "text"])
def test_secrets_reach_neither_format_not_even_in_tracebacks(stream: io.StringIO, form: Any) -> None:
    configure(Logging(format=form), stream)
    log = structlog.get_logger("backchannel.x")

    log.info("called", headers={"Authorization": "Bearer abcdef0123456789"}, key="sk-abcdef0123456789")
    logging.getLogger("other").error("failed with %s", "sk-abcdef0123456789")
    try:
        raise ValueError("sk-abcdef0123456789 was refused")
    except ValueError:
        log.exception("crashed")
        logging.getLogger("other").exception("crashed too")

    assert "abcdef0123456789" not in stream.getvalue()
    assert stream.getvalue().count("ValueError: [redacted] was refused") == 2


def test_people_read_a_decision_as_its_line(stream: io.StringIO) -> None:
    configure(Logging(format="text"), stream)

    DecisionLog(1).record(decision())

    assert "sampling from 'demo' answered by llm (local SmolLM2, 0.4 s) — level" in stream.getvalue()
    assert "legs" not in stream.getvalue()


def test_machines_read_all_of_a_decision(stream: io.StringIO) -> None:
    configure(Logging(format="json"), stream)

    DecisionLog(1).record(decision(legs=[Leg("client", Outcome.DECLINED, 1.0)]))

    (record,) = lines(stream)
    assert (record["event"], record["level"]) == ("decision", "info")
    assert record["decision"]["level"] == "organization"
    assert record["decision"]["legs"][0]["outcome"] == "declined"


def test_levels_hold_for_both_libraries_and_chatty_ones_wait_for_debug(stream: io.StringIO) -> None:
    configure(Logging(level="info", format="json"), stream)
    structlog.get_logger("backchannel.x").debug("hidden")
    logging.getLogger("httpx2").info("hidden")
    assert stream.getvalue() == ""

    configure(Logging(level="debug", format="json"), stream)
    structlog.get_logger("backchannel.x").debug("shown")
    logging.getLogger("httpx2").info("shown")
    assert [record["event"] for record in lines(stream)] == ["shown", "shown"]


def test_configuring_again_does_not_log_twice(stream: io.StringIO) -> None:
    for _ in range(2):
        configure(Logging(format="json"), stream)

    logging.getLogger("other").warning("once")

    assert len(lines(stream)) == 1


def test_standard_output_stays_clean() -> None:
    program = (
        "import logging, structlog\n"
        "from gateway.config.resolved import Logging\n"
        "from gateway.observability.logging import configure\n"
        "configure(Logging(level='debug'))\n"
        "structlog.get_logger('a').warning('one')\n"
        "logging.getLogger('b').warning('two')\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )

    assert done.stdout == ""
    assert "one" in done.stderr
    assert "two" in done.stderr
