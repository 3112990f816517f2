"""What the gateway translates between the eras, and nothing within one: bare JSON on both sides."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Running, running_gateway
from tests.support.parties import untied
from tests.support.raw.httpd import Httpd, Reply
from tests.support.raw.told import Act, Json, Refused, Told, refuse
from tests.support.raw_http import META, call, exchange, http, initialize, modern

OWN_META = {"com.example/own": {"deep": [1, None]}}
OBJECTS = {"type": "object", "properties": {"a": {"type": "integer"}}}
LIST = {"type": "array", "items": {"type": "integer"}}
TOOLS = [
    {"name": "thing", "inputSchema": {"type": "object"}, "outputSchema": OBJECTS, "x-own": 1},
    {"name": "things", "inputSchema": {"type": "object"}, "outputSchema": LIST, "x-own": 2},
]


@asynccontextmanager
async def told(
    folder: Path, *, tools: list[Json] | None = None, **answers: Json | Refused | Act
) -> AsyncIterator[tuple[Running, dict[str, Told]]]:
    """Run a gateway before two servers that answer alike: `old` of the handshake era, and `new`."""
    # Names are of tools of both; `_old_x` is the resource told://old_x of that server alone.
    plain = {name: answer for name, answer in answers.items() if name[0] != "_"}

    def named(server: str) -> dict[str, Json | Refused | Act]:
        own = [name for name in answers if name.startswith(f"_{server}")]
        return {**plain, **{f"told://{name[1:]}": answers[name] for name in own}}

    servers = {
        name: Told(era, named(name), tools or TOOLS)
        for name, era in (("old", "handshake"), ("new", "modern"))
    }
    async with AsyncExitStack() as stack:
        entries = []
        for name, server in servers.items():
            httpd = await stack.enter_async_context(Httpd(server))
            entries.append({"name": name, "type": "http", "url": f"{httpd.url}/mcp"})
        config = {
            "elicitation": {"default_elicitation_strategy": "client_forwarded"},
            "external_mcp": {"servers": entries},
        }
        yield await stack.enter_async_context(running_gateway(folder, config)), servers


def request(method: str, **params: Any) -> Json:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


async def as_handshake(gateway: Running, message: Json) -> Json:
    async with http(gateway) as client:
        headers = await initialize(client)
        return (await exchange(client, {"json": message, "headers": headers}))[-1]


async def as_modern(gateway: Running, message: Json) -> Json:
    async with http(gateway) as client:
        sent = modern(message)
        if "uri" in message["params"]:
            sent["headers"]["mcp-name"] = message["params"]["uri"]
        return (await exchange(client, sent))[-1]


def unstamped(result: Json) -> Json:
    """A modern result without what says who answered it."""
    meta = {key: value for key, value in result["_meta"].items() if key != META + "serverInfo"}
    rest = {key: value for key, value in result.items() if key != "_meta"}
    return {**rest, "_meta": meta} if meta else rest


@pytest.mark.parametrize("server", ["old", "new"])
async def test_a_schema_that_is_not_of_an_object_costs_a_handshake_client_that_schema_alone(
    tmp_path, server
) -> None:
    async with told(tmp_path) as (gateway, _):
        handshake = (await as_handshake(gateway, request("tools/list")))["result"]["tools"]
        now = (await as_modern(gateway, request("tools/list")))["result"]["tools"]
    listed = {tool.pop("name"): tool for tool in handshake}
    assert listed[f"{server}__thing"] == {key: TOOLS[0][key] for key in TOOLS[0] if key != "name"}
    assert listed[f"{server}__things"] == {"inputSchema": {"type": "object"}, "x-own": 2}
    assert {tool["name"]: tool["outputSchema"] for tool in now if tool["name"].startswith(server)} == {
        f"{server}__thing": OBJECTS,
        f"{server}__things": LIST,
    }


@pytest.mark.parametrize("value", [[1, 2], "text", 7, True, None, 1.5])
async def test_a_value_that_is_no_object_reaches_a_handshake_client_as_text(tmp_path, value) -> None:
    said = {"type": "text", "text": "hello", "x-own": 1}
    result = {"content": [said], "structuredContent": value, "_meta": OWN_META, "x-own": [None]}
    async with told(tmp_path, things=result) as (gateway, _):
        plain = (await as_handshake(gateway, call("new__things")))["result"]
        now = (await as_modern(gateway, call("new__things")))["result"]
        same = (await as_handshake(gateway, call("old__things")))["result"]
    *first, added = plain["content"]
    assert (first, added["type"], json.loads(added["text"])) == ([said], "text", value)
    assert {**plain, "content": [said], "structuredContent": value} == result
    assert unstamped(now) == {"resultType": "complete", **result}
    assert same == result, "within one era nothing is changed"


@pytest.mark.parametrize(
    ("value", "text", "added"),
    [
        ([1, {"a": 2}], '[ 1,\n {"a": 2} ]', False),
        (["é"], '["\\u00e9"]', False),
        ([1], "[1", True),
        (True, "1", True),
        ({"a": [1]}, "else", False),
    ],
)
async def test_text_is_added_only_where_the_content_does_not_say_it_yet(tmp_path, value, text, added) -> None:
    result = {"content": [{"type": "image"}, {"type": "text", "text": text}], "structuredContent": value}
    async with told(tmp_path, things=result) as (gateway, _):
        plain = (await as_handshake(gateway, call("new__things")))["result"]
    assert len(plain["content"]) == (3 if added else 2)
    assert plain["content"][:2] == result["content"]
    assert ("structuredContent" in plain) is isinstance(value, dict)


async def test_what_only_2026_07_28_defines_is_taken_off_and_put_on_between_the_eras_alone(tmp_path) -> None:
    own = {"ttlMs": "mine", "cacheScope": 7, "_meta": OWN_META}
    read = {"contents": [{"uri": "told://new_it", "text": "x"}], "ttlMs": 9, "cacheScope": "public"}
    async with told(tmp_path, thing={"content": [], **own}, _new_it=read) as (gateway, servers):
        servers["old"].answers = {"thing": {"content": [], "resultType": "mine", **own}}
        assert (await as_handshake(gateway, call("old__thing")))["result"] == {
            "content": [],
            "resultType": "mine",
            **own,
        }, "a handshake server's own fields are a handshake client's"
        crossed = (await as_modern(gateway, call("old__thing")))["result"]
        assert unstamped(crossed) == {"content": [], "resultType": "complete", **own}
        servers["old"].answers = {"thing": {"content": [], "resultType": "input_required"}}
        crossed = (await as_modern(gateway, call("old__thing")))["result"]
        assert unstamped(crossed) == {"content": [], "resultType": "complete"}
        # The hints are of the cacheable results alone: elsewhere the names are the server's.
        assert (await as_handshake(gateway, call("new__thing")))["result"] == {"content": [], **own}
        crossed = (await as_handshake(gateway, request("resources/read", uri="told://new_it")))["result"]
        assert crossed == {"contents": read["contents"]}
        kept = (await as_modern(gateway, request("resources/read", uri="told://new_it")))["result"]
        assert unstamped(kept) == {"resultType": "complete", **read}


async def test_hints_that_a_handshake_server_cannot_mean_do_not_reach_a_modern_client(tmp_path) -> None:
    async with told(tmp_path, _old_it={"contents": [], "ttlMs": "mine", "cacheScope": 7}) as (gateway, _):
        read = (await as_modern(gateway, request("resources/read", uri="told://old_it")))["result"]
    assert unstamped(read) == {
        "resultType": "complete",
        "contents": [],
        "ttlMs": 0,
        "cacheScope": "private",
    }


@pytest.mark.parametrize(
    "method", ["tools/list", "prompts/list", "resources/list", "resources/templates/list"]
)
async def test_lists_have_hints_for_modern_clients_and_none_for_others(tmp_path, method) -> None:
    async with told(tmp_path) as (gateway, _):
        now = (await as_modern(gateway, request(method)))["result"]
        before = (await as_handshake(gateway, request(method)))["result"]
    assert (now["resultType"], now["cacheScope"]) == ("complete", "private")
    assert isinstance(now["ttlMs"], int)
    assert not {"resultType", "ttlMs", "cacheScope"} & set(before)


async def test_a_missing_resource_has_the_code_of_the_clients_revision(tmp_path) -> None:
    async with told(tmp_path, _old_gone=refuse(-32002, "not there", uri="told://old_gone")) as (gateway, _):
        read = request("resources/read", uri="told://old_gone")
        error = {"code": -32002, "message": "not there", "data": {"uri": "told://old_gone"}}
        assert (await as_handshake(gateway, read))["error"] == error
        assert (await as_modern(gateway, read))["error"] == {**error, "code": -32602}


@pytest.mark.parametrize("code", [-32602, -32002, -32042])
async def test_a_modern_servers_error_is_every_clients_as_it_is(tmp_path, code) -> None:
    error = {"code": code, "message": "no", "data": {"uri": "x"}}
    async with told(tmp_path, thing=refuse(code, uri="x")) as (gateway, _):
        assert (await as_handshake(gateway, call("new__thing")))["error"] == error
        assert (await as_modern(gateway, call("new__thing")))["error"] == error


async def test_tasks_are_offered_to_neither_side_and_a_task_is_run_as_a_call(tmp_path) -> None:
    async with told(tmp_path, thing={"content": []}) as (gateway, servers), http(gateway) as client:
        params = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tasks": {"list": {}}},
            "clientInfo": {"name": "c", "version": "1"},
        }
        greeted = (await client.post("/mcp", json=request("initialize", **params))).json()["result"]
        found = (await exchange(client, modern(request("server/discover"))))[-1]["result"]
        asked = call("old__thing", a=1)
        asked["params"]["task"] = {"ttl": 60000}
        assert (await as_handshake(gateway, asked))["result"] == {"content": []}
        assert (await as_modern(gateway, asked))["result"]["content"] == []
    for capabilities in (greeted["capabilities"], found["capabilities"]):
        assert "tasks" not in capabilities
        assert META + "tasks" not in capabilities.get("extensions", {})
    assert [set(sent) - {"_meta"} for sent in servers["old"].sent("tools/call")] == [
        {"name", "arguments"}
    ] * 2
    for sent in servers["old"].sent("initialize"):
        assert "tasks" not in sent["capabilities"]
    for sent in servers["new"].sent("tools/list"):
        declared = sent["_meta"][META + "clientCapabilities"]
        assert META + "tasks" not in declared.get("extensions", {})


PIPE = """
import json, sys
SCHEMA = {"type": "object", "properties": {"where": {"type": "string", "x-mcp-header": "Where"}}}
for line in sys.stdin:
    message = json.loads(line)
    method = message["method"]
    if "id" not in message:
        continue
    if method == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {}}
    elif method == "tools/list":
        result = {"tools": [{"name": "go", "inputSchema": SCHEMA}]}
    elif method == "tools/call":
        result = {"content": [], "went": message["params"]["arguments"]}
    body = {"error": {"code": -32601, "message": "no"}} if method == "server/discover" else {"result": result}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **body}), flush=True)
