"""Messages that no other test carries through the whole gateway: bare JSON on both sides, both eras."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from gateway.downstream.session import VERSIONS
from tests.interop.protocol_table import messages
from tests.support.gateway import Running, running_gateway
from tests.support.parties import untied
from tests.support.raw.peers import entry_of, raw_server
from tests.support.raw_http import EventStream, call, exchange, http, initialize, modern

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]
SERVERS = {"pipe": "stdio-handshake", "web": "http-handshake", "now": "http-modern"}
ROOTS = {"roots": [{"uri": "file:///home", "name": "home", "x-unknown": 1}]}
ASK_ROOTS = {"q": {"method": "roots/list"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        servers: list[Json] = []
        for name, kind in SERVERS.items():
            raw = await stack.enter_async_context(raw_server(kind))
            servers.append(entry_of(name, raw, isolation="session"))
        config = {
            "sampling": {"default_sampling_strategy": "client_forwarded"},
            "elicitation": {"default_elicitation_strategy": "client_forwarded"},
            "external_mcp": {"servers": servers},
        }
        folder = tmp_path_factory.mktemp("gateway")
        yield await stack.enter_async_context(running_gateway(folder, config))


def request(method: str, request_id: Any = 1, **params: Any) -> Json:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def notification(method: str, **params: Any) -> Json:
    return {"jsonrpc": "2.0", "method": method, "params": params}


@asynccontextmanager
async def session(gateway: Running, **capabilities: Any) -> AsyncIterator[tuple[Any, dict[str, str]]]:
    """A handshake client: how it posts, and the headers of its session, which ends with the block."""
    async with http(gateway) as client:
        headers = await initialize(client, capabilities)
        yield client, headers
        assert (await client.delete("/mcp", headers=headers)).status_code == 200


async def seen_by(client: Any, headers: dict[str, str], server: str) -> list[Json]:
    """What a server has been sent, as it tells on the caller's own connection."""
    said = await exchange(client, {"json": call(f"{server}__seen"), "headers": headers})
    return said[-1]["result"]["seen"]


def of(method: str, seen: list[Json]) -> list[Json]:
    return [message for message in seen if message["method"] == method]


@pytest.mark.parametrize("version", [*VERSIONS, "1999-01-01"])
async def test_a_client_shakes_hands_with_the_gateway_and_the_gateway_with_each_server(
    gateway, version
) -> None:
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    async with http(gateway) as client:
        response = await client.post("/mcp", json=request("initialize", **params))
        result = response.json()["result"]
        headers = {"mcp-session-id": response.headers["mcp-session-id"]}
        ready = await client.post("/mcp", json=notification("notifications/initialized"), headers=headers)
        seen = await seen_by(client, headers, "pipe")
        await client.delete("/mcp", headers=headers)
    assert ready.status_code == 202
    assert result["protocolVersion"] == (version if version in VERSIONS else VERSIONS[-1])
    assert result["serverInfo"]["name"] == "backchannel"
    assert {"tools", "resources", "logging"} <= set(result["capabilities"])
    assert result["instructions"].count("Ask.") == len(SERVERS)
    (shaken,) = of("initialize", seen)
    assert shaken["params"]["clientInfo"]["name"] == "backchannel"
    assert len(of("notifications/initialized", seen)) == 1


async def test_discovery_speaks_for_every_server_and_each_was_asked_by_the_gateway(gateway) -> None:
    async with http(gateway) as client:
        response = await client.post("/mcp", **modern(request("server/discover")))
        result = response.json()["result"]
        said = await exchange(client, modern(call("now__seen")))
    assert result["supportedVersions"] == ["2026-07-28"]
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "backchannel"
    assert (result["resultType"], result["cacheScope"]) == ("complete", "private")
    assert result["instructions"].count("Ask.") == len(SERVERS)
    meta = of("server/discover", said[-1]["result"]["seen"])[0]["params"]["_meta"]
    assert meta["io.modelcontextprotocol/clientInfo"]["name"] == "backchannel"


@pytest.mark.parametrize("server", ["pipe", "web"])
async def test_a_ping_of_either_side_goes_no_further_than_the_gateway(gateway, server) -> None:
    async with session(gateway) as (client, headers):
        answered = await client.post("/mcp", json=request("ping"), headers=headers)
        assert answered.json() == {"jsonrpc": "2.0", "id": 1, "result": {}}
        assert of("ping", await seen_by(client, headers, server)) == []
        (only,) = await exchange(client, {"json": call(f"{server}__ping"), "headers": headers})
    assert only["result"]["pong"]["result"] == {}


