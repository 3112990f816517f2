"""Reading YAML and JSON files so that every value knows its line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, SequenceNode

from gateway.errors import Problem
from gateway.policy.model import Source

Key = tuple[str | int, ...]
"""A place inside a document: mapping keys and list indexes from the root."""

_JSON_SUFFIXES = (".json", ".jsonc")


@dataclass(slots=True)
class Document:
    """One parsed file. `lines` count from 1; `origins` names what replaced a value of the file."""

    file: str
    data: dict[str, Any]
    lines: Mapping[Key, int] = field(default_factory=dict[Key, int])
    origins: dict[Key, str] = field(default_factory=dict[Key, str])

    def source(self, *key: str | int) -> Source:
        """Return where a value is written, or for a missing one where it would be."""
        for end in range(len(key), 0, -1):
            if key[:end] in self.origins:
                return Source(self.origins[key[:end]], dotted(key))
        return Source(self.file, dotted(key), self.line(key))

    def line(self, key: Key) -> int | None:
        """Return the line of a value, else of the nearest mapping or list around it."""
        for end in range(len(key), 0, -1):
            if key[:end] in self.lines:
                return self.lines[key[:end]]
        return 1

    def problem(self, key: Key, message: str, fix: str = "") -> Problem:
        """Return a problem with the value at `key`."""
        source = self.source(*key)
        return Problem(source.file, source.path, message, fix, source.line)


def dotted(key: Key) -> str:
    """Render a place as a YAML path: ``external_mcp.servers[0].url``."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not part or any(sign in part for sign in '.[]" '):
            text += f"[{json.dumps(part)}]"
        else:
            text += f".{part}" if text else part
    return text


def display(path: Path) -> str:
    """Return a path as a person would write it: no ``x/../``, nothing made absolute."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts and parts[-1] not in ("..", path.anchor):
            parts.pop()
        else:
            parts.append(part)
    return str(Path(*parts)) if parts else "."


def read(path: Path) -> Document | Problem:
    """Parse a YAML or JSON file whose top is a mapping; an empty file is an empty mapping."""
    file = display(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        return Problem(file, "", f"is not UTF-8 text: {error.reason}", "save the file as UTF-8")
    except OSError as error:
        reason = error.strerror or str(error)
        fix = "create the file, or correct its name (--config, or the file that names it)"
        return Problem(file, "", f"cannot be read: {reason}", fix)
    if path.suffix.lower() in _JSON_SUFFIXES:
        return _parse_json(file, text)
    return _parse_yaml(file, text)


def parse_value(text: str) -> Any:
    """Parse one value written as YAML.

    Raises:
        ValueError: it is no YAML; the message says why.
    """
    try:
        return _yaml().load(text)
    except YAMLError as error:
        raise ValueError(_reason(error)) from error


def _parse_json(file: str, text: str) -> Document | Problem:
    """Take the values from JSON's own parser and the lines from YAML's, which reads JSON too."""
    try:
        data: Any = json.loads(text)
    except json.JSONDecodeError as error:
        return Problem(file, "", f"is not valid JSON: {error.msg}", "correct the file", error.lineno)
    # JSON allows a tab only between tokens, where YAML does not.
    parsed = _parse_yaml(file, text.replace("\t", " "), "JSON")
    if isinstance(parsed, Problem):
        return parsed
    parsed.data = cast("dict[str, Any]", data)
    return parsed


def _parse_yaml(file: str, text: str, language: str = "YAML") -> Document | Problem:
    yaml = _yaml()
    try:
        node: Any = yaml.compose(text)
        if node is None:
            return Document(file, {})
        # Constructing first also resolves merge keys inside the node tree.
        data: Any = yaml.constructor.construct_document(node)
    except YAMLError as error:
        mark: Any = getattr(error, "problem_mark", None)
        line = None if mark is None else int(mark.line) + 1
        return Problem(file, "", f"is not valid {language}: {_reason(error)}", "correct the file", line)
    if not isinstance(data, dict):
        kind = type(data).__name__
        return Problem(file, "", f"holds a {kind} where a mapping belongs", "write `key: value` pairs", 1)
    lines: dict[Key, int] = {}
    if not _walk(node, (), lines, ()):
        return Problem(file, "", "has an alias that contains itself", "write the value out", 1)
    return Document(file, cast("dict[str, Any]", _string_keys(data)), lines)


def _walk(node: Any, key: Key, lines: dict[Key, int], inside: tuple[int, ...]) -> bool:
    """Record the line of every key and item; False if a node contains itself."""
    if id(node) in inside:
        return False
    inside = (*inside, id(node))
    entries: list[tuple[str | int, Any, Any]]
    if isinstance(node, MappingNode):
        pairs = cast("list[tuple[Any, Any]]", cast("Any", node).value)
        entries = [(str(name.value), name, value) for name, value in pairs]
    elif isinstance(node, SequenceNode):
        items = cast("list[Any]", cast("Any", node).value)
        entries = [(index, value, value) for index, value in enumerate(items)]
    else:
        return True
    for part, marked, value in entries:
        lines[(*key, part)] = int(marked.start_mark.line) + 1
        if not _walk(value, (*key, part), lines, inside):
            return False
    return True


def _string_keys(value: Any) -> Any:
    """Turn keys that YAML read as numbers or booleans back into the text they name."""
    if isinstance(value, dict):
        pairs = cast("dict[Any, Any]", value).items()
        return {_key_text(key): _string_keys(item) for key, item in pairs}
    if isinstance(value, list):
        return [_string_keys(item) for item in cast("list[Any]", value)]
    return value


def _key_text(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) or key is None else str(key)


def _yaml() -> Any:
    """Return a YAML 1.2 parser: `yes` and `on` are words, `true` is a boolean."""
    return YAML(typ="safe", pure=True)


def _reason(error: YAMLError) -> str:
    problem = str(getattr(error, "problem", None) or str(error).splitlines()[0])
    if isinstance(error, DuplicateKeyError):
        # The library's words quote both values, which may be secrets.
        name = re.search(r'duplicate key "(.*?)" with', problem)
        return f"the key '{name[1]}' is written twice" if name else "a key is written twice"
    return problem
