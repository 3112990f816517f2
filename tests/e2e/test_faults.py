"""Every fault of a server through a real gateway, while other servers' calls run on beside it.

A faulty call ends in a result or in an error that names the server; nobody else notices; the
server is there again afterwards; nothing is left behind.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.interop.faults.storm import SERVER, Count, settles_to, steady_calls
from tests.support.gateway import Running, running_gateway
from tests.support.raw.peers import entry_of, raw_server
from tests.support.raw_http import call, exchange, http, initialize

pytestmark = pytest.mark.extensive

Json = dict[str, Any]
KINDS = ("stdio-handshake", "stdio-modern", "http-handshake", "http-modern", "sse-handshake")
HANDSHAKE = tuple(kind for kind in KINDS if kind.endswith("handshake"))
OK = r'"text":"ok"'
TIMED_OUT = r"server 'mute' did not finish tools/call 'mute__\w+' within 1 s"
NO_JSON = r"server 'bad' answered tools/call with what is not valid JSON"
ENDED = r"server '\w+' ended the connection during the call: "

EVERYWHERE: list[tuple[str, Json, str]] = [
    ("hang", {}, TIMED_OUT),
    ("big", {"bytes": 10_000_000}, r'"text":"x{10000}'),
    ("big", {"bytes": 40_000_000}, r'"text":"x{10000}'),
    ("malformed", {}, NO_JSON),
    ("not_rpc", {}, OK),
    ("half_then_close", {}, ENDED),
    ("unknown_notifications", {}, OK),
    ("batch", {}, OK),
    ("deep", {"levels": 100}, OK),
    ("deep", {"levels": 500}, r"server 'bad' answered .* nested more than 128 .*limits.max_nesting"),
    ("deep", {"levels": 10_000}, r"server 'bad' answered .* nested more than 128 .*limits.max_nesting"),
    ("endless", {}, r"(bad' ended|bad' sent) .*more than 50000000 bytes; .*limits.max_message_bytes"),
    ("twice", {}, r'"text":"first"'),
    ("unknown_id", {}, f"{TIMED_OUT}|{ENDED}the response stream ended without a response"),
    ("wrong_id", {}, OK),
    ("surrogates", {}, r'"text":"\\ud800 x"'),
    ("bad_utf8", {}, rf'{NO_JSON}|"text":"\\ufffd'),
    ("duplicate_keys", {}, OK),
    ("nan", {}, NO_JSON),
    ("long_numbers", {}, rf'"large":{2**200},"negative":-9223372036854775809'),
    ("drip", {}, OK),
    ("flood", {"count": 2000, "method": "notifications/tools/list_changed"}, OK),
    ("flood", {"count": 2000, "method": "notifications/progress", "params": {"progressToken": 1}}, OK),
]
OVER_HTTP: list[tuple[str, Json, str]] = [
    ("status", {"status": 500}, r"server 'bad' is unavailable: POST .* HTTP 500 Internal Server Error"),
    ("status", {"status": 401}, r"server 'bad' is unavailable: .* HTTP 401 Unauthorized; set `headers`"),
    ("status", {"status": 404}, r"server 'bad' (ended .* forgot its session|is unavailable: .* HTTP 404)"),
    (
        "status",
        {"status": 302, "location": "http://elsewhere.example/"},
        r"HTTP 302 Found to http://elsewhere.example/, which is not followed",
    ),
    ("wrong_type", {}, r"server 'bad' answered tools/call with content type 'text/html'"),
    ("no_response", {}, r"server 'bad' answered tools/call without a response to it"),
    ("huge_headers", {}, ENDED),
    ("packed", {"encoding": "gzip, gzip"}, r"server 'bad' answered with content encoding 'gzip, gzip'"),
    ("packed", {"encoding": "br"}, r"server 'bad' answered with content encoding 'br'"),
    ("packed", {"encoding": "gzip"}, NO_JSON),
    ("odd_events", {}, OK),
]
QUESTIONING: list[tuple[str, Json, str]] = [
    ("unknown_requests", {}, r'"told":\[-32601,-32601,-32601,-32601,-32601\]'),
    ("questions", {"count": 1000}, r'"answered":\d+,"refused":9\d\d}'),
    ("questions", {"count": 1000, "same": True}, r'"answered":1,"refused":0'),
]


@asynccontextmanager
async def gateway_with(folder: Path, kind: str, **limits: Any) -> AsyncIterator[tuple[Running, Count]]:
    """A gateway before a faulty server and two good ones, and how much of everything it has at rest."""
    async with (
        raw_server(kind, script=SERVER) as bad,
        raw_server("stdio-handshake") as pipe,
        raw_server("http-handshake") as web,
    ):
        servers = [
            entry_of("bad", bad, timeout_seconds=60, isolation="session"),
            entry_of("mute", bad, timeout_seconds=1, isolation="session"),
            entry_of("pipe", pipe),
            entry_of("web", web, isolation="session"),
        ]
        config = {"external_mcp": {"servers": servers}, "limits": {"max_message_bytes": 50_000_000, **limits}}
        async with running_gateway(folder, config) as gateway:
            await touch(gateway)
            yield gateway, await Count.at_rest(gateway)


async def touch(gateway: Running) -> None:
    """Call the bad servers once, as a client like those of the tests.

    Lanes that clients share stay open when idle, and pooled connections that have idled too long
    are closed when the next is wanted.
    """
    async with http(gateway) as client:
        session = await initialize(client, {"elicitation": {}})
        for server in ("bad", "mute"):
            await recovered(client, session, server)
        await end(client, session)


async def end(client: httpx2.AsyncClient, session: dict[str, str]) -> None:
    assert (await client.delete("/mcp", headers=session)).status_code == 200


async def outcome(client: httpx2.AsyncClient, session: dict[str, str], tool: str, arguments: Json) -> str:
    """Call a tool; returns the response as text."""
    request = {"json": call(tool, 1, **arguments), "headers": session}
    answers = {"elicitation/create": {"action": "accept", "content": {}}}
    messages = await asyncio.wait_for(exchange(client, request, answers), 60)
    return json.dumps(messages[-1], separators=(",", ":"))


async def recovered(client: httpx2.AsyncClient, session: dict[str, str], server: str = "bad") -> None:
    """Call until the server is there again: a process that died is started anew."""
    async with asyncio.timeout(30):
        while True:
            if re.search(OK, await outcome(client, session, f"{server}__ok", {})):
                return
            await asyncio.sleep(0.05)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", KINDS)
async def test_each_fault_ends_its_own_call_and_nothing_else(tmp_path: Path, kind: str) -> None:
    faults = EVERYWHERE + (OVER_HTTP if kind.startswith("http") else [])
    faults = faults + (QUESTIONING if kind in HANDSHAKE else [])
    if kind.startswith("stdio"):
        faults = [*faults, ("die", {}, f"{ENDED}the process was killed by SIGKILL")]
    async with gateway_with(tmp_path, kind) as (gateway, before):
        async with http(gateway) as client, steady_calls(gateway, "pipe", "web") as steady:
            session = await initialize(client, {"elicitation": {}})
            for name, arguments, expected in faults:
                server = "mute" if expected.startswith(TIMED_OUT) else "bad"
                said = await outcome(client, session, f"{server}__{name}", arguments)
                assert re.search(expected, said), f"{name} {arguments}: {said[:500]}"
                await recovered(client, session, server)
            await end(client, session)
        assert steady.slowest < 10.0
        await settles_to(gateway, before, touch)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["stdio-handshake", "http-handshake"])
async def test_a_hundred_thousand_log_messages_do_not_stop_others_nor_the_call(
    tmp_path: Path, kind: str
) -> None:
    async with gateway_with(tmp_path, kind) as (gateway, before):
        async with http(gateway) as client, steady_calls(gateway, "pipe", "web") as steady:
            session = await initialize(client)
            params = {"level": "info", "data": "x" * 50}
            arguments = {"count": 20_000, "method": "notifications/message", "params": params}
            for _ in range(5):
                assert re.search(OK, await outcome(client, session, "bad__flood", arguments))
            await recovered(client, session)
            await end(client, session)
        assert steady.slowest < 10.0
        await settles_to(gateway, before, touch)
