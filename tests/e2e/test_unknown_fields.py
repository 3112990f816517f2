"""What no specification names passes the gateway unharmed: both ways, every cell, every transport."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.interop.recorder import REQUEST_STAMPS, differences, expected, received, unstamped
from tests.support.clients import Mode
from tests.support.command_line import command, environment
from tests.support.gateway import Running, running_gateway
from tests.support.processes import stop
from tests.support.raw import strangeness
from tests.support.raw.peers import KINDS, entry_of, raw_server
from tests.support.raw.strangeness import CAPABILITIES, META, NOTIFICATIONS, X, answers, uri_of
from tests.support.raw_http import ENVELOPE, EventStream, exchange, http, initialize, modern

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]
SCRIPT = Path(strangeness.__file__).with_name("strange.py")
MODES = ["handshake", "modern"]
TRACE: Json = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "vendor=1",
    "baggage": "user=ada",
    **META,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        servers: list[Json] = []
        for kind in KINDS:
            raw = await stack.enter_async_context(raw_server(kind, script=SCRIPT))
            servers.append(entry_of(kind, raw))
        folder = tmp_path_factory.mktemp("gateway")
        config = {"external_mcp": {"servers": servers}}
        yield await stack.enter_async_context(running_gateway(folder, config))


async def said(gateway: Running, mode: Mode, method: str, **params: Any) -> list[Json]:
    """Make one request as a client of its own; return every message of the response, the response last."""
    return (await conversation(gateway, mode, (method, params)))[0]


async def conversation(gateway: Running, mode: Mode, *requests: tuple[str, Json]) -> list[list[Json]]:
    """Make requests as one client; return every message of each response."""
    async with http(gateway) as client:
        headers = await initialize(client) if mode == "handshake" else {}
        told: list[list[Json]] = []
        for number, (method, params) in enumerate(requests, 1):
            message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            request: Json = {"json": message, "headers": headers}
            if mode == "modern":
                named = {"mcp-name": params["uri"]} if "uri" in params else {}
                request = modern(message, **named)
                request["json"]["params"]["_meta"] = {**params.get("_meta", {}), **ENVELOPE}
            told.append(await exchange(client, request))
        return told


def request_of(kind: str, method: str) -> Json:
    """Return parameters for a method, with more in them than any specification names."""
    named: dict[str, Json] = {
        "tools/call": {"name": f"{kind}__strange", "arguments": {"a": "b", "x-argument": X}},
        "prompts/get": {"name": f"{kind}__strange", "arguments": {"topic": "t"}},
        "resources/read": {"uri": uri_of(kind)},
        "completion/complete": {
            "ref": {"type": "ref/prompt", "name": f"{kind}__strange", "x-ref": X},
            "argument": {"name": "topic", "value": "", "x-argument": X},
        },
    }
    meta = {**TRACE, "progressToken": "t-1", "io.modelcontextprotocol/logLevel": "debug"}
    return {**named[method], "x-param": X, "_meta": meta}


LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
MESSAGE = "notifications/message"
PROGRESS = "notifications/progress"
RESULTS = ["tools/call", "prompts/get", "resources/read", "completion/complete"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
async def test_results_keep_what_nobody_knows(gateway: Running, kind: str, mode: Mode) -> None:
    for method in RESULTS:
        *_, response = await said(gateway, mode, method, **request_of(kind, method))
        want = expected(method, answers(kind)[method], client=mode, server=_era(kind))
        assert "result" in response, response["error"]
        assert differences(want, received(response["result"])) == "", method


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
async def test_list_entries_keep_what_nobody_knows(gateway: Running, kind: str, mode: Mode) -> None:
    for method, member in LISTS.items():
        *_, response = await said(gateway, mode, method)
        shown = response["result"][member]
        if method in ("tools/list", "prompts/list"):
            prefix = f"{kind}__"
            mine = [entry for entry in shown if entry["name"].startswith(prefix)]
            entries = [{**entry, "name": entry["name"].removeprefix(prefix)} for entry in mine]
        else:
            entries = [e for e in shown if uri_of(kind) in (e.get("uri") or e["uriTemplate"])]
        assert differences(answers(kind)[method][member], entries) == "", method


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
async def test_notifications_keep_what_nobody_knows(gateway: Running, kind: str, mode: Mode) -> None:
    params = request_of(kind, "tools/call")
    *told, _ = await said(gateway, mode, "tools/call", **params)
    by_method = {message["method"]: message["params"] for message in told}
    # Over HTTP the stream says whose they are, on a session's own connection there is but one client;
    # elsewhere only progress names its call.
    whose = kind.startswith("http") or (mode == "handshake" and _era(kind) == "handshake")
    wanted = NOTIFICATIONS if whose else {PROGRESS: NOTIFICATIONS[PROGRESS]}
    assert by_method.keys() == wanted.keys()
    for method, want in wanted.items():
        token = {"progressToken": "t-1"} if method == PROGRESS else {}
        assert differences({**want, **token}, by_method[method]) == "", method


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
async def test_requests_keep_what_nobody_knows(gateway: Running, kind: str, mode: Mode) -> None:
    requests = [(method, request_of(kind, method)) for method in RESULTS]
    *_, seen = await conversation(gateway, mode, *requests, ("tools/call", {"name": f"{kind}__seen"}))
    by_method = {
        message["method"]: message["params"]
        for message in seen[-1]["result"]["seen"]
        if "params" in message and message["params"].get("name") != "seen"
    }
    for method, params in requests:
        want = unstamped(params, REQUEST_STAMPS)
        if "name" in want:
            want["name"] = "strange"
        elif "ref" in want:
            want["ref"] = {**want["ref"], "name": "strange"}
        assert differences(want, unstamped(by_method[method], REQUEST_STAMPS)) == "", method


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
async def test_errors_keep_their_data(gateway: Running, kind: str, mode: Mode) -> None:
    *_, response = await said(gateway, mode, "tools/call", name=f"{kind}__fail", arguments={"x-argument": X})
    want = {"code": -32050, "message": "as asked", "data": {"x-unknown": {"x-argument": X}}}
    assert differences(want, response["error"]) == ""


@pytest.mark.parametrize("kind", ["stdio-handshake", "sse-handshake"])
async def test_what_a_server_logs_outside_any_call_is_the_sessions_whose_connection_it_is(
    gateway: Running, kind: str
) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": {"uri": uri_of(kind)}}
    async with http(gateway) as client, AsyncExitStack() as stack:
        told: list[EventStream] = []
        for _ in range(2):
            headers = await initialize(client)
            general = await stack.enter_async_context(client.stream("GET", "/mcp", headers=headers))
            told.append(EventStream(general))
            await exchange(client, {"json": message, "headers": headers})
            # The second session's own line comes first on its stream: it has not got the other's.
            heard = await told[-1].message()
            assert heard["method"] == MESSAGE
            assert differences(NOTIFICATIONS[MESSAGE], heard["params"]) == ""
        quiet = {**message, "method": "logging/setLevel", "params": {"level": "error"}}
        await exchange(client, {"json": quiet, "headers": headers})
        await exchange(client, {"json": {**message, "method": "resources/unsubscribe"}, "headers": headers})
        await exchange(client, {"json": message, "headers": headers})
        *_, last = await exchange(client, {"json": {**message, "method": "ping"}, "headers": headers})
        assert last["result"] == {}


INITIALIZE: Json = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "raw", "version": "1"},
}


def check_over(kind: str, told: list[Json]) -> None:
    """Compare what came for a call of the tool `strange` on a transport with a single stream."""
    *notified, response = told
    for method, want in NOTIFICATIONS.items():
        token = {"progressToken": "t-1"} if method == PROGRESS else {}
        (heard,) = (each["params"] for each in notified if each["method"] == method)
        assert differences({**want, **token}, heard) == "", method
    want = expected("tools/call", answers(kind)["tools/call"], client="handshake", server=_era(kind))
    assert differences(want, received(response["result"])) == ""


@pytest.mark.parametrize("mode", MODES)
async def test_what_servers_say_of_an_extension_is_told_to_clients(gateway: Running, mode: Mode) -> None:
    message = request("initialize", **INITIALIZE) if mode == "handshake" else request("server/discover")
    async with http(gateway) as client:
        first: Json = {"json": message} if mode == "handshake" else modern(message)
        told = (await client.post("/mcp", **first)).json()["result"]["capabilities"]
    assert differences(CAPABILITIES["extensions"], told["extensions"]) == ""


async def test_clients_over_http_and_sse_receive_the_same(gateway: Running) -> None:
    kind = "http-modern"
    messages = [
        request("initialize", **INITIALIZE),
        request("tools/call", **request_of(kind, "tools/call")),
    ]
    async with http(gateway) as client, client.stream("GET", "/sse") as response:
        stream = EventStream(response)
        path = (await stream.next()).data
        for message in messages:
            await client.post(path, json=message)
            told = [await stream.message()]
            while "method" in told[-1]:
                told.append(await stream.message())
    check_over(kind, told)


async def test_clients_over_stdio_receive_the_same(tmp_path: Path) -> None:
    kind = "stdio-handshake"
    async with raw_server(kind, script=SCRIPT) as raw:
        config = {"servers": [entry_of(kind, raw)]}
        path = tmp_path / "gateway.yaml"
        path.write_text(json.dumps({"external_mcp": config}))
        program, *options = command("serve", "--stdio", "--config", path, "--log-level", "error")
        process = await asyncio.create_subprocess_exec(
            program, *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(tmp_path)
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for message in (
                request("initialize", **INITIALIZE),
                request("tools/call", **request_of(kind, "tools/call")),
            ):
                process.stdin.write(json.dumps(message).encode() + b"\n")
                told = [json.loads(await process.stdout.readline())]
                while "method" in told[-1]:
                    told.append(json.loads(await process.stdout.readline()))
        finally:
            process.stdin.close()
            await stop(process)
    check_over(kind, told)


def request(method: str, **params: Any) -> Json:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def _era(kind: str) -> Mode:
    return "modern" if kind.endswith("modern") else "handshake"
