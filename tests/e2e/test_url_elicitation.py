"""URLs that a user is to visit, between the eras: ids, completion, and calls refused until then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.gateway import Running, running_gateway
from tests.support.raw.httpd import Httpd, Reply
from tests.support.raw.peers import entry_of, raw_server
from tests.support.raw.told import Json, Refused, Told, refuse
from tests.support.raw_http import META, EventStream, call, exchange, http, initialize, modern

COMPLETE = "notifications/elicitation/complete"
URL = {"mode": "url", "message": "Sign in", "url": "https://example.com/x", "x-own": 1}
QUESTION = {"method": "elicitation/create", "params": URL}
LABELLED = {**URL, "message": "[told] Sign in"}
CAPABLE = {"elicitation": {"url": {}}}
ACCEPT, DECLINE, CANCEL = ({"action": action} for action in ("accept", "decline", "cancel"))
TOOLS = [{"name": "thing", "inputSchema": {"type": "object"}}]
DONE: Json = {"content": [], "done": True}


@asynccontextmanager
async def told(
    folder: Path, era: str, thing: Any, **settings: Any
) -> AsyncIterator[tuple[Running, Told, httpx2.AsyncClient]]:
    server = Told(era, {"thing": thing}, TOOLS)
    async with Httpd(server) as httpd:
        config = {
            "elicitation": {"default_elicitation_strategy": "client_forwarded", **settings},
            "external_mcp": {"servers": [{"name": "told", "type": "http", "url": f"{httpd.url}/mcp"}]},
        }
        async with running_gateway(folder, config) as gateway, http(gateway) as client:
            yield gateway, server, client


async def posted(client: httpx2.AsyncClient, headers: dict[str, str], answer: Json | None) -> list[Json]:
    """Call the tool as a handshake client; returns every message of the response."""
    asked = {"json": call("told__thing"), "headers": headers}
    return await exchange(client, asked, {"elicitation/create": answer})


async def retried(
    client: httpx2.AsyncClient, before: Json | None = None, *answers: Json | None, can: Json = CAPABLE
) -> Json:
    """Call the tool as a modern client, with answers to what `before` asked; returns the response."""
    message = call("told__thing", a=1)
    if before is not None:
        keys = before["result"]["inputRequests"]
        given = {key: answer for key, answer in zip(keys, answers, strict=True) if answer is not None}
        state = before["result"]["requestState"]
        message["params"] |= {"inputResponses": given, "requestState": state}
    sent = modern(message)
    sent["json"]["params"]["_meta"] = {**sent["json"]["params"]["_meta"], META + "clientCapabilities": can}
    return (await exchange(client, sent))[-1]


def asks(*questions: Json) -> Any:
    """A tool of a modern server that asks these in its result, one a round."""

    async def thing(server: Told, message: Json, _: Reply) -> Json:
        params = message["params"]
        number = int(params.get("requestState") or 0) if params.get("inputResponses") else 0
        if number == len(questions):
            return {**DONE, "answers": params["inputResponses"]}
        requests = {"q": questions[number]}
        return {"resultType": "input_required", "inputRequests": requests, "requestState": str(number + 1)}

    return thing


def required(*entries: Json) -> Refused:
    return refuse(-32042, "visit first", elicitations=list(entries))


def sent_to_modern(response: Json) -> list[Json]:
    assert response["result"]["resultType"] == "input_required"
    return list(response["result"]["inputRequests"].values())


async def test_a_handshake_client_gets_an_id_and_is_told_when_the_retry_has_finished(tmp_path) -> None:
    async with told(tmp_path, "modern", asks(QUESTION, QUESTION)) as (_, _, client):
        headers = await initialize(client, CAPABLE)
        first, second, *complete, last = await posted(client, headers, ACCEPT)
    ids = [asked["params"].pop("elicitationId") for asked in (first, second)]
    assert [first["params"], second["params"]] == [LABELLED, LABELLED]
    assert len(set(ids)) == 2
    assert [(said["method"], said["params"]) for said in complete] == [
        (COMPLETE, {"elicitationId": minted}) for minted in ids
    ]
    assert last["result"]["done"] is True


@pytest.mark.parametrize("answer", [DECLINE, CANCEL])
async def test_what_was_declined_is_not_called_complete(tmp_path, answer) -> None:
    async with told(tmp_path, "modern", asks(QUESTION)) as (_, _, client):
        headers = await initialize(client, CAPABLE)
        asked, last = await posted(client, headers, answer)
    assert asked["method"] == "elicitation/create"
    assert last["result"]["answers"]["q"]["action"] == answer["action"]


async def test_what_ends_in_an_error_is_not_called_complete(tmp_path) -> None:
    async def thing(server: Told, message: Json, reply: Reply) -> Json:
        if "inputResponses" not in message["params"]:
            return await asks(QUESTION)(server, message, reply)
        raise refuse(-32000, "not signed in")

    async with told(tmp_path, "modern", thing) as (_, _, client):
        asked, last = await posted(client, await initialize(client, CAPABLE), ACCEPT)
    assert (asked["method"], last["error"]["code"]) == ("elicitation/create", -32000)


async def test_an_id_and_its_completion_are_a_handshake_servers_own(tmp_path) -> None:
    question = {**URL, "elicitationId": "mine"}

    async def thing(server: Told, _: Json, reply: Reply) -> Json:
        answer = await server.ask(reply, "elicitation/create", question)
        for elicitation_id in ("mine", "nobody's", None):
            params = {"elicitationId": elicitation_id, "x-own": 1}
            await reply.event({"jsonrpc": "2.0", "method": COMPLETE, "params": params})
        return {**DONE, "answer": answer["result"]}

    async with told(tmp_path, "handshake", thing) as (_, _, client):
        headers = await initialize(client, CAPABLE)
        asked, complete, last = await posted(client, headers, ACCEPT)
    assert asked["params"] == {**question, "message": "[told] Sign in"}
    assert complete["params"] == {"elicitationId": "mine", "x-own": 1}
    assert last["result"]["answer"]["action"] == "accept"


async def test_a_modern_client_is_given_no_id_of_a_handshake_server_and_no_completion(tmp_path) -> None:
    async def thing(server: Told, _: Json, reply: Reply) -> Json:
        answer = await server.ask(reply, "elicitation/create", {**URL, "elicitationId": "mine"})
        await reply.event({"jsonrpc": "2.0", "method": COMPLETE, "params": {"elicitationId": "mine"}})
        return {**DONE, "answer": answer["result"]}

    async with told(tmp_path, "handshake", thing) as (_, _, client):
        first = await retried(client)
        assert [asked["params"] for asked in sent_to_modern(first)] == [LABELLED]
        last = await retried(client, first, ACCEPT)
    assert last["result"]["answer"]["action"] == "accept"


async def test_a_modern_servers_question_reaches_a_modern_client_with_every_field(tmp_path) -> None:
    own = {"method": "elicitation/create", "params": {**URL, "elicitationId": "own"}}
    async with told(tmp_path, "modern", asks(own)) as (_, _, client):
        (asked,) = sent_to_modern(await retried(client))
    assert asked["params"] == {**LABELLED, "elicitationId": "own"}


@pytest.mark.parametrize("kind", ["told", "stdio"])
async def test_a_completion_after_the_call_reaches_the_session_that_saw_the_id_alone(tmp_path, kind) -> None:
    if kind == "stdio":
        await _completed_over_stdio(tmp_path)
        return
    error = {
        "code": -32042,
        "message": "visit first",
        "data": {"elicitations": [{**URL, "elicitationId": "e"}]},
    }
    async with told(tmp_path, "handshake", Refused(error)) as (_, server, client):
        mine, others = await initialize(client, CAPABLE), await initialize(client, CAPABLE)
        (refused,) = await posted(client, mine, None)
        assert refused["error"] == error, "to a handshake client the error is as it is"
        async with _general(client, mine) as heard, _general(client, others) as unheard:
            async with asyncio.timeout(10):
                await server.streaming.wait()
            assert server.stream is not None
            for params in ({"elicitationId": "other's"}, {"elicitationId": "e", "x-own": 2}):
                await server.stream.event({"jsonrpc": "2.0", "method": COMPLETE, "params": params})
            await server.stream.event({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
            assert await heard.message() == {
                "jsonrpc": "2.0",
                "method": COMPLETE,
                "params": {"elicitationId": "e", "x-own": 2},
            }
            assert (await unheard.message())["method"] == "notifications/tools/list_changed"


async def _completed_over_stdio(folder: Path) -> None:
    """Over stdio nothing says whose a completion is but its id."""
    async with raw_server("stdio-handshake") as raw:
        entry = entry_of("raw", raw, isolation="shared")
        config = {
            "elicitation": {"default_elicitation_strategy": "client_forwarded"},
            "external_mcp": {"servers": [entry]},
        }
        async with running_gateway(folder, config) as gateway, http(gateway) as client:
            mine, others = await initialize(client, CAPABLE), await initialize(client, CAPABLE)
            questions = {name: {**QUESTION, "params": {**URL, "elicitationId": name}} for name in "ef"}
            asking = call("raw__ask", requests=questions)
            sent = {"json": asking, "headers": mine}
            assert "result" in (await exchange(client, sent, {"elicitation/create": ACCEPT}))[-1]
            for name in "ef":
                telling = call("raw__announce", method=COMPLETE, params={"elicitationId": name})
                said = await exchange(client, {"json": telling, "headers": others})
                assert [message.get("method") for message in said] == [None], "not the asker's stream"
            async with _general(client, mine) as heard:
                told_of = [(await heard.message())["params"] for _ in "ef"]
            assert told_of == [{"elicitationId": "e"}, {"elicitationId": "f"}], "neither replaces the other"


@asynccontextmanager
async def _general(client: httpx2.AsyncClient, headers: dict[str, str]) -> AsyncIterator[EventStream]:
    async with client.stream("GET", "/mcp", headers=headers) as response, asyncio.timeout(10):
        yield EventStream(response)


def until_visited(*entries: Json) -> tuple[list[Json], Any]:
    """A tool that is refused until each entry was taken off the list that is returned beside it."""
    left = list(entries)

    async def thing(server: Told, _: Json, __: Reply) -> Json:
        if left:
            raise required(*left)
        return DONE

    return left, thing


async def test_a_modern_client_is_asked_for_the_urls_and_its_retry_sends_the_call_anew(tmp_path) -> None:
    second = {**URL, "url": "https://example.com/y", "elicitationId": "f"}
    left, thing = until_visited({**URL, "elicitationId": "e"}, second)
    async with told(tmp_path, "handshake", thing) as (gateway, server, client):
        first = await retried(client)
        asked = [request["params"] for request in sent_to_modern(first)]
        assert asked == [LABELLED, {**LABELLED, "url": "https://example.com/y"}]
        left.clear()
        last = await retried(client, first, ACCEPT, ACCEPT)
        outcomes = [(decision["kind"], decision["outcome"]) for decision in await gateway.decisions()]
    assert last["result"]["done"] is True
    sent = [
        {key: value for key, value in params.items() if key != "_meta"}
        for params in server.sent("tools/call")
    ]
    assert sent == [{"name": "thing", "arguments": {"a": 1}}] * 2, "the whole call, and nothing of the retry"
    assert outcomes[:2] == [("elicitation", "deferred")] * 2, "policy has decided who is asked"
    assert outcomes[2:] == [("elicitation", "answered")] * 2


@pytest.mark.parametrize(("answer", "word"), [(DECLINE, "declined"), (CANCEL, "dismissed")])
async def test_a_declined_url_ends_the_call_with_an_error_that_says_so(tmp_path, answer, word) -> None:
    _, thing = until_visited({**URL, "elicitationId": "e"}, {**URL, "elicitationId": "f"})
    async with told(tmp_path, "handshake", thing) as (_, server, client):
        last = await retried(client, await retried(client), ACCEPT, answer)
    assert last["error"]["code"] == -1
    assert f"the user {word}" in last["error"]["message"]
    assert "'told'" in last["error"]["message"]
    assert len(server.sent("tools/call")) == 1, "a decline is never overridden by a retry"


async def test_a_url_that_is_not_answered_is_asked_for_again_and_not_for_ever(tmp_path) -> None:
    _, thing = until_visited({**URL, "elicitationId": "e"})
    async with told(tmp_path, "handshake", thing) as (_, _, client):
        again = await retried(client, await retried(client), None)
        assert [request["params"] for request in sent_to_modern(again)] == [LABELLED]
        last = await retried(client, again, None)
        assert "without answering" in last["error"]["message"]
        accepted = await retried(client)
        for _ in range(9):
            accepted = await retried(client, accepted, ACCEPT)
        last = await retried(client, accepted, ACCEPT)
    assert "max_rounds" in last["error"]["message"]


async def test_a_client_that_opens_no_urls_is_told_what_is_missing(tmp_path) -> None:
    _, thing = until_visited({**URL, "elicitationId": "e"})
    async with told(tmp_path, "handshake", thing) as (_, _, client):
        error = (await retried(client, can={"elicitation": {"form": {}}}))["error"]
    assert error["code"] == -32601
    assert "elicitation.url" in error["message"]


async def test_policy_decides_whether_the_urls_are_asked_for(tmp_path) -> None:
    _, thing = until_visited({**URL, "elicitationId": "e"})
    async with told(tmp_path, "handshake", thing, enabled=False) as (_, _, client):
        error = (await retried(client))["error"]
    assert error["code"] == -32601
    assert "elicitation.enabled" in error["message"]


@pytest.mark.parametrize("data", [None, [], {"elicitations": []}, {"elicitations": [{"url": 1}]}])
async def test_a_refusal_that_names_no_url_is_no_retired_code_to_a_modern_client(tmp_path, data) -> None:
    error = {"code": -32042, "message": "visit first", "data": data}
    async with told(tmp_path, "handshake", Refused(error)) as (_, _, client):
        now = (await retried(client))["error"]
        (same,) = await posted(client, await initialize(client, CAPABLE), None)
    kept = {} if data is None else {"data": data}
    assert now == {"code": -32603, "message": "visit first", **kept}
    assert same["error"] == {"code": -32042, "message": "visit first", **kept}
