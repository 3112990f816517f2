"""What becomes of a connection on which a call timed out: kept if it lives, given up if it is stuck."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.calls.deadlines import Deadline
from gateway.calls.model import Call
from gateway.errors import ConnectionLost
from gateway.upstream import liveness
from gateway.upstream.fleet import Fleet
from tests.support.clients import connect
from tests.support.gateway import running_gateway
from tests.support.raw.scripts import stdio
from tests.upstream.fleet_fakes import (
    FakeCaller,
    FakeScope,
    FakeServer,
    HeldClock,
    begin,
    running,
    session,
    turns,
)

PINGS = {"handshake": "ping", "modern": "server/discover"}


async def timed_out(fleet: Fleet, caller: FakeCaller) -> None:
    """Make a call that its time limit ends at once."""
    call = Call("tools/call", {"name": "tool"}, caller, "s", "s__tool")
    call.deadline = Deadline(0, 60)
    with suppress(TimeoutError):
        with call.deadline:
            await fleet.call(call, FakeScope())
    await turns()


def asked(server: FakeServer, method: str) -> int:
    return sum(sent.method == method for sent in server.sent)


@pytest.mark.parametrize("era", PINGS)
async def test_a_server_that_gives_a_sign_of_life_keeps_its_connection(era) -> None:
    server, clock = FakeServer("s", era=era), HeldClock()
    async with running(server, clock=clock) as fleet:
        await begin(fleet, "s", session("ann"))
        used = server.calls[0].connection
        await timed_out(fleet, session("ann"))
        assert asked(server, PINGS[era]) == 1
        await clock.pass_by(liveness.PING_SECONDS)
        assert not used.closed.is_set()
        await timed_out(fleet, session("ann"))
        assert asked(server, PINGS[era]) == 2


async def test_an_error_is_a_sign_of_life() -> None:
    server, clock = FakeServer("s"), HeldClock()
    server.refused["ping"] = (-32601, "no ping")
    async with running(server, clock=clock) as fleet:
        await timed_out(fleet, session("ann"))
        await clock.pass_by(liveness.PING_SECONDS)
        assert len(server.live) == 2


@pytest.mark.parametrize("era", PINGS)
async def test_a_stuck_connection_is_given_up_with_its_calls_and_others_are_not(era, caplog) -> None:
    server, clock = FakeServer("s", era=era), HeldClock()
    server.held.add(PINGS[era])
    async with running(server, clock=clock) as fleet:
        other = await begin(fleet, "s", session("bob", frozenset()))
        beside = await begin(fleet, "s", session("ann"))
        stuck = server.calls[-1].connection
        for _ in range(3):
            await timed_out(fleet, session("ann"))
        assert asked(server, PINGS[era]) == 1, "once is enough"
        await clock.pass_by(liveness.PING_SECONDS - 1)
        assert not stuck.closed.is_set()
        await clock.pass_by(1)
        assert stuck.closed.is_set()
        with pytest.raises(ConnectionLost, match="it was stuck"):
            await beside.task
        assert other.waiting
        assert (
            f"server 's' is given up on one connection, and 1 other calls on it: it was stuck: {PINGS[era]}"
            in (caplog.text)
        )
        await begin(fleet, "s", session("ann"))
        assert server.calls[-1].connection is not stuck


async def test_a_stuck_control_connection_is_supervised_anew() -> None:
    server, clock = FakeServer("s"), HeldClock()
    server.held.add("ping")
    async with running(server, clock=clock, isolation="shared") as fleet:
        await timed_out(fleet, session("ann", frozenset()))
        server.gate.clear()
        await clock.pass_by(liveness.PING_SECONDS)
        assert (fleet.status()[0].state, "it was stuck" in fleet.status()[0].reason) == ("down", True)
        server.gate.set()
        await turns()
        assert fleet.status()[0].state == "up"


async def test_a_call_that_its_client_cancelled_says_nothing_of_its_server() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        calling = await begin(fleet, "s", session("ann"))
        calling.task.cancel()
        await turns()
        assert asked(server, "ping") == 0


async def test_a_modern_server_over_http_holds_nothing_that_could_be_stuck() -> None:
    server = FakeServer("s", era="modern")
    async with running(server, transport="http") as fleet:
        await timed_out(fleet, session("ann"))
        assert asked(server, "server/discover") == 0


async def test_ending_while_a_server_is_asked_leaves_nothing() -> None:
    server = FakeServer("s")
    server.held.add("ping")
    async with running(server) as fleet:
        await timed_out(fleet, session("ann"))
        assert asked(server, "ping") == 1
    await turns()
    assert asyncio.all_tasks() == {asyncio.current_task()}


STUCK = """
while True:
    message = hear()
    if message["method"] == "server/discover":
        refuse(message)
    elif message["method"] == "initialize":
        answer(message, protocolVersion="2025-11-25", capabilities={"tools": {}}, serverInfo={"name": "s"})
    elif message["method"] == "tools/list":
        answer(message, tools=[{"name": n, "inputSchema": {"type": "object"}} for n in ("hang", "work")])
    elif message.get("params", {}).get("name") == "hang":
        time.sleep(600)
    elif "id" in message:
        answer(message, content=[], structuredContent={"pid": os.getpid()})
"""


async def test_a_process_that_is_stuck_is_replaced_and_the_next_call_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "PING_SECONDS", 0.2)
    raw = stdio(STUCK)
    entry = {"name": "s", "command": raw.command, "args": list(raw.args), "timeout_seconds": 0.5}
    config = {"external_mcp": {"servers": [entry]}}
    async with running_gateway(tmp_path, config) as gateway, connect(gateway.url) as client:
        before = (await client.call_tool("s__work")).structured_content
        hanging = client.call_tool("s__hang")
        with pytest.raises(Exception, match="timeout_seconds"):
            await hanging
        # At the latest, calls made meanwhile end with the connection.
        with pytest.raises(Exception, match=r"it was stuck|timeout_seconds"):
            await client.call_tool("s__work")
        after = (await client.call_tool("s__work")).structured_content
        assert before != after