def unserved(version: str) -> list[str]:
    """Requests of either side that a client of this version may not send, and those of tasks."""
    every = {message.method: message for message in messages() if "request" in message.kinds.values()}
    served = {
        message.method
        for message in messages()
        if message.sender == "client" and version in message.kinds and not message.method.startswith("tasks/")
    }
    return sorted({*every, "own/method"} - served)


@pytest.mark.parametrize("method", unserved("2025-11-25"))
async def test_a_handshake_client_is_told_which_requests_are_not_served(gateway, method) -> None:
    async with session(gateway) as (client, headers):
        response = await client.post("/mcp", json=request(method), headers=headers)
        seen = await seen_by(client, headers, "pipe")
    assert (response.status_code, response.json()["error"]["code"]) == (200, -32601)
    assert method in response.json()["error"]["message"]
    assert method == "server/discover" or of(method, seen) == []


@pytest.mark.parametrize("method", unserved("2026-07-28"))
async def test_a_modern_client_is_told_which_requests_are_not_served(gateway, method) -> None:
    async with http(gateway) as client:
        response = await client.post("/mcp", **modern(request(method)))
    assert (response.status_code, response.json()["error"]["code"]) == (404, -32601)
    assert method in response.json()["error"]["message"]


@pytest.mark.parametrize("server", ["pipe", "web"])
@pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/list", "tasks/cancel", "own/method"])
async def test_a_server_may_ask_no_client_about_tasks(gateway, server, method) -> None:
    async with session(gateway, tasks={"list": {}}, sampling={}) as (client, headers):
        asking = call(f"{server}__ask", requests={"q": {"method": method, "params": {"taskId": "1"}}})
        (only,) = await exchange(client, {"json": asking, "headers": headers})
    error = only["result"]["answers"]["q"]["error"]
    assert error["code"] == -32601
    assert method in error["message"]


async def test_an_input_request_the_protocol_does_not_have_ends_the_modern_call(gateway) -> None:
    asking = call("now__ask", requests={"q": {"method": "tasks/get", "params": {"taskId": "1"}}})
    async with http(gateway) as client:
        (only,) = await exchange(client, modern(asking))
    assert only["error"]["code"] == -32601
    assert "tasks/get" in only["error"]["message"]


@pytest.mark.parametrize("server", list(SERVERS))
async def test_roots_are_asked_of_the_calling_client_alone(gateway, server) -> None:
    asking = call(f"{server}__ask", requests=ASK_ROOTS)
    async with session(gateway, roots={"listChanged": True}) as (client, headers):
        *_, asked, last = await exchange(client, {"json": asking, "headers": headers}, {"roots/list": ROOTS})
    async with session(gateway) as (client, without):
        *_, refused = await exchange(client, {"json": asking, "headers": without})
    assert asked["method"] == "roots/list"
    answer = last["result"]["answers"]["q"]
    assert answer.get("result", answer) == ROOTS
    error = refused.get("error") or refused["result"]["answers"]["q"]["error"]
    assert error["code"] == -32601


async def test_roots_are_an_input_request_to_a_modern_client(gateway) -> None:
    asking = call("now__ask", requests=ASK_ROOTS)
    able = {"io.modelcontextprotocol/clientCapabilities": {"roots": {}}}
    async with http(gateway) as client:
        first = (await exchange(client, with_meta(modern(asking), able)))[-1]["result"]
        assert first["resultType"] == "input_required"
        assert first["inputRequests"]["q"]["method"] == "roots/list"
        retry = call("now__ask", 2, requests=ASK_ROOTS)
        retry["params"] |= {"inputResponses": {"q": ROOTS}, "requestState": first["requestState"]}
        last = (await exchange(client, with_meta(modern(retry), able)))[-1]["result"]
    assert last["answers"] == {"q": ROOTS}


def with_meta(sent: Json, meta: Json) -> Json:
    params = sent["json"]["params"]
    params["_meta"] = {**params["_meta"], **meta}
    return sent


@pytest.mark.parametrize("server", ["pipe", "web"])
async def test_changed_roots_are_told_to_the_servers_of_their_client_alone(gateway, server) -> None:
    changed = notification("notifications/roots/list_changed", _meta={"x-unknown": server})
    changing = session(gateway, roots={"listChanged": True})
    staying = session(gateway, roots={"listChanged": True})
    async with changing as (client, mine), staying as (_, others):
        await seen_by(client, mine, server)
        for headers in (mine, others):
            (declared,) = of("initialize", await seen_by(client, headers, "pipe"))
            assert declared["params"]["capabilities"]["roots"] == {"listChanged": True}
        assert (await client.post("/mcp", json=changed, headers=mine)).status_code == 202
        arguments = {"seen": "notifications/roots/list_changed", "times": 1}
        await exchange(client, {"json": call(f"{server}__until", **arguments), "headers": mine})
        told = of("notifications/roots/list_changed", await seen_by(client, mine, server))
        untold = of("notifications/roots/list_changed", await seen_by(client, others, "pipe"))
    assert changed["params"] in [message["params"] for message in told]
    assert untold == []


