"""How much a form that the LLM has filled in deserves to be believed, and its values in particular.

It speaks for a person, so what counts most is whether each value comes from what the asking
server itself sent: the call's arguments, the message, the schema's own defaults. A value that
stands nowhere there is the model's own invention, however sure it is of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final, cast

from gateway.answers.confidence import Confidence
from gateway.answers.form import words

Json = dict[str, Any]

_SHARES: Final[Mapping[str, float]] = {"grounding": 3.0, "certainty": 1.0, "format": 1.0}
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SMALL: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    "twelve",
)
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
_DATE: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[Tt ]|\Z)")
_MOST: Final = 20_000


def confidence_in(
    content: Json, schema: Json, known: str, *, arguments: Json, logprob: float | None, repairs: int
) -> Confidence:
    """Measure a filled form.

    `known` is the text that the server sent: its message, and the call's arguments as JSON;
    `arguments` are those of the call. `repairs` counts how often the model had to be corrected.
    """
    found = {
        "grounding": grounding(content, schema, known, arguments),
        "certainty": None if logprob is None else math.exp(min(0.0, logprob)),
        "format": 1.0 / (1 + repairs),
    }
    signals = {name: value for name, value in found.items() if value is not None}
    total = sum(_SHARES[name] for name in signals)
    return Confidence(sum(_SHARES[name] * value for name, value in signals.items()) / total, signals)


def grounding(content: Json, schema: Json, known: str, arguments: Json) -> float | None:
    """Return the mean over all values of how far each stands in what is known, None for an empty form."""
    fields = _fields(schema)
    source = _Source(known[:_MOST], arguments)
    marks = [source.mark(name, value, fields.get(name, {})) for name, value in content.items()]
    return sum(marks) / len(marks) if marks else None


def titles(field: Mapping[str, Any]) -> dict[str, str]:
    """Return the titles of a field's choices by value: `oneOf`, `anyOf`, or the older `enumNames`."""
    found: dict[str, str] = {}
    for node in (field, field.get("items")):
        if isinstance(node, Mapping):
            found |= dict(_titled(cast("Mapping[str, Any]", node)))
    return found


def _titled(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("oneOf", "anyOf"):
        entries: Any = node.get(key)
        for entry in cast("list[Any]", entries) if isinstance(entries, list) else []:
            if isinstance(entry, Mapping) and "const" in entry and "title" in entry:
                choice = cast("Mapping[str, Any]", entry)
                yield str(choice["const"]), str(choice["title"])
    values, names = node.get("enum"), node.get("enumNames")
    if isinstance(values, list) and isinstance(names, list):
        pairs = zip(cast("list[Any]", values), cast("list[Any]", names), strict=False)
        yield from ((str(value), str(name)) for value, name in pairs)


class _Source:
    """What the server sent, to look values up in."""

    def __init__(self, text: str, arguments: Json) -> None:
        self._words = f" {' '.join(words(text))} "
        self._numbers = {float(number) for number in _NUMBER.findall(text.replace("-", " "))}
        self._numbers |= {float(number) for number in _NUMBER.findall(text)}
        self._numbers |= {float(at) for at, word in enumerate(_SMALL) if f" {word} " in self._words}
        self._arguments = arguments

    def mark(self, name: str, value: object, field: Mapping[str, Any]) -> float:
        """Return how far one value stands in it, from 0 to 1."""
        same = self._arguments.get(name)
        if (name in self._arguments and same == value) or ("default" in field and field["default"] == value):
            return 1.0
        if isinstance(value, list):
            items = [self.mark("", item, field) for item in cast("list[object]", value)]
            return sum(items) / len(items) if items else 1.0
        if isinstance(value, bool) or value is None:
            return 0.0  # whether something is so cannot be looked up: only the argument itself says it
        if isinstance(value, int | float):
            return float(float(value) in self._numbers)
        title = titles(field).get(str(value), "")
        return max(self._text(str(value)), self._text(title) if title else 0.0)

    def _text(self, value: str) -> float:
        day = _DATE.match(value)
        if day is not None and self._dated(day):
            return 1.0
        parts = words(value)
        if not parts:
            return 0.0
        if f" {' '.join(parts)} " in self._words:
            return 1.0
        # Words that stand apart there may have been put together: half of what they are worth.
        return 0.5 * sum(f" {part} " in self._words for part in parts) / len(parts)

    def _dated(self, match: re.Match[str]) -> bool:
        """Whether day and month stand there in some spelling, as in "May 1" or "1.5."."""
        try:
            day = date(int(match[1]), int(match[2]), int(match[3]))
        except ValueError:
            return False
        month = _MONTHS[day.month - 1]
        named = re.search(rf" {month}[a-z]* ", self._words) is not None
        year = float(day.year) in self._numbers or not re.search(r" (?:19|20)\d\d ", self._words)
        return float(day.day) in self._numbers and (named or float(day.month) in self._numbers) and year


def _fields(schema: Json) -> dict[str, Mapping[str, Any]]:
    properties: Any = schema.get("properties")
    found = cast("dict[str, Any]", properties) if isinstance(properties, Mapping) else {}
    return {
        name: cast("Mapping[str, Any]", field) for name, field in found.items() if isinstance(field, Mapping)
    }


def completed(content: Json, schema: Json) -> Json:
    """Return the content as a form would give it: defaults where nothing was said, values for titles.

    2025-11-25 client/elicitation: clients that support defaults pre-populate the form with them.
    """
    fields = _fields(schema)
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    named = {name: _value(value, fields.get(name, {})) for name, value in content.items()}
    return {**{name: value for name, value in defaults.items() if name not in named}, **named}


def _value(value: object, field: Mapping[str, Any]) -> object:
    """Return the value of a choice that was given by its title."""
    if isinstance(value, list):
        return [_value(item, field) for item in cast("list[object]", value)]
    shown = titles(field)
    if not isinstance(value, str) or value in shown:
        return value
    return next((key for key, title in shown.items() if title.casefold() == value.strip().casefold()), value)


def sent(message: str, arguments: Json) -> str:
    """Return as one text what the server sent."""
    return f"{message}\n{json.dumps(arguments, ensure_ascii=False)}"
