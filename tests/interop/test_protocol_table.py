"""The table of messages in `docs/protocol.md` is whole, and what it says of tests and code is so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from mcp_types import InputRequest, methods

from tests.interop import protocol_table
from tests.interop.protocol_table import DOCUMENT, ROOT, VERBS, VERSIONS, dispositions, messages

KNOWN = {message.method for message in messages()}


def test_every_message_has_one_row_and_every_row_a_message() -> None:
    rows = [row.key for row in dispositions()]
    assert sorted(rows) == sorted(message.key for message in messages())


@pytest.mark.parametrize("row", dispositions(), ids=lambda row: f"{row.sender} {row.method}")
def test_a_row_says_what_is_done_in_each_version_and_names_tests_that_exist(row) -> None:
    (message,) = (message for message in messages() if message.key == row.key)
    assert set(row.verbs) == set(message.kinds)
    for verb in row.verbs.values():
        assert set(verb.split(" or ")) <= set(VERBS)
    assert row.how
    assert "\n" not in row.how + "".join(row.verbs.values())
    assert row.tests, "a row is proved by a test"
    for test in row.tests:
        path, _, name = test.partition("::")
        assert name in protocol_table.tests_in(ROOT / path), f"there is no {test}"


def test_the_document_is_what_the_generator_writes() -> None:
    written = DOCUMENT.read_text(encoding="utf-8")
    assert written == protocol_table.rendered(written), "run: python -m tests.interop.protocol_table"


WORDS = {"yes/no"}
"""What looks like a method and is none."""


@pytest.mark.parametrize("path", sorted((ROOT / "gateway").rglob("*.py")), ids=lambda path: path.name)
def test_the_gateway_names_no_method_that_the_table_does_not_have(path: Path) -> None:
    assert protocol_table.named_in(path.read_text(encoding="utf-8")) - WORDS <= KNOWN


def test_methods_are_found_in_source_and_other_strings_are_not() -> None:
    source = (
        'SEND = "tools/invoke"\nif method in ("ping", "x/y_z"): body("application/json", "a/b c", "ref/x")'
    )
    assert protocol_table.named_in(source) == {"tools/invoke", "ping", "x/y_z"}


def test_the_sdk_knows_the_same_messages_but_for_those_of_tasks() -> None:
    sides = {
        "client": (methods.CLIENT_REQUESTS, methods.CLIENT_NOTIFICATIONS),
        "server": (methods.SERVER_REQUESTS, methods.SERVER_NOTIFICATIONS),
    }
    sdk = {
        (sender, method, version)
        for sender, tables in sides.items()
        for table in tables
        for method, version in table
        if version in VERSIONS
    }
    for question in get_args(InputRequest):
        sdk.add(("server", get_args(question.model_fields["method"].annotation)[0], "2026-07-28"))
    ours = {(message.sender, message.method, version) for message in messages() for version in message.kinds}
    assert sdk <= ours
    assert {method.split("/")[-2] for _, method, _ in ours - sdk} == {"tasks"}


def test_messages_are_read_from_the_unions_of_a_schema(tmp_path: Path) -> None:
    def sends(method: str) -> dict[str, object]:
        return {"properties": {"method": {"const": method}}}

    definitions = {
        "AskRequest": sends("own/ask"),
        "ClientRequest": {"anyOf": [{"$ref": "#/$defs/AskRequest"}]},
        "ClientNotification": sends("notifications/own"),
        "InputRequest": {"anyOf": [{"$ref": "#/$defs/AskRequest"}]},
    }
    write(tmp_path, definitions)
    kinds = dict.fromkeys(VERSIONS, "request")
    found = {(each["from"], each["method"]): each["kinds"] for each in protocol_table.extract(tmp_path)}
    assert found[("client", "own/ask")] == kinds
    assert found[("server", "own/ask")] == dict.fromkeys(VERSIONS, "input request")
    assert set(found) == {("client", "own/ask"), ("client", "notifications/own"), ("server", "own/ask")}
    write(tmp_path, {**definitions, "Forgotten": sends("own/forgotten")})
    with pytest.raises(ValueError, match="own/forgotten"):
        protocol_table.extract(tmp_path)


def write(folder: Path, definitions: dict[str, object]) -> None:
    for version in VERSIONS:
        path = folder / "schema" / version / "schema.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"$defs": definitions}))
