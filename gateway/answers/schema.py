"""Whether a form's content satisfies the schema it was asked with.

Both sides are strangers' data: a schema may carry a regular expression that runs for
hours, a reference to an internal address, or one that expands without end. So the work is
weighed before it is done, nothing is fetched, and patterns run on pydantic's engine, whose
time is linear and whose memory is bounded (it knows no look-around).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError, best_match  # pyright: ignore[reportUnknownVariableType]
from jsonschema.validators import extend  # pyright: ignore[reportUnknownVariableType]
from pydantic_core import SchemaError as PatternError
from pydantic_core import SchemaValidator, core_schema
from referencing import Registry
from referencing.exceptions import Unresolvable

Json = dict[str, Any]

MAX_SCHEMA_NODES: Final = 1_000
MAX_PATTERNS: Final = 16
MAX_PATTERN_INPUT: Final = 100_000
"""Characters of a value that is matched against a pattern."""
MAX_WORK: Final = 200_000
"""Nodes of the schema times nodes of the content."""
_TEXT_PER_NODE: Final = 100
"""So many characters weigh as much as a node."""
_NOT_SUPPORTED = ("patternProperties", "$dynamicRef", "$recursiveRef", "$id")
"""Each could lead the weighing astray; no requested schema needs them."""


class Unverifiable(Exception):
    """The schema cannot be applied; the message says why, and never holds content."""


@dataclass(frozen=True, slots=True)
class Violation:
    """The most telling way in which content fails its schema.

    `rule` names place and rule without the content, so that it may be logged and sent on;
    `message` is the validator's own and quotes the content.
    """

    rule: str
    message: str


def violation(schema: Mapping[str, Any], content: Json, *, formats: bool) -> Violation | None:
    """Check content against a requested schema (JSON Schema 2020-12).

    `formats` asserts ``format`` too; it is an annotation otherwise.

    Raises:
        Unverifiable: the schema is invalid, or applying it would cost too much.
    """
    if _weigh_schema(schema) * _count(content) > MAX_WORK:
        raise Unverifiable("the schema and the content together are too large to be checked")
    try:
        Draft202012Validator.check_schema(cast("Any", schema))
        validator = _Validator(schema, registry=_NO_DOCUMENTS, format_checker=_FORMATS if formats else None)
        error = cast("ValidationError | None", best_match(validator.iter_errors(content)))
    except SchemaError as invalid:
        raise Unverifiable(f"the schema is not valid JSON Schema: {invalid.json_path}") from None
    except (Unresolvable, RecursionError):
        raise Unverifiable("the schema has a reference that cannot be used") from None
    except PatternError:
        raise Unverifiable("the schema has a pattern that cannot be matched safely") from None
    return None if error is None else Violation(_rule(error), error.message)


def _rule(error: ValidationError) -> str:
    place = error.json_path.replace("$", "content", 1)
    if error.validator == "required":
        # The message names the missing property, which is the schema's word, not the user's.
        return f"{place}: {error.message}"
    return f"{place} does not satisfy {error.validator}: {json.dumps(error.validator_value)[:120]}"


def _weigh_schema(schema: Mapping[str, Any]) -> int:
    """Count the nodes that applying the schema may visit, local references followed.

    A reference that leads back to itself outgrows any bound, and so counts as too much.
    """
    total = patterns = 0
    waiting: list[object] = [schema]
    while waiting:
        node = waiting.pop()
        total += 1
        if total > MAX_SCHEMA_NODES or patterns > MAX_PATTERNS:
            raise Unverifiable("the schema is too large, has too many patterns, or refers to itself")
        if isinstance(node, Mapping):
            fields = cast("Mapping[str, object]", node)
            patterns += "pattern" in fields
            total += sum(map(len, fields)) // _TEXT_PER_NODE
            waiting.extend(_referred(schema, fields))
            waiting.extend(fields.values())
        elif isinstance(node, list):
            waiting.extend(cast("list[object]", node))
        elif isinstance(node, str):
            total += len(node) // _TEXT_PER_NODE
    return total


def _referred(root: Mapping[str, Any], node: Mapping[str, object]) -> Iterator[object]:
    for key in _NOT_SUPPORTED:
        if key in node:
            raise Unverifiable(f"the schema uses {key}, which is not supported in a requested schema")
    target = node.get("$ref")
    if not isinstance(target, str):
        return
    if not target.startswith("#"):
        raise Unverifiable("the schema refers to another document, and nothing is ever fetched")
    found: object = root
    for part in target[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            raise Unverifiable("the schema has a reference that leads nowhere")
        found = cast("Mapping[str, object]", found)[name]
    yield found


def _count(value: object) -> int:
    total = 0
    waiting = [value]
    while waiting:
        node = waiting.pop()
        total += 1
        if isinstance(node, Mapping):
            waiting.extend(cast("Mapping[str, object]", node).values())
        elif isinstance(node, list):
            waiting.extend(cast("list[object]", node))
    return total


def _pattern(_validator: Any, pattern: str, instance: object, _schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, str):
        return
    if len(instance) > MAX_PATTERN_INPUT:
        raise Unverifiable("a value is too long to be matched against a pattern")
    if not SchemaValidator(core_schema.str_schema(pattern=pattern)).isinstance_python(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_FORMATS = FormatChecker(formats=["date", "email"])
"""The formats of an elicitation's schema (2025-11-25, StringSchema): email, uri, date, date-time."""


@_FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    """RFC 3339: a date, a time and an offset."""
    return not isinstance(value, str) or (
        len(value) > 10 and value[10] in "Tt " and datetime.fromisoformat(value.upper()).tzinfo is not None
    )


@_FORMATS.checks("uri", raises=ValueError)
def _is_uri(value: object) -> bool:
    """RFC 3986: a scheme and something after it, without blanks."""
    if not isinstance(value, str):
        return True
    parts = urlsplit(value)
    return bool(parts.scheme and (parts.netloc or parts.path)) and not any(map(str.isspace, value))


_NO_DOCUMENTS: Any = cast("Any", Registry)()
"""Resolves nothing but the schema itself; the library's default would fetch over the network."""

_Validator: Any = cast("Any", extend)(Draft202012Validator, validators={"pattern": _pattern})
