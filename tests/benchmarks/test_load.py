from __future__ import annotations

import json

import pytest

from benchmarks.speed import load
from benchmarks.speed.load import NUMBER, Call, LoadFailed

ECHO = Call(
    "tools/call", {"name": "echo", "arguments": {"text": f"bench-{NUMBER}", "count": NUMBER}}, ("bench-",)
)
URL = "http://127.0.0.1:8080/mcp"


def said(*numbers: object, sample: str = "") -> str:
    return "Running 1s test\n\nRESULT " + " ".join(map(str, numbers)) + f"\nSAMPLE {sample}\n"


def body_of(script: str, number: int) -> object:
    """The body that a script's parts come to, as its `table.concat` makes it."""
    (line,) = [line for line in script.splitlines() if line.startswith("local parts = ")]
    parts = json.loads("[" + line.removeprefix("local parts = {").removesuffix("}") + "]")
    return json.loads(str(number).join(parts))


def test_a_run_without_a_wrong_response_is_read() -> None:
    taken = load.parse(said(1000, 2_000_000, 0, 0, 0, 0, "82.0", "310.5"))
    assert (taken.rate, taken.p50, taken.p99) == (500.0, 82.0, 310.5)


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [
        ((1000, 2_000_000, 1, 0, 0, 0, 1, 1), "1 of 1000 responses wrong"),
        ((1000, 2_000_000, 0, 2, 0, 0, 1, 1), "2 connections refused"),
        ((1000, 2_000_000, 0, 0, 3, 0, 1, 1), "3 broken"),
        ((1000, 2_000_000, 0, 0, 0, 4, 1, 1), "4 late"),
        ((0, 2_000_000, 0, 0, 0, 0, 0, 0), "no response within 2 s"),
    ],
)
def test_a_run_with_one_wrong_response_is_no_measurement(numbers: tuple[int, ...], complaint: str) -> None:
    with pytest.raises(LoadFailed, match=complaint):
        load.parse(said(*numbers))


def test_the_first_wrong_response_is_shown() -> None:
    with pytest.raises(LoadFailed, match="the first: HTTP 429: slow down"):
        load.parse(said(9, 1_000_000, 9, 0, 0, 0, 1, 1, sample="HTTP 429: slow down"))


def test_a_load_generator_that_says_nothing_is_no_measurement() -> None:
    with pytest.raises(LoadFailed, match="unable to connect"):
        load.parse("unable to connect to 127.0.0.1:1")


def test_each_request_has_its_own_id_and_arguments() -> None:
    first, second = (body_of(load.modern(URL, ECHO, {}).script(), number) for number in (1, 2))
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert (first["id"], second["id"]) == (1, 2)
    assert first["params"]["arguments"] == {"text": "bench-1", "count": 1}
    assert first["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


def test_a_modern_request_repeats_in_its_headers_what_its_body_says() -> None:
    script = load.modern(URL, ECHO, {"Authorization": "Bearer x"}).script()
    for field in ("MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: echo", "Bearer x"):
        assert f"{field}\\r\\n" in script


def test_handshake_requests_take_turns_with_their_sessions() -> None:
    shot = load.handshake(URL, ECHO, {}, ["one", "two"])
    assert [headers["Mcp-Session-Id"] for headers in shot.headers] == ["one", "two"]
    assert "_meta" not in shot.message["params"]
    assert "heads[n % #heads + 1]" in shot.script()


def test_a_server_without_sessions_is_sent_none() -> None:
    (headers,) = load.handshake(URL, ECHO, {}, [""]).headers
    assert "Mcp-Session-Id" not in headers


def test_texts_survive_the_way_into_lua() -> None:
    assert load.lua('a"b\\c\r\n') == '"a\\"b\\\\c\\r\\n"'
    with pytest.raises(ValueError, match="NUL"):
        load.lua("\0")
