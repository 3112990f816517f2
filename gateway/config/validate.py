"""From parsed YAML to a raw model, with every mistake turned into a `Problem`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.config.nearest import suggest
from gateway.config.yaml_source import Document, Key
from gateway.errors import Problem

Model = TypeVar("Model", bound=BaseModel)

_ROUNDS = 20
_CASES = "[cases]"
_NO_PLACES = frozenset({"[key]", "[strategy]", "[technique]", "[options]", _CASES})
"""What the library puts into a place to say which of several shapes it tried."""
_SECRET_PARTS = frozenset({"env", "headers", "sha256", "args", "keys"})
_FIXES = {
    "bool": "write true or false",
    "int": "write a whole number",
    "float": "write a number",
    "string_type": "write text; put it in quotes if it looks like a number",
    "string_too_short": "write a value, or remove the key",
    "string_pattern": "write 64 hexadecimal digits",
    "dict": "write a mapping of keys",
    "model": "write a mapping of keys",
    "list": "write a list",
}


def validate(model: type[Model], document: Document) -> tuple[Model | None, list[Problem]]:
    """Check a document against its shape.

    What is wrong is reported and left out, so that the rest can still be checked: the
    model returned beside problems holds only what was right (None if nothing was).
    """
    data = copy.deepcopy(document.data)
    problems: dict[tuple[Key, str], Problem] = {}
    for _ in range(_ROUNDS):
        try:
            return model.model_validate(data), list(problems.values())
        except ValidationError as error:
            details = error.errors(include_url=False)
        for detail in details:
            key = _key(detail)
            problems.setdefault((key, detail["type"]), _problem(model, document, detail))
        for detail in details:
            _prune(data, _broken_part(detail))
    return None, list(problems.values())


def keys_at(model: type[BaseModel], key: Key) -> Sequence[str] | None:
    """Return the keys that may stand at a place.

    An empty list means any key may; None that the place holds a plain value.
    """
    current: Any = model
    for part in key:
        current = _step(current, part)
    if _is_model(current):
        return [field.alias or name for name, field in cast("type[BaseModel]", current).model_fields.items()]
    return [] if current is Any or get_origin(current) in (dict, list) else None


def _step(annotation: Any, part: str | int) -> Any:
    """Return the type of what stands under one key or index, unwrapped."""
    inner: Any = None
    if annotation is Any:
        return Any
    if _is_model(annotation):
        fields = cast("type[BaseModel]", annotation).model_fields
        inner = next((f.annotation for name, f in fields.items() if (f.alias or name) == part), None)
    elif get_origin(annotation) in (dict, list):
        inner = get_args(annotation)[-1]
    return _unwrap(inner)


def _unwrap(annotation: Any) -> Any:
    """Take away ``Annotated`` and ``| None``, and of several shapes choose the one with places inside."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _unwrap(get_args(annotation)[0])
    if origin in (Union, UnionType):
        shapes = [_unwrap(arg) for arg in get_args(annotation) if arg is not type(None)]
        return next((shape for shape in shapes if get_origin(shape) is list or _is_model(shape)), shapes[0])
    return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _key(detail: ErrorDetails) -> Key:
    return tuple(part for part in detail["loc"] if part not in _NO_PLACES)


def _broken_part(detail: ErrorDetails) -> Key:
    """Return what cannot be checked further: of cases all, since each makes sense by the others alone."""
    place = detail["loc"]
    if _CASES in place:
        return tuple(part for part in place[: place.index(_CASES)] if part not in _NO_PLACES)
    return _key(detail)[:-1] if detail["type"] == "missing" else _key(detail)


def _prune(data: Any, key: Key) -> None:
    """Take a value away. An item of a list takes the list along, lest the others be renumbered."""
    cut = len(key)
    while cut and isinstance(key[cut - 1], int):
        cut -= 1
    if not cut:
        data.clear()
        return
    current = data
    for part in key[: cut - 1]:
        try:
            current = current[part]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(current, dict):
        cast("dict[Any, Any]", current).pop(key[cut - 1], None)


def _problem(model: type[BaseModel], document: Document, detail: ErrorDetails) -> Problem:
    key, kind = _key(detail), detail["type"]
    context: Mapping[str, Any] = detail.get("ctx") or {}
    last = str(key[-1]) if key else ""
    if kind == "extra_forbidden":
        fix = suggest(last, keys_at(model, key[:-1]) or ())
        return document.problem(key, f"unknown key '{last}'", fix)
    if kind == "missing":
        return document.problem(key[:-1], f"the key '{last}' is missing", f"add `{last}:` with a value")
    given = _shown(detail["input"], key)
    if kind == "strategy":
        return document.problem(key, f"{given} is not a strategy", str(context["fix"]))
    if kind == "condition":
        return document.problem(key, detail["msg"], str(context["fix"]))
    if kind == "literal_error":
        allowed = str(context["expected"]).replace(" or ", ", ").replace("'", "").split(", ")
        message = f"{given} is not one of {', '.join(allowed)}"
        return document.problem(key, message, suggest(str(detail["input"]), allowed))
    expectation = detail["msg"].replace("Input should be", "should be").replace("String should", "should")
    if kind in ("model_type", "dict_type"):
        expectation = "should be a mapping"
    return document.problem(key, f"{given} {expectation}", _fix(kind, expectation))


def _fix(kind: str, expectation: str) -> str:
    for prefix, fix in _FIXES.items():
        if kind.startswith(prefix):
            return fix
    if kind.startswith(("greater_than", "less_than")):
        return expectation.replace("should be", "write a value")
    return "correct the value"


def _shown(value: Any, key: Key) -> str:
    """Quote a value in a message, unless it is long, nested, or may be a secret."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if _SECRET_PARTS.intersection(str(part) for part in key) or len(str(value)) > 60:
        return "the value"
    return f"'{value}'"
