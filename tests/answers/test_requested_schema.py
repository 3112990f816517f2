from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from gateway.answers.schema import MAX_PATTERN_INPUT, Unverifiable, violation


def field(**rules: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"v": rules}}


def doubling(levels: int) -> dict[str, Any]:
    """Each level refers twice to the next: small to write, 2^levels to apply."""
    steps = {f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/l0", "$defs": {**steps, f"l{levels}": {"type": "object"}}}


@pytest.mark.parametrize(
    ("schema", "content", "rule"),
    [
        ({"required": ["a"]}, {}, "content: 'a' is a required property"),
        (field(type="integer"), {"v": "secret"}, 'content.v does not satisfy type: "integer"'),
        (field(enum=["a"]), {"v": "secret"}, 'content.v does not satisfy enum: ["a"]'),
        (field(pattern="^[a-z]+$"), {"v": "Secret"}, 'content.v does not satisfy pattern: "^[a-z]+$"'),
        (field(type="array", maxItems=1), {"v": [1, 2]}, "content.v does not satisfy maxItems: 1"),
    ],
)
def test_a_violation_names_place_and_rule_without_content(schema: Any, content: Any, rule: str) -> None:
    found = violation(schema, content, formats=True)

    assert found is not None
    assert found.rule == rule


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("email", ["a@b.c"], ["nobody"]),
        ("date", ["2026-02-28"], ["2026-02-30", "28.2.2026"]),
        ("uri", ["https://e.com/x", "mailto:a@b.c"], ["e.com", "https:// x", "http://[bad"]),
        (
            "date-time",
            ["2026-01-01T10:00:00Z", "2026-01-01t10:00:00+02:00"],
            ["2026-01-01", "2026-01-01T10:00:00"],
        ),
    ],
)
def test_the_protocols_formats_are_asserted_when_asked_for(
    name: str, good: list[str], bad: list[str]
) -> None:
    schema = field(type="string", format=name)

    for value in good:
        assert violation(schema, {"v": value}, formats=True) is None
    for value in bad:
        assert violation(schema, {"v": value}, formats=True) is not None
        assert violation(schema, {"v": value}, formats=False) is None


def test_local_references_are_followed() -> None:
    schema = {**field(), "$defs": {"size": {"enum": ["S"]}}, "properties": {"v": {"$ref": "#/$defs/size"}}}

    assert violation(schema, {"v": "S"}, formats=True) is None
    assert violation(schema, {"v": "X"}, formats=True) is not None


HOSTILE = {
    "refers to itself": {"$ref": "#"},
    "refers round in a ring": {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
    },
    "doubles forty times": doubling(40),
    "has ten thousand fields": {"properties": {f"f{n}": {"type": "string"} for n in range(10_000)}},
    "has a megabyte of text": field(description="x" * 1_000_000),
    "has a hundred patterns": {"properties": {f"f{n}": {"pattern": "a"} for n in range(100)}},
    "has a pattern too large to compile": field(pattern="(((a{1000}){1000}){1000})"),
    "looks around in a pattern": field(pattern="(?<=a)b"),
    "has a pattern that is none": field(pattern="("),
    "leads nowhere": {"$ref": "#/$defs/missing"},
    "renames itself": {"properties": {"v": {"$id": "http://x.invalid/", "$ref": "#/$defs/y"}}},
    "has patterns for names": {"patternProperties": {"(a+)+$": {}}},
    "is no schema": {"type": 7},
}


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_schema_is_turned_away_at_once(schema: Any) -> None:
    began = time.perf_counter()

    with pytest.raises(Unverifiable):
        violation(schema, {"v": "ab"}, formats=True)

    assert time.perf_counter() - began < 2


def test_a_pattern_that_explodes_elsewhere_is_matched_at_once() -> None:
    began = time.perf_counter()

    assert violation(field(pattern="^(a+)+$"), {"v": "a" * 50_000 + "!"}, formats=True) is not None

    assert time.perf_counter() - began < 2


def test_a_huge_value_is_not_matched_and_huge_content_not_walked() -> None:
    with pytest.raises(Unverifiable):
        violation(field(pattern="a"), {"v": "a" * (MAX_PATTERN_INPUT + 1)}, formats=True)
    with pytest.raises(Unverifiable):
        violation(field(type="array", items={"type": "string"}), {"v": ["a"] * 100_000}, formats=True)


def test_nothing_is_ever_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any) -> None:
        raise AssertionError("a schema made the gateway connect somewhere")

    monkeypatch.setattr(socket.socket, "connect", connect)
    for target in ("http://169.254.169.254/", "file:///etc/passwd", "other.json#/a"):
        with pytest.raises(Unverifiable, match="nothing is ever fetched"):
            violation({"properties": {"v": {"$ref": target}}}, {"v": 1}, formats=True)
