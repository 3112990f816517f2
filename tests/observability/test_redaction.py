from __future__ import annotations

import pytest

from gateway.observability.redaction import REDACTED, scrub, scrub_text

SECRET = "s3cr3tV4lue0123456789"


@pytest.mark.parametrize(
    "text",
    [
        *("?key=a", "&sig=a", "://:a@", "pk-abcdefgh", "bk_abcdefgh", "AKIA012345678901"),
        *("token=abcd", "BASIC abcdefgh", "eyJabcdefgh.abcdefgh."),
    ],
)
def test_the_shortest_text_of_each_shape_is_taken_out(text: str) -> None:
    assert REDACTED in scrub_text(text)


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}",
        f"authorization: basic {SECRET}",
        f"Incorrect API key provided: sk-{SECRET}",
        f"sk-ant-api03-{SECRET}",
        f"https://user:{SECRET}@host/path",
        f"GET /mcp?api_key={SECRET}&x=1",
        f"https://h/v1?key={SECRET}",
        f"OPENAI_API_KEY={SECRET}",
        f'{{"password": "{SECRET}"}}',
        f"ghp_{SECRET}",
        f"eyJhbGciOiJIUzI1.{SECRET}.{SECRET}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_text_in_the_shape_of_a_secret_is_taken_out(text: str) -> None:
    assert SECRET not in scrub_text(text)
    assert REDACTED in scrub_text(text)


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "Proxy-Authorization", "x-api-key", "apiKey", "api_key", "token", "access_token"),
        *("client_secret", "password", "Cookie", "set-cookie", "Mcp-Session-Id", "session_id", "state_keys"),
    ],
)
def test_a_value_under_a_secret_name_is_taken_out_at_any_depth(name: str) -> None:
    assert scrub({"a": [{name: SECRET}, ({name: [SECRET]},)]}) == {
        "a": [{name: REDACTED}, [{name: REDACTED}]]
    }


def test_what_is_no_secret_stays_readable() -> None:
    record = {
        "output_tokens": 12,
        "max_tokens": 100,
        "token": None,
        "server": "keyboard",
        "path": "gateway.yaml:12 sampling.llm_config.api_key_env",
        "reason": "the bearer of news; basic facts; a task-force",
        "url": "https://host:8080/mcp?cursor=abc",
        "ok": True,
        "seconds": 0.5,
    }

    assert scrub(record) == record


def test_objects_and_deep_values_are_scrubbed_as_text() -> None:
    deep: object = f"Bearer {SECRET}"
    for _ in range(50):
        deep = {"a": deep}

    assert SECRET not in str(scrub({"error": ValueError(f"sk-{SECRET}"), "raw": f"Bearer {SECRET}".encode()}))
    assert SECRET not in str(scrub(deep))