@pytest.mark.parametrize("server", ["pipe", "web"])
async def test_a_question_that_its_server_withdraws_is_withdrawn_from_the_client(gateway, server) -> None:
    async with session(gateway, elicitation={}) as (client, headers):
        withdrawing = {"json": call(f"{server}__withdraw"), "headers": headers}
        async with client.stream("POST", "/mcp", **withdrawing) as response:
            stream = EventStream(response)
            asked = await stream.message()
            await exchange(client, {"json": call(f"{server}__arrive", 2), "headers": headers})
            taken_back, last = await stream.message(), await stream.message()
    assert asked["method"] == "elicitation/create"
    assert taken_back["method"] == "notifications/cancelled"
    assert taken_back["params"]["requestId"] == asked["id"]
    assert last["result"] == {"content": []}


async def test_a_modern_client_cancels_over_http_by_leaving_and_by_nothing_else(gateway) -> None:
    message = call("now__wait", 7)
    message["params"]["arguments"]["name"] = "left"
    waiting = with_meta(modern(message), {"progressToken": "t"})
    cancelled = modern(notification("notifications/cancelled", requestId=7))
    async with http(gateway) as client:
        async with client.stream("POST", "/mcp", **waiting) as response:
            stream = EventStream(response)
            assert (await stream.message())["method"] == "notifications/progress"
            assert (await client.post("/mcp", **cancelled)).status_code == 202
            said = await exchange(client, modern(call("now__until", cancelled=0)))
            assert said[-1]["result"]["cancelled"] == []
        said = await exchange(client, modern(call("now__until", cancelled=1)))
    assert said[-1]["result"]["cancelled"] == ["left"]


@pytest.mark.parametrize("method", ["notifications/progress", "notifications/tasks/status", "own/news"])
async def test_a_clients_news_that_no_server_awaits_is_taken_and_dropped(gateway, method) -> None:
    async with session(gateway) as (client, headers):
        news = notification(method, progressToken=1, progress=1, taskId="1")
        assert (await client.post("/mcp", json=news, headers=headers)).status_code == 202
        assert of(method, await seen_by(client, headers, "pipe")) == []


@pytest.mark.parametrize("method", ["notifications/tasks/status", "own/news"])
@pytest.mark.parametrize("server", ["pipe", "web"])
async def test_a_servers_news_reach_its_caller_but_for_those_of_tasks(gateway, server, method) -> None:
    async with session(gateway) as (client, headers):
        params = {"taskId": "1", "x-unknown": 2}
        telling = call(f"{server}__announce", method=method, params=params, related=True)
        *told, last = await exchange(client, {"json": telling, "headers": headers})
    assert last["result"] == {"content": []}
    passed = [notification(method, **params)]
    assert told == ([] if method == "notifications/tasks/status" else passed)


async def test_what_a_server_logs_after_a_call_goes_to_the_session_whose_connection_it_is(gateway) -> None:
    changed = notification("notifications/roots/list_changed")
    first, second = session(gateway, roots={}), session(gateway, roots={})
    async with first as (client, ann), second as (_, bob), AsyncExitStack() as stack:
        streams = {}
        for name, headers in (("ann", ann), ("bob", bob)):
            line = {"level": "info", "data": name}
            telling = call("pipe__announce", method="notifications/message", params=line, later=True)
            assert len(await exchange(client, {"json": telling, "headers": headers})) == 1
            opened = await stack.enter_async_context(client.stream("GET", "/mcp", headers=headers))
            streams[name] = EventStream(opened)
        for name, headers in (("ann", ann), ("bob", bob)):
            await client.post("/mcp", json=changed, headers=headers)
            said = await streams[name].message()
            assert said == notification("notifications/message", level="info", data=name)


