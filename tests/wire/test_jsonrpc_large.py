"""Messages that are long enough for the parser that makes no copy of them: they mean the same."""

from __future__ import annotations

import pytest

from gateway.wire import jsonrpc

PADDING = b'"' + b"x" * 100_000 + b'"'


def decoded(text: bytes, before: bytes = PADDING) -> object:
    return jsonrpc.decode(b"[%b,%b]" % (before, text))[1]


@pytest.mark.parametrize(
    "text",
    [
        b"1e22",
        b"-0.1",
        b"18446744073709551615",
        b"1" * 200,
        b'"\\ud800"',
        b'"\\u0000"',
        b'{"a":1,"a":2}',
        b"1E3",
    ],
)
def test_what_is_long_is_read_as_what_is_short(text: bytes) -> None:
    assert repr(decoded(text)) == repr(decoded(text, b"0"))


@pytest.mark.parametrize(
    "text", [b"1e400", b"-1E+400", b"9.5e309", b"NaN", b"Infinity", b"01", b'"\xff"', b"1]"]
)
def test_what_is_no_json_is_none_however_long(text: bytes) -> None:
    for before in (PADDING, b"0"):
        with pytest.raises(jsonrpc.Undecodable):
            decoded(text, before)


def test_a_large_exponent_is_seen_across_the_parts_that_are_looked_at() -> None:
    for length in range(64 * 1024 - 12, 64 * 1024 + 2):
        with pytest.raises(jsonrpc.Undecodable):
            jsonrpc.decode(b'["%b",1e400,"%b"]' % (b"x" * length, b"y" * 70_000))
