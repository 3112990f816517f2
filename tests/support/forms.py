"""Every form that an elicitation's field may have (2025-11-25 and 2026-07-28, PrimitiveSchemaDefinition)."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

TITLED = [{"const": "S", "title": "Small"}, {"const": "L", "title": "Large"}]

FORMS: dict[str, tuple[Json, list[Any], list[Any]]] = {
    "text": ({"type": "string"}, ["Ulm", ""], [5, None, ["Ulm"]]),
    "text of a length": ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "abc"], ["a", "abcd"]),
    "text of a pattern": ({"type": "string", "pattern": "^[A-Z]{2}$"}, ["AB"], ["ab", "ABC"]),
    "an address": ({"type": "string", "format": "email"}, ["a@b.org"], ["a.b.org"]),
    "a link": ({"type": "string", "format": "uri"}, ["https://b.org/x"], ["b org", "/x"]),
    "a date": ({"type": "string", "format": "date"}, ["2026-05-01"], ["01.05.2026", "2026-02-30"]),
    "a time": ({"type": "string", "format": "date-time"}, ["2026-05-01T10:00:00Z"], ["2026-05-01 noon"]),
    "a number": ({"type": "number", "minimum": 0.5, "maximum": 9.5}, [0.5, 9], [0.4, 10, "1"]),
    "a whole number": ({"type": "integer", "minimum": 1, "maximum": 9}, [1, 9], [0, 10, 1.5, "1"]),
    "a yes or no": ({"type": "boolean"}, [True, False], ["yes", 1]),
    "a choice": ({"type": "string", "enum": ["S", "L"]}, ["S"], ["M", "s"]),
    "a titled choice": ({"type": "string", "oneOf": TITLED}, ["L"], ["Medium", ""]),
    "an older titled choice": (
        {"type": "string", "enum": ["S", "L"], "enumNames": ["Small", "Large"]},
        ["S"],
        ["Medium"],
    ),
    "several choices": (
        {"type": "array", "items": {"type": "string", "enum": ["S", "L"]}, "minItems": 1, "maxItems": 2},
        [["S"], ["S", "L"]],
        [[], ["S", "L", "S"], ["M"], "S"],
    ),
    "several titled choices": (
        {"type": "array", "items": {"anyOf": TITLED}, "maxItems": 1},
        [["L"], []],
        [["S", "L"], ["Medium"]],
    ),
}
"""Each with values that satisfy it, and values that do not."""


def form_of(field: Json) -> Json:
    """The requested schema of a form with one field beside a name."""
    properties = {"which": field, "name": {"type": "string"}}
    return {"type": "object", "properties": properties, "required": ["which", "name"]}