@pytest.mark.parametrize("server", ["pipe", "now"])
async def test_a_servers_progress_token_stays_here_when_its_question_goes_on(gateway, server) -> None:
    meta = {"progressToken": "the server's", "x-unknown": 1}
    question = {
        "method": "elicitation/create",
        "params": {"message": "?", "requestedSchema": {}, "_meta": meta},
    }
    rooted = {"method": "roots/list", "params": {"_meta": {"progressToken": "the server's"}}}
    answers = {"elicitation/create": {"action": "decline"}, "roots/list": ROOTS}
    async with session(gateway, elicitation={}, roots={}) as (client, headers):
        asking = call(f"{server}__ask", requests={"q": question, "r": rooted})
        *told, _ = await exchange(client, {"json": asking, "headers": headers}, answers)
    shown = {asked["method"]: asked["params"] for asked in told}
    assert untied(shown["elicitation/create"])["_meta"] == {"x-unknown": 1}
    assert shown["roots/list"] == {}


async def test_a_subscription_that_a_server_ends_is_opened_again_and_counts_as_a_change(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("gateway.upstream.subscriptions._FIRST_BACKOFF", 0.01)
    listening = modern(request("subscriptions/listen", 42, notifications={"toolsListChanged": True}))
    async with AsyncExitStack() as stack:
        raw = await stack.enter_async_context(raw_server("stdio-modern"))
        config = {"external_mcp": {"servers": [entry_of("now", raw)]}}
        gateway = await stack.enter_async_context(running_gateway(tmp_path, config))
        client = await stack.enter_async_context(http(gateway))
        stream = EventStream(await stack.enter_async_context(client.stream("POST", "/mcp", **listening)))
        assert (await stream.message())["method"] == "notifications/subscriptions/acknowledged"
        (listened,) = of(
            "subscriptions/listen", (await exchange(client, modern(call("now__seen"))))[-1]["result"]["seen"]
        )
        ending = {"method": "notifications/cancelled", "params": {"requestId": listened["id"]}}
        await exchange(client, modern(call("now__announce", **ending)))
        assert (await stream.message())["method"] == "notifications/tools/list_changed"
        said = await exchange(client, modern(call("now__until", seen="subscriptions/listen", times=2)))
    assert "result" in said[-1]


async def test_subscriptions_are_the_servers_own_in_the_form_of_its_era(gateway) -> None:
    async with session(gateway) as (client, headers):

        async def ask(method: str, server: str) -> Json:
            uri = f"raw-{SERVERS[server]}:///thing"
            message = request(method, uri=uri)
            assert (await client.post("/mcp", json=message, headers=headers)).json()["result"] == {}
            return {"uri": uri}

        async def until(server: str, method: str) -> list[Json]:
            reached = {"json": call(f"{server}__until", seen=method, times=1), "headers": headers}
            await exchange(client, reached)
            return of(method, await seen_by(client, headers, server))

        thing = await ask("resources/subscribe", "pipe")
        assert [message["params"] for message in await until("pipe", "resources/subscribe")] == [thing]
        await ask("resources/unsubscribe", "pipe")
        assert [message["params"] for message in await until("pipe", "resources/unsubscribe")] == [thing]

        thing = await ask("resources/subscribe", "now")
        wanted = {"resourceSubscriptions": [thing["uri"]]}
        opened = await until("now", "subscriptions/listen")
        assert wanted in [message["params"]["notifications"] for message in opened]
        await ask("resources/unsubscribe", "now")
        (ended,) = await until("now", "(no longer listening)")
        assert ended["params"]["notifications"] == wanted


async def test_a_listener_is_acknowledged_with_what_can_be_had(gateway) -> None:
    uri = "raw-http-modern:///thing"
    wanted = {"toolsListChanged": True, "resourceSubscriptions": [uri, "no:///such"], "x-unknown": True}
    listening = modern(request("subscriptions/listen", 42, notifications=wanted))
    async with http(gateway) as client, client.stream("POST", "/mcp", **listening) as response:
        said = await EventStream(response).message()
    assert said["method"] == "notifications/subscriptions/acknowledged"
    assert said["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": 42}
    assert said["params"]["notifications"] == {"toolsListChanged": True, "resourceSubscriptions": [uri]}


async def test_a_handshake_clients_log_level_is_in_each_request_to_a_modern_server(gateway) -> None:
    async with session(gateway) as (client, headers):
        level = request("logging/setLevel", level="warning")
        assert (await client.post("/mcp", json=level, headers=headers)).json()["result"] == {}
        said = await exchange(client, {"json": call("now__echo"), "headers": headers})
        await exchange(
            client, {"json": call("pipe__until", seen="logging/setLevel", times=1), "headers": headers}
        )
        told = of("logging/setLevel", await seen_by(client, headers, "pipe"))
    received = said[-1]["result"]["received"]
    assert received["_meta"]["io.modelcontextprotocol/logLevel"] == "warning"
    assert {message["params"]["level"] for message in told} == {"warning"}
