"""`when … use …` through a whole gateway: the same question goes to another party as the facts say."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.clients import MODES, Mode
from tests.support.gateway import Running, running_gateway
from tests.support.parties import ENVIRON, SAMPLING, Person, llm_config, speaking_llm, who
from tests.support.raw.peers import SCRIPT, entry_of, raw_server

Json = dict[str, Any]
KEYS = {"day": "key-of-the-day", "night": "key-of-the-night"}
CASES: list[Json] = [
    {"when": {"client": "codex*"}, "use": "client_forwarded"},
    {"when": {"principal": ["n*t"]}, "use": "client_forwarded"},
    {"when": {"model_hint": "*opus*"}, "use": "client_forwarded"},
    {"when": {"prompt": {"min_tokens": 100}}, "use": "client_forwarded"},
    {"when": {"annotations": {"readOnlyHint": True}}, "use": "client_forwarded"},
    {"use": "magictunnel_handled"},
]


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        llm = await stack.enter_async_context(speaking_llm())
        script = SCRIPT.with_name("annotated.py")
        server = await stack.enter_async_context(raw_server("stdio-handshake", script=script))
        config = {
            "auth": {"keys": [{"principal": name, "key_env": f"KEY_{name}"} for name in KEYS]},
            "sampling": {"default_sampling_strategy": CASES, "llm_config": llm_config(llm)},
            "external_mcp": {"servers": [entry_of("raw", server)]},
        }
        environ = {**ENVIRON, **{f"KEY_{name}": key for name, key in KEYS.items()}}
        yield await stack.enter_async_context(running_gateway(folder, config, environ))


async def answered(
    gateway: Running,
    mode: Mode,
    *,
    name: str = "zed",
    principal: str = "day",
    tool: str = "deletes",
    text: str = "Who are you?",
    hints: list[str] | None = None,
) -> str:
    """Ask through a client of that name and key; returns who answered."""
    request = copy.deepcopy(SAMPLING)
    request["params"]["messages"][0]["content"]["text"] = text
    if hints is not None:
        request["params"]["modelPreferences"] = {"hints": [{"name": hint} for hint in hints]}
    person = Person()
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEYS[principal]}"}) as http:
        transport = streamable_http_client(gateway.url, http_client=http)
        options: Json = {
            "mode": MODES[mode],
            "client_info": types.Implementation(name=name, version="1"),
            "sampling_callback": person.sample,
        }
        async with Client(transport, **options) as client:
            result = await client.call_tool(f"raw__{tool}", {"requests": {"q": request}})
    asked = who(result.structured_content["answers"]["q"])
    assert bool(person.asked) is (asked == "client")
    return asked


ASKED: list[tuple[Json, str, int]] = [
    ({}, "llm", 5),
    ({"name": "Codex CLI"}, "client", 0),
    ({"name": "my-codex"}, "llm", 5),
    ({"principal": "night"}, "client", 1),
    ({"hints": ["claude-opus-4"]}, "client", 2),
    ({"hints": ["gpt-5", "sonnet"]}, "llm", 5),
    ({"text": "x" * 397}, "client", 3),
    ({"text": "x" * 396}, "llm", 5),
    ({"tool": "reads"}, "client", 4),
    ({"tool": "ask"}, "llm", 5),
]


@pytest.mark.parametrize("mode", ["handshake", "modern"])
async def test_the_first_case_that_holds_decides_who_is_asked(mode: Mode, tmp_path: Path) -> None:
    async with house(tmp_path) as gateway:
        for facts, expected, number in ASKED:
            assert await answered(gateway, mode, **facts) == expected, facts
            decision = gateway.gateway.decisions(1)[0]
            place = f"sampling.default_sampling_strategy[{number}]"
            assert decision["path"].endswith(place), facts
            (chosen,) = [step for step in decision["trail"] if step["chosen"]]
            assert chosen["path"] == decision["path"]
            assert "since" in chosen["value"]


@pytest.mark.parametrize("mode", ["handshake", "modern"])
async def test_a_client_that_cannot_be_asked_is_served_where_its_case_allows_the_llm(
    mode: Mode, tmp_path: Path
) -> None:
    request = {"requests": {"q": SAMPLING}}
    async with house(tmp_path) as gateway:
        headers = {"Authorization": f"Bearer {KEYS['day']}"}
        async with httpx2.AsyncClient(headers=headers) as http:
            transport = streamable_http_client(gateway.url, http_client=http)
            async with Client(transport, mode=MODES[mode]) as client:
                served = await client.call_tool("raw__deletes", request)
                refused = await client.call_tool("raw__reads", request)
    assert who(served.structured_content["answers"]["q"]) == "llm"
    assert refused.structured_content["answers"]["q"]["error"]["code"] == -32601
