"""Tables of all keys, in Markdown, from the JSON Schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from gateway.config.raw_base import STRATEGY_NAMES
from gateway.config.raw_techniques import TECHNIQUE_NAMES

Schema = dict[str, Any]

_BLOCK = re.compile(r"(<!-- generated: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_PLAIN = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}


def fill(text: str, blocks: Mapping[str, str]) -> str:
    """Replace what stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``."""
    return _BLOCK.sub(lambda match: f"{match[1]}{blocks[match['name']]}{match[3]}", text)


def tables(schema: Schema) -> str:
    """Return one table for each mapping that the schema knows."""
    return "".join(_table(schema, "", schema, {}))


def _table(root: Schema, path: str, node: Schema, seen: dict[int, str]) -> Iterator[str]:
    """Yield the table of one mapping and of those inside it, each shape once."""
    if id(node) in seen:
        yield f"\n#### `{path}`\n\nThe keys of [`{seen[id(node)]}`](#{_anchor(seen[id(node)])}).\n"
        return
    seen[id(node)] = path
    rows: list[str] = []
    below: list[tuple[str, Schema]] = []
    for name, field in node.get("properties", {}).items():
        if name == "$schema":
            continue
        target, suffix = _mapping(root, field)
        if target is not None:
            below.append((f"{path}.{name}{suffix}" if path else name + suffix, target))
        text = str(field.get("description") or (target or {}).get("description", ""))
        meaning = " ".join(text.split())
        rows.append(f"| `{name}` | {_type(field, target, suffix)} | {_default(field)} | {meaning} |\n")
    if path:
        yield f"\n#### `{path}`\n"
    yield "\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n"
    yield from rows
    for name, target in below:
        yield from _table(root, name, target, seen)
    if not path:
        yield "\n"


def _anchor(path: str) -> str:
    """Return the fragment that renderers give a heading."""
    return re.sub(r"[^a-z0-9_-]", "", path.lower())


def _mapping(root: Schema, field: Schema) -> tuple[Schema | None, str]:
    """Return the mapping a field holds, if it holds one, a list of them, or one by name."""
    if any(_word(candidate) for candidate in _alternatives(field)):
        return None, ""  # a list of cases, or options, may stand there too: their tables are shown once
    for candidate in _alternatives(field):
        if "$ref" in candidate:
            return root["$defs"][candidate["$ref"].rsplit("/", 1)[1]], ""
        for inside, suffix in (("items", "[]"), ("additionalProperties", ".<name>")):
            below = _schema(candidate.get(inside))
            if "$ref" in below:
                return _mapping(root, below)[0], suffix
    return None, ""


def _type(field: Schema, target: Schema | None, suffix: str) -> str:
    if target is not None:
        return {"": "mapping", "[]": "list of mappings"}.get(suffix, "mapping by name")
    found = [candidate for candidate in _alternatives(field) if candidate.get("type") != "null"]
    return _plain(found[0]) if found else "anything"


def _plain(schema: Schema) -> str:
    word = _word(schema)
    if word is not None:
        return word
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_plain(_alternatives(schema['items'])[0])}"
    if kind == "object":
        values = _schema(schema.get("additionalProperties"))
        return f"mapping of {_plain(_alternatives(values)[0])}" if values else "mapping"
    words = _PLAIN.get(str(kind), "text, number or boolean" if isinstance(kind, list) else "text")
    return words + _bounds(schema)


def _word(schema: Schema) -> str | None:
    """Return what the names of a schema are names of, where they may stand in many places."""
    return {STRATEGY_NAMES: "strategy", TECHNIQUE_NAMES: "technique"}.get(tuple(schema.get("enum", ())))


def _bounds(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above = schema.get("exclusiveMinimum")
    parts = [f"from {low}"] if low is not None else [f"above {above}"] if above is not None else []
    parts += [f"to {high}"] if high is not None else []
    return f", {' '.join(parts)}" if parts else ""


def _alternatives(field: Schema) -> list[Schema]:
    """Flatten nested ``anyOf`` into a list of plain schemas."""
    if "anyOf" not in field:
        return [field]
    return [plain for choice in field["anyOf"] for plain in _alternatives(choice)]


def _schema(value: Any) -> Schema:
    """Return a schema, empty where only true or false stands for one."""
    return cast("Schema", value) if isinstance(value, dict) else {}


def _default(field: Schema) -> str:
    value = field.get("default")
    return "" if value in (None, [], {}, "") else f"`{json.dumps(value)}`"
