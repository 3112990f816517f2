"""The table of every MCP message in `docs/protocol.md`.

`methods.json` has the messages, as the specification's schemas name them; `dispositions.toml`
says by hand what the gateway does with each and which tests prove it. ``python -m
tests.interop.protocol_table`` writes the table anew; with ``--specification FOLDER``, a
checkout of modelcontextprotocol/modelcontextprotocol, it reads the messages from its schemas first.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Json = dict[str, Any]
Party = Literal["client", "server"]

ROOT = Path(__file__).resolve().parents[2]
METHODS = Path(__file__).with_name("methods.json")
DISPOSITIONS = Path(__file__).with_name("dispositions.toml")
DOCUMENT = ROOT / "docs" / "protocol.md"
VERSIONS = ("2025-11-25", "2026-07-28")
"""The newest revision of each era; those before the first add no message to it."""

VERBS = ("relayed", "answered here", "translated", "refused")
UNIONS: dict[str, tuple[Party, str]] = {
    "ClientRequest": ("client", "request"),
    "ClientNotification": ("client", "notification"),
    "ServerRequest": ("server", "request"),
    "ServerNotification": ("server", "notification"),
    "InputRequest": ("server", "input request"),
}
"""Definitions of the schemas that hold all messages, with their sender and kind."""

BEGIN, END = "<!-- generated: {} messages -->", "<!-- end of generated -->"
_NOT_METHODS = re.compile(r"(application|audio|image|text|ref|backchannel)/")
_LIKE_A_METHOD = re.compile(r"(initialize|ping|[a-z]+(/[A-Za-z_]+)+)")


@dataclass(frozen=True)
class Message:
    """One message: `kinds` by version."""

    method: str
    sender: Party
    kinds: dict[str, str]

    @property
    def key(self) -> tuple[str, str]:
        return self.sender, self.method


@dataclass(frozen=True)
class Disposition:
    """What the gateway does with a message: `verbs` by version, `how` in a line, `tests` by id."""

    method: str
    sender: Party
    verbs: dict[str, str]
    how: str
    tests: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str]:
        return self.sender, self.method


def extract(specification: Path) -> list[Json]:
    """Read every message from the schemas of a checkout of the specification.

    Raises:
        ValueError: a schema defines a message that is in none of the unions.
    """
    found: dict[tuple[str, str], Json] = {}
    for version in VERSIONS:
        schema = json.loads((specification / "schema" / version / "schema.json").read_text())
        definitions: Json = schema["$defs"]
        listed: set[str] = set()
        for union, (sender, kind) in UNIONS.items():
            for method in _methods_of(definitions, union):
                listed.add(method)
                entry = {"method": method, "from": sender, "kinds": {}}
                found.setdefault((sender, method), entry)["kinds"][version] = kind
        unlisted = {method for name in definitions for method in _method_of(definitions[name])} - listed
        if unlisted:
            raise ValueError(f"{version}: in none of {', '.join(UNIONS)}: {sorted(unlisted)}")
    return [found[key] for key in sorted(found)]


def _methods_of(definitions: Json, name: str) -> Iterator[str]:
    union: Json = definitions.get(name, {})
    if "anyOf" not in union:
        yield from _method_of(union)
    for part in union.get("anyOf", ()):
        yield from _method_of(definitions[part["$ref"].rpartition("/")[2]])


def _method_of(definition: Json) -> Iterator[str]:
    method: Json = definition.get("properties", {}).get("method", {})
    if "const" in method:
        yield method["const"]


def messages() -> list[Message]:
    """Return every message of both versions."""
    return [Message(each["method"], each["from"], each["kinds"]) for each in json.loads(METHODS.read_text())]


def dispositions() -> list[Disposition]:
    """Return the hand-kept rows; `gateway` is one verb, or one for each version."""
    rows: list[Disposition] = []
    kinds = {message.key: message.kinds for message in messages()}
    for row in tomllib.loads(DISPOSITIONS.read_text(encoding="utf-8"))["message"]:
        said = row["gateway"]
        if isinstance(said, str):
            said = dict.fromkeys(kinds.get((row["from"], row["method"]), VERSIONS), said)
        rows.append(Disposition(row["method"], row["from"], said, row["how"], tuple(row["tests"])))
    return rows


def tests_in(path: Path) -> set[str]:
    """Return the names of the test functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def named_in(source: str) -> set[str]:
    """Return the string constants of Python source that look like methods of MCP."""
    constants = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return {
        value
        for value in constants
        if isinstance(value, str) and _LIKE_A_METHOD.fullmatch(value) and not _NOT_METHODS.match(value)
    }


def rendered(document: str) -> str:
    """Return the document with both tables written anew."""
    for sender in ("client", "server"):
        begin = BEGIN.format(sender)
        before, found, rest = document.partition(begin)
        _, closed, after = rest.partition(END)
        if not found or not closed:
            raise ValueError(f"{DOCUMENT.name} has no place for the table: '{begin}' … '{END}'")
        document = f"{before}{begin}\n\n{_table(sender)}\n{END}{after}"
    return document


def _table(sender: str) -> str:
    rows = {row.key: row for row in dispositions()}
    lines = ["| message | kind | in | the gateway | how | proof |", "| --- | --- | --- | --- | --- | --- |"]
    for message in messages():
        row = rows.get(message.key)
        if message.sender == sender and row is not None:
            versions = "both" if len(message.kinds) == len(VERSIONS) else next(iter(message.kinds))
            cells = (f"`{message.method}`", _by_version(message.kinds), versions, _by_version(row.verbs))
            lines.append(f"| {' | '.join(cells)} | {row.how} | {_links(row.tests)} |")
    return "\n".join(lines) + "\n"


def _by_version(said: dict[str, str]) -> str:
    values = [said[version] for version in VERSIONS if version in said]
    return values[0] if len(set(values)) == 1 else ", then ".join(values)


def _links(tests: tuple[str, ...]) -> str:
    named = [test.partition("::") for test in tests]
    return "<br>".join(f"[{Path(path).stem}::{name}](../{path})" for path, _, name in named)


def main() -> None:
    """Write the table; with a checkout of the specification, `methods.json` too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--specification", type=Path, help="a checkout of the specification")
    specification = parser.parse_args().specification
    if specification is not None:
        lines = (json.dumps(message) for message in extract(specification))
        METHODS.write_text("[\n " + ",\n ".join(lines) + "\n]\n")
    DOCUMENT.write_text(rendered(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
