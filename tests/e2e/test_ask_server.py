"""The example server by itself: its tools ask a client of either era, and manage without one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from mcp import StdioServerParameters
from mcp.types import ErrorData

from tests.support.clients import DECLINED, Mode, Person, accepted, connect, sampled, text_of

SERVER = StdioServerParameters(
    command=sys.executable, args=[str(Path(__file__).resolve().parents[2] / "examples/ask_server.py")]
)
TABLE = {"date": "Friday", "people": 2}


@pytest.mark.parametrize("mode", ["handshake", "modern"])
async def test_its_tools_use_what_they_are_answered(mode: Mode) -> None:
    routing = {"source": "llm", "strategy": "client_first", "path": "built in"}
    stamped = {**sampled("In short."), "_meta": {"backchannel/routing": routing}}
    person = Person(sampling=stamped, elicitation=accepted(seating="terrace", confirm=True))
    async with connect(SERVER, person, mode) as client:
        assert text_of(await client.call_tool("echo", {"text": "as it is"})) == "as it is"
        summary = text_of(await client.call_tool("summarize", {"text": "A long story."}))
        table = text_of(await client.call_tool("book_table", TABLE))
        critique = text_of(await client.call_tool("critique", {"thought": "B", "previous": ["A"]}))
    assert summary.startswith("In short.")
    assert "the llm" in summary
    assert table == "Booked: a table for 2 on Friday, terrace."
    assert critique == "In short."
    _, last = person.questions("sampling/createMessage")
    assert last["messages"][0]["content"]["text"] == "A\n\nCurrent thought: B"


@pytest.mark.parametrize("mode", ["handshake", "modern"])
async def test_its_tools_take_no_for_an_answer(mode: Mode) -> None:
    unserved = ErrorData(code=-32601, message="no model here") if mode == "handshake" else None
    async with connect(SERVER, Person(sampling=unserved, elicitation=DECLINED), mode) as client:
        table = text_of(await client.call_tool("book_table", TABLE))
        critique = text_of(await client.call_tool("critique", {"thought": "B"}))
    assert table == "No table was booked."
    assert critique.startswith("Noted without a critique")
