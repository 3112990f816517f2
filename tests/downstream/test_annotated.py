"""Which tools have arguments mirrored into headers."""

from __future__ import annotations

from typing import Any

from gateway.downstream.annotated import Annotated


def tool(**properties: Any) -> dict[str, Any]:
    return {"name": "t", "inputSchema": {"type": "object", "properties": properties}}


def test_a_tool_is_looked_at_by_its_entry_and_not_by_its_name() -> None:
    annotated = Annotated()
    plain, marked = tool(a={"type": "string"}), tool(a={"type": "string", "x-mcp-header": "A"})
    assert [annotated.has(entry) for entry in (plain, marked, plain, marked)] == [False, True, False, True]


def test_entries_that_come_and_go_are_never_taken_for_each_other() -> None:
    annotated = Annotated()
    for number in range(10_000):
        has = bool(number % 2)
        more = {"x-mcp-header": "A"} if has else {}
        assert annotated.has(tool(a={"type": "string", **more})) is has