"""
"""A stdio server whose tool has a parameter that clients over HTTP mirror in a header."""


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"mcp-param-where": "here"}, None),
        ({"mcp-param-where": "=?base64?aGVyZQ==?="}, None),
        ({"mcp-param-where": "there"}, -32020),
        ({}, -32020),
        ({"mcp-param-where": "here", "mcp-name": "pipe__stay"}, -32020),
        ({"mcp-param-where": "here", "mcp-name": "go"}, -32020),
    ],
)
async def test_headers_are_checked_before_a_stdio_server_too(tmp_path, headers, code) -> None:
    entry = {"name": "pipe", "command": sys.executable, "args": ["-S", "-c", PIPE]}
    async with running_gateway(tmp_path, {"external_mcp": {"servers": [entry]}}) as gateway:
        async with http(gateway) as client:
            response = (await exchange(client, modern(call("pipe__go", where="here"), **headers)))[-1]
    assert response.get("error", {}).get("code") == code
    assert code is not None or response["result"]["went"] == {"where": "here"}


async def test_a_ping_is_a_message_of_the_handshake_era_alone(tmp_path) -> None:
    async def pinging(server: Told, _: Json, reply: Reply) -> Json:
        """Ping before the answer: of the modern era this must not come, and gets no answer."""
        ping = asyncio.ensure_future(server.ask(reply, "ping", {}))
        if not server.modern:
            return {"content": [], "pong": (await ping)["result"]}
        ping.cancel()
        return {"content": []}

    async with told(tmp_path, thing=pinging) as (gateway, servers):
        assert (await as_handshake(gateway, call("old__thing")))["result"]["pong"] == {}
        assert (await as_handshake(gateway, call("new__thing")))["result"] == {"content": []}
        assert (await as_handshake(gateway, request("ping")))["result"] == {}
        refused = (await as_modern(gateway, request("ping")))["error"]
    assert (refused["code"], refused["message"]) == (-32601, "method not found: ping")
    assert servers["old"].sent("ping") == servers["new"].sent("ping") == []


async def test_a_modern_server_that_asks_on_its_own_gets_no_answer_and_an_older_one_gets_it_without_a_task(
    tmp_path,
) -> None:
    async def asking(server: Told, _: Json, reply: Reply) -> Json:
        asking = asyncio.ensure_future(server.ask(reply, "sampling/createMessage", {"task": {"ttl": 1}}))
        if server.modern:
            asking.cancel()
            return {"content": []}
        return {"content": [], "told": await asking}

    question = {
        "sampling/createMessage": {"role": "assistant", "model": "m", "content": {"type": "text", "text": ""}}
    }
    async with told(tmp_path, thing=asking) as (gateway, _), http(gateway) as client:
        headers = await initialize(client, {"sampling": {}, "tasks": {}})
        sent = {"json": call("old__thing"), "headers": headers}
        asked, last = await exchange(client, sent, question)
        assert untied(asked["params"]) == {}, "a task that was never offered is not passed on"
        assert last["result"]["told"]["result"]["model"] == "m"
        (only,) = await exchange(client, {"json": call("new__thing"), "headers": headers})
    assert only["result"] == {"content": []}
