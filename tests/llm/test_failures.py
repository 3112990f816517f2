from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from gateway.llm.failures import Peer, Refusal, quotable, refused, retry_after, unreachable
from tests.llm.dialects import IMAGE, TOOL_TURN, prompt, user

PEER = Peer("openai", "gpt-test", "https://user:hunter2@llm.example:8443/v1?x=1", "MY_KEY", "secret-value-1")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "4"}, 4.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_a_date_to_retry_after_becomes_seconds_from_now() -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    seconds = retry_after({"retry-after": then})
    assert seconds is not None
    assert 25 < seconds <= 30


def test_credentials_in_an_address_are_not_shown() -> None:
    message = str(unreachable(PEER, "ConnectError"))
    assert "hunter2" not in message
    assert "https://llm.example:8443" in message


@pytest.mark.parametrize(
    "said", ["your secret-value-1 is bad", "key sk-abcdef123456 is bad", "Bearer abcdef.ghijk"]
)
def test_keys_are_taken_out_of_a_quotation(said: str) -> None:
    quoted = quotable(said, PEER, prompt("Hi there"))
    assert "secret-value-1" not in quoted
    assert "abcdef" not in quoted
    assert "[key]" in quoted


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        ("invalid value near 'sword' in prompt", True),
        ("bad message: my password is hunter2, sorry", False),
        ("bad system: speak like a pirate captain", False),
        ("bad tool: -3 °C", False),
        ("bad word: kitten", False),
    ],
)
def test_what_repeats_any_text_of_the_request_is_not_quoted(said: str, quoted: bool) -> None:
    asked = prompt(
        "my password is hunter2, keep it",
        user("kitten", IMAGE),
        *TOOL_TURN,
        system="please speak like a pirate captain of old",
    )
    assert bool(quotable(said, PEER, asked)) is quoted


def test_a_long_quotation_is_cut() -> None:
    assert len(quotable("word " * 500, PEER, prompt("Hi there"))) <= 240


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "E004", False),
        (402, "E004", False),
        (403, "E004", False),
        (408, "E002", True),
        (409, "E004", False),
        (422, "E004", False),
        (500, "E008", True),
        (504, "E008", True),
    ],
)
def test_each_status_has_its_code(status: int, code: str, retryable: bool) -> None:
    failure = refused(PEER, Refusal(status), prompt("Hi"))
    assert (failure.code, failure.retryable, failure.status) == (code, retryable, status)
    assert "MY_KEY" in str(failure) or status not in (401, 402, 403)
