"""Each level, at each of its places, decides who answers: real servers, a real client, a real service."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.gateway import running_gateway
from tests.support.parties import ENVIRON, REQUESTS, Person, llm_config, speaking_llm, who
from tests.support.raw.peers import entry_of, raw_server

Json = dict[str, Any]
SERVERS = {"pipe": "stdio-handshake", "web": "http-handshake", "now": "http-modern"}
STRATEGY = {"llm": "magictunnel_handled", "client": "client_forwarded"}
PLACES = ["tool", "server_strategies", "servers_file", "default_strategy", "organization", "smart_discovery"]
"""Every place where a strategy can be written, from the highest to the lowest."""
LEVEL = {
    "tool": "tool",
    "server_strategies": "server",
    "servers_file": "server",
    "default_strategy": "server",
    "organization": "organization",
    "smart_discovery": "smart_discovery",
}
PATH = {
    "tool": "tools[{index}].{kind}_strategy",
    "server_strategies": "external_mcp.external_routing.{kind}.server_strategies.{server}",
    "servers_file": "external_mcp.servers[{index}].{kind}_strategy",
    "default_strategy": "external_mcp.external_routing.{kind}.default_strategy",
    "organization": "{kind}.default_{kind}_strategy",
    "smart_discovery": "smart_discovery.default_{kind}_strategy",
}


def configured(servers: list[Json], llm: Json, says: dict[str, str], folder: Path) -> Json:
    """Write `says`, a strategy for each place, into a configuration."""
    config: Json = {
        "sampling": {"llm_config": llm},
        "elicitation": {},
        "smart_discovery": {"enabled": True},
        "external_mcp": {"servers": servers, "external_routing": {"sampling": {}, "elicitation": {}}},
        "capabilities": {"paths": [str(folder / "capabilities")]},
    }
    tools = [{"name": f"{server['name']}__ask", "description": "asks"} for server in servers]
    for kind in REQUESTS:
        routing = config["external_mcp"]["external_routing"][kind]
        for place, strategy in says.items():
            if place == "tool":
                for tool in tools:
                    tool[f"{kind}_strategy"] = strategy
            elif place == "servers_file":
                for server in servers:
                    server[f"{kind}_strategy"] = strategy
            elif place == "server_strategies":
                routing["server_strategies"] = {server["name"]: strategy for server in servers}
            elif place == "default_strategy":
                routing["default_strategy"] = strategy
            elif place == "organization":
                config[kind][f"default_{kind}_strategy"] = strategy
            else:
                config["smart_discovery"][f"default_{kind}_strategy"] = strategy
    (folder / "capabilities").mkdir()
    with (folder / "capabilities" / "tools.yaml").open("w") as file:
        YAML(typ="safe").dump({"tools": tools}, file)
    return config


async def ask_all(folder: Path, says: dict[str, str]) -> list[Json]:
    """Have every server ask both questions; return each answer beside its decision record."""
    person = Person()
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(speaking_llm())
        servers = [await entry(stack, name, kind) for name, kind in SERVERS.items()]
        config = configured(servers, llm_config(service), says, folder)
        gateway = await stack.enter_async_context(running_gateway(folder, config, ENVIRON))
        client = await stack.enter_async_context(person.client(gateway.url))
        seen = []
        for server in SERVERS:
            for kind, request in REQUESTS.items():
                result = await client.call_tool(f"{server}__ask", {"requests": {"q": request}})
                answer = result.structured_content["answers"]["q"]
                seen.append({"server": server, "kind": kind, "answer": answer})
        decisions = await gateway.decisions()
        assert len(decisions) == len(seen)
        return [{**one, "decision": decision} for one, decision in zip(seen, decisions, strict=True)]


async def entry(stack: AsyncExitStack, name: str, kind: str) -> Json:
    return entry_of(name, await stack.enter_async_context(raw_server(kind)))


@pytest.mark.parametrize("party", ["llm", "client"])
@pytest.mark.parametrize("place", PLACES)
async def test_the_highest_place_that_speaks_decides(tmp_path: Path, place: str, party: str) -> None:
    """Every lower place says the opposite, so nothing but this place can explain the answer."""
    other = "client" if party == "llm" else "llm"
    lower = PLACES[PLACES.index(place) + 1 :]
    says = {place: STRATEGY[party], **{below: STRATEGY[other] for below in lower}}
    asked = await ask_all(tmp_path, says)
    assert [(one["server"], one["kind"], who(one["answer"])) for one in asked] == [
        (server, kind, party) for server in SERVERS for kind in REQUESTS
    ]
    for one in asked:
        index = list(SERVERS).index(one["server"])
        path = PATH[place].format(kind=one["kind"], server=one["server"], index=index)
        decision = one["decision"]
        assert decision["level"] == LEVEL[place]
        assert decision["path"].endswith(f" {path}"), decision["path"]
        assert (decision["server"], decision["kind"], decision["source"]) == (
            one["server"],
            one["kind"],
            party,
        )
        assert [step["level"] for step in decision["trail"] if step["chosen"]] == [LEVEL[place]]


async def test_where_no_level_speaks_what_is_built_in_decides(tmp_path: Path) -> None:
    asked = await ask_all(tmp_path, {})
    for one in asked:
        assert who(one["answer"]) == "client"
        built_in = {"sampling": "client_first", "elicitation": "client_forwarded"}[one["kind"]]
        assert (one["decision"]["level"], one["decision"]["strategy"]) == ("built_in", built_in)
