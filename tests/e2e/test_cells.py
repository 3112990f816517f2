"""Who answers, for every era of client, kind of server, strategy and kind of question; and what is final."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client

from tests.support.gateway import Running, running_gateway
from tests.support.parties import (
    ELICITATION,
    ENVIRON,
    REQUESTS,
    SAMPLING,
    Person,
    llm_config,
    speaking_llm,
    who,
)
from tests.support.raw.peers import KINDS, entry_of, raw_server
from tests.support.scripted_http import ScriptedHttp, answer

Json = dict[str, Any]
ERAS = ["legacy", "2026-07-28"]
SELDOM = pytest.mark.extensive  # test_refusals and test_strategies play the like of all of these
EXAMPLE = Path(__file__).parents[2] / "examples" / "ask_server.py"
ANSWERED = {
    "magictunnel_handled": "llm",
    "client_forwarded": "client",
    "magictunnel_first": "llm",
    "client_first": "client",
}


@asynccontextmanager
async def behind(
    folder: Path, kinds: tuple[str, ...], config: Json, *script: Any, **settings: Any
) -> AsyncIterator[tuple[Running, ScriptedHttp]]:
    """A gateway in front of one raw server of each kind, named after it, with a speaking LLM."""
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(speaking_llm(*script))
        servers: list[Json] = []
        for kind in kinds:
            raw = await stack.enter_async_context(raw_server(kind))
            servers.append(entry_of(kind, raw, **settings))
        config = {
            **config,
            "sampling": {"llm_config": llm_config(service), **config.get("sampling", {})},
            "external_mcp": {"servers": servers, **config.get("external_mcp", {})},
        }
        yield await stack.enter_async_context(running_gateway(folder, config, ENVIRON)), service


async def ask(client: Client, server: str, request: Json) -> Json:
    result = await client.call_tool(f"{server}__ask", {"requests": {"q": request}})
    return result.structured_content["answers"]["q"]


def everywhere(strategy: str) -> Json:
    return {
        "sampling": {"default_sampling_strategy": strategy},
        "elicitation": {"default_elicitation_strategy": strategy},
    }


@pytest.mark.parametrize(
    ("strategy", "era"),
    [
        pytest.param(strategy, era, marks=[SELDOM] if (at + other) % 2 else [])
        for at, strategy in enumerate(ANSWERED)
        for other, era in enumerate(ERAS)
    ],
)
async def test_every_cell_is_answered_by_the_party_its_strategy_names(tmp_path, strategy, era) -> None:
    person = Person()
    seen, expected = {}, {}
    async with (
        behind(tmp_path, KINDS, everywhere(strategy)) as (gateway, _),
        person.client(gateway.url, era) as client,
    ):
        for server in KINDS:
            for kind, request in REQUESTS.items():
                seen[server, kind] = who(await ask(client, server, request))
                expected[server, kind] = ANSWERED[strategy]
    assert seen == expected
    assert len(person.asked) == list(expected.values()).count("client")


@pytest.mark.parametrize(
    "strategy", [pytest.param("client_forwarded", marks=SELDOM), "client_first", "magictunnel_first"]
)
@pytest.mark.parametrize("action", ["decline", pytest.param("cancel", marks=SELDOM)])
@pytest.mark.parametrize("era", ERAS)
async def test_what_a_person_declines_is_declined(tmp_path, era, action, strategy) -> None:
    """No LLM overrides it; with `magictunnel_first` the LLM has failed before the person is asked."""
    kinds = ("stdio-handshake", "http-handshake", "http-modern")
    refuse = answer({"error": {"message": "no", "type": "x", "code": "invalid_api_key"}}, status=401)
    script = [refuse] * len(kinds) if strategy == "magictunnel_first" else []
    person = Person(action=action)
    async with behind(tmp_path, kinds, everywhere(strategy), *script) as (gateway, service):
        async with person.client(gateway.url, era) as client:
            for server in kinds:
                assert who(await ask(client, server, ELICITATION)) == action
        assert len(service.requests) == len(script)
    assert len(person.asked) == len(kinds)


@pytest.mark.parametrize("server", ["stdio-handshake", "http-handshake"])
async def test_what_a_person_rejects_is_rejected(tmp_path, server) -> None:
    person = Person(rejects=True)
    async with behind(tmp_path, (server,), everywhere("client_first")) as (gateway, service):
        async with person.client(gateway.url) as client:
            error = (await ask(client, server, SAMPLING))["error"]
        assert service.requests == []
    assert (error["code"], error["message"]) == (-1, "User rejected sampling request")


@pytest.mark.parametrize("code", [-32601, -32603, -32000])
async def test_a_client_that_errs_is_replaced_by_the_llm(tmp_path, code) -> None:
    person = Person(fails=types.ErrorData(code=code, message="not today"))
    async with behind(tmp_path, ("stdio-handshake",), everywhere("client_first")) as (gateway, _):
        async with person.client(gateway.url) as client:
            said = await ask(client, "stdio-handshake", SAMPLING)
        (decision,) = await gateway.decisions()
    assert who(said) == "llm"
    outcome = "unavailable" if code == -32601 else "failed"
    assert [(leg["source"], leg["outcome"]) for leg in decision["legs"]] == [
        ("client", outcome),
        ("llm", "success"),
    ]


async def test_a_client_that_does_not_answer_in_time_is_replaced_and_its_question_withdrawn(tmp_path) -> None:
    withdrawn = asyncio.Event()

    async def sleepy(context: Any, params: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            withdrawn.set()

    routing = {"sampling": {"default_strategy": "client_first", "timeout_seconds": 0.2}}
    config = {"external_mcp": {"external_routing": routing}}
    async with behind(tmp_path, ("stdio-handshake",), config) as (gateway, _):
        async with Person().client(gateway.url, sampling_callback=sleepy) as client:
            assert who(await ask(client, "stdio-handshake", SAMPLING)) == "llm"
            await asyncio.wait_for(withdrawn.wait(), 10)
        (decision,) = await gateway.decisions()
    assert [leg["outcome"] for leg in decision["legs"]] == ["timed_out", "success"]


async def test_without_a_fallback_a_failing_client_is_the_end_of_it(tmp_path) -> None:
    routing = {"sampling": {"default_strategy": "client_first", "fallback_to_magictunnel": False}}
    person = Person(fails=types.ErrorData(code=-32603, message="broken"))
    async with behind(tmp_path, ("stdio-handshake",), {"external_mcp": {"external_routing": routing}}) as (
        gateway,
        service,
    ):
        async with person.client(gateway.url) as client:
            error = (await ask(client, "stdio-handshake", SAMPLING))["error"]
        assert service.requests == []
    assert error["code"] == -32603
    assert [leg["source"] for leg in error["data"]["legs"]] == ["client"]


@pytest.mark.parametrize("kind", ["sampling", "elicitation"])
async def test_a_kind_that_is_off_is_neither_declared_nor_served(tmp_path, kind) -> None:
    config = {kind: {"enabled": False}}
    async with behind(tmp_path, ("stdio-handshake",), config) as (gateway, _):
        async with Person().client(gateway.url) as client:
            error = (await ask(client, "stdio-handshake", REQUESTS[kind]))["error"]
        declared = {bit.partition(".")[0] for status in gateway.gateway.servers() for bit in status.declared}
    assert error["code"] == -32601
    assert kind not in declared


async def test_a_client_without_the_capability_is_not_asked(tmp_path) -> None:
    config = everywhere("client_forwarded")
    async with (
        behind(tmp_path, ("stdio-handshake",), config) as (gateway, _),
        Client(gateway.url, mode="legacy") as client,
    ):
        for request in REQUESTS.values():
            assert (await ask(client, "stdio-handshake", request))["error"]["code"] == -32601


@pytest.mark.parametrize("era", ERAS)
async def test_secrets_and_urls_are_never_left_to_the_llm(tmp_path, era) -> None:
    secret = {**ELICITATION, "params": {**ELICITATION["params"], "requestedSchema": {
        "type": "object", "properties": {"password": {"type": "string"}}, "required": ["password"],
    }}}  # fmt: skip
    async with behind(tmp_path, ("stdio-handshake",), everywhere("magictunnel_handled")) as (
        gateway,
        service,
    ):
        async with Person().client(gateway.url, era) as client:
            error = (await ask(client, "stdio-handshake", secret))["error"]
        assert service.requests == []
    assert error["code"] == -32601


@pytest.mark.parametrize(
    ("choice", "era"),
    [
        ("auto", "modern"),
        pytest.param("handshake", "handshake", marks=SELDOM),
        pytest.param("modern", "modern", marks=SELDOM),
    ],
)
async def test_a_server_of_both_eras_is_spoken_to_as_configured(tmp_path, choice, era) -> None:
    entry = {"name": "ask", "command": sys.executable, "args": [str(EXAMPLE)], "era": choice}
    person = Person()

    async def seat(context: Any, params: Any) -> types.ElicitResult:
        person.asked.append(params)
        return types.ElicitResult(action="accept", content={"seating": "terrace", "confirm": True})

    async with running_gateway(tmp_path, {"external_mcp": {"servers": [entry]}}) as gateway:
        assert [status.era for status in gateway.gateway.servers()] == [era]
        async with person.client(gateway.url, elicitation_callback=seat) as client:
            booked = await client.call_tool("ask__book_table", {"date": "Friday", "people": 2})
            summary = await client.call_tool("ask__summarize", {"text": "words"})
    assert booked.content[0].text == "Booked: a table for 2 on Friday, terrace."
    assert "the client speaking" in summary.content[0].text


async def test_a_server_that_is_not_of_the_era_asked_for_is_down_and_says_why(tmp_path) -> None:
    async with behind(tmp_path, ("http-handshake",), {}, era="modern") as (gateway, _):
        (status,) = gateway.gateway.servers()
    assert status.state == "down"
    assert "era: auto" in status.reason
