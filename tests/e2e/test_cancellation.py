"""What cancels a call, and how its server is told: every kind of client with every kind of server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.gateway import Running, running_gateway
from tests.support.processes import file_says
from tests.support.raw import peers
from tests.support.raw.peers import KINDS, entry_of, raw_server
from tests.support.raw_http import EventStream, call, exchange, http, initialize, modern

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]
SCRIPT = Path(peers.__file__).with_name("whose.py")
HANDSHAKE = [kind for kind in KINDS if kind.endswith("handshake")]
TOLD = ["started", "told", "cancelled"]
LEFT = ["started", "cancelled"]
"""What a server of 2026-07-28 over HTTP sees: its response is no longer wanted, and nothing is said."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        servers: list[Json] = []
        for kind in KINDS:
            raw = await stack.enter_async_context(raw_server(kind, script=SCRIPT))
            servers.append(entry_of(kind, raw))
        config = {
            "elicitation": {"default_elicitation_strategy": "client_forwarded"},
            "external_mcp": {"servers": servers},
        }
        folder = tmp_path_factory.mktemp("gateway")
        yield await stack.enter_async_context(running_gateway(folder, config))


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "record"


def with_token(request: Json) -> Json:
    params = request["params"]
    return {**request, "params": {**params, "_meta": {**params.get("_meta", {}), "progressToken": "t"}}}


def cancelled(request_id: Any) -> Json:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}


@asynccontextmanager
async def session(gateway: Running) -> AsyncIterator[tuple[Any, dict[str, str]]]:
    async with http(gateway) as client:
        yield client, await initialize(client, {"elicitation": {}})


async def by_notification(gateway: Running, calling: Json) -> None:
    async with session(gateway) as (client, headers):
        async with client.stream("POST", "/mcp", json=calling, headers=headers) as response:
            stream = EventStream(response)
            assert (await stream.message())["method"] == "notifications/progress"
            await client.post("/mcp", json=cancelled(calling["id"]), headers=headers)
            with pytest.raises(StopAsyncIteration):
                await stream.message()
        # The session lives on, and what was cancelled was that call.
        assert (await exchange(client, {"json": call("none"), "headers": headers}))[-1]["error"]


async def by_the_end_of_the_session(gateway: Running, calling: Json) -> None:
    async with session(gateway) as (client, headers):
        async with client.stream("POST", "/mcp", json=calling, headers=headers) as response:
            assert (await EventStream(response).message())["method"] == "notifications/progress"
            assert (await client.delete("/mcp", headers=headers)).status_code == 200


async def by_the_end_of_an_old_stream(gateway: Running, calling: Json) -> None:
    """HTTP+SSE has one stream, and no way to come back to it: its end is the session's."""
    async with http(gateway) as client, client.stream("GET", "/sse") as response:
        stream = EventStream(response)
        path = (await stream.next()).data
        params = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "old"}}
        await client.post(path, json={"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        await stream.message()
        await client.post(path, json=calling)
        while (await stream.message())["method"] != "notifications/progress":
            pass


async def by_leaving(gateway: Running, calling: Json) -> None:
    request = modern(calling)
    request["json"] = with_token(request["json"])
    async with http(gateway) as client, client.stream("POST", "/mcp", **request) as response:
        assert (await EventStream(response).message())["method"] == "notifications/progress"


@pytest.mark.parametrize(
    "cancel", [by_notification, by_the_end_of_the_session, by_the_end_of_an_old_stream, by_leaving]
)
@pytest.mark.parametrize("server", KINDS)
async def test_a_call_is_cancelled_and_its_server_told_in_the_form_of_its_era(
    gateway, record, server, cancel
) -> None:
    await cancel(gateway, with_token(call(f"{server}__stay", 7, record=str(record))))
    await file_says(record, "cancelled")
    assert record.read_text().split() == (LEFT if server == "http-modern" else TOLD)


@pytest.mark.parametrize("server", KINDS)
async def test_a_stream_that_breaks_cancels_no_handshake_clients_call(gateway, record, server) -> None:
    calling = with_token(call(f"{server}__stay", 7, record=str(record)))
    async with session(gateway) as (client, headers):
        async with client.stream("POST", "/mcp", json=calling, headers=headers) as response:
            first = await EventStream(response).next()
        # The stream is taken up again where it broke, and ends as the call does: by cancellation.
        resume = {**headers, "last-event-id": first.id}
        async with client.stream("GET", "/mcp", headers=resume) as response:
            assert record.read_text().split() == ["started"]
            await client.post("/mcp", json=cancelled(7), headers=headers)
            with pytest.raises(StopAsyncIteration):
                await EventStream(response).message()
    await file_says(record, "cancelled")


@pytest.mark.parametrize("end", ["cancel", "delete"])
@pytest.mark.parametrize("server", HANDSHAKE)
async def test_a_question_that_is_open_when_its_call_is_cancelled_is_withdrawn(
    gateway, record, server, end
) -> None:
    calling = with_token(call(f"{server}__stay", 7, record=str(record), ask=True))
    async with session(gateway) as (client, headers):
        async with client.stream("POST", "/mcp", json=calling, headers=headers) as response:
            stream = EventStream(response)
            _, question = [await stream.message() for _ in range(2)]
            assert question["method"] == "elicitation/create"
            if end == "cancel":
                await client.post("/mcp", json=cancelled(7), headers=headers)
            else:
                await client.delete("/mcp", headers=headers)
            told = [json.loads(event.data) async for event in rest_of(stream)]
        withdrawn = [each["params"]["requestId"] for each in told if each["method"] == cancelled(0)["method"]]
        assert withdrawn == [question["id"]]
        late = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {}}}
        await client.post("/mcp", json=late, headers=headers)
    await file_says(record, "cancelled")
    assert record.read_text().split() == TOLD


async def rest_of(stream: EventStream) -> AsyncIterator[Any]:
    with contextlib.suppress(StopAsyncIteration):
        while True:
            yield await stream.next()


@pytest.mark.parametrize("server", KINDS)
async def test_other_calls_of_the_same_client_are_not_cancelled(gateway, tmp_path, server) -> None:
    files = {number: tmp_path / str(number) for number in (1, 2)}
    async with session(gateway) as (client, headers):
        callings = [with_token(call(f"{server}__stay", n, record=str(file))) for n, file in files.items()]
        posts = [asyncio.create_task(client.post("/mcp", json=each, headers=headers)) for each in callings]
        for file in files.values():
            await file_says(file, "started")
        await client.post("/mcp", json=cancelled(1), headers=headers)
        await file_says(files[1], "cancelled")
        assert files[2].read_text().split() == ["started"]
        await client.post("/mcp", json=cancelled(2), headers=headers)
        await asyncio.gather(*posts)
    await file_says(files[2], "cancelled")
