"""A server that asks outside any call: nobody's client is asked, and the LLM only where policy says so."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.clients import Person, connect, sampled
from tests.support.gateway import running_gateway
from tests.support.parties import ENVIRON, llm_config, speaking_llm
from tests.support.processes import asking_http, asking_stdio, first_line


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("stdio", True),
        ("http", False),
        pytest.param("stdio", False, marks=pytest.mark.extensive),
        pytest.param("http", True, marks=pytest.mark.extensive),
    ],
)
async def test_a_question_of_no_call_is_the_llms_or_nobodys(tmp_path: Path, kind: str, allowed: bool) -> None:
    record, when = tmp_path / "record", tmp_path / "now"
    person = Person(sampling=sampled("never"))
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(speaking_llm())
        entry = asking_stdio()
        if kind == "http":
            entry = (await stack.enter_async_context(asking_http())).entry()
        sampling = {"default_sampling_strategy": "magictunnel_handled", "llm_config": llm_config(service)}
        config = {
            "sampling": {**sampling, **({"unsolicited": "own_llm"} if allowed else {})},
            "external_mcp": {"servers": [{"name": "ask", **entry}]},
        }
        async with running_gateway(tmp_path, config, ENVIRON) as gateway:
            async with connect(gateway.url, person) as client:
                arguments = {"when": str(when), "record": str(record)}
                await client.call_tool("ask__ask_later", arguments)
                when.touch()
                told = json.loads(await first_line(record))
            (decision,) = await gateway.decisions()
    assert person.asked == []
    assert (decision["call"], decision["source"]) == (None, "llm" if allowed else None)
    if allowed:
        assert "the LLM speaking" in str(told)
    else:
        assert "sampling.unsolicited: own_llm" in str(told)
