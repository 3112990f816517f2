"""The fleet with real servers: processes and sockets, both eras."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from gateway.calls.model import Call, Json
from gateway.errors import ConnectionLost
from gateway.upstream.dial import dialer_for
from gateway.upstream.fleet import Fleet
from gateway.upstream.guardian import Guardian
from gateway.upstream.port import Asked
from tests.support.raw.peers import HANDSHAKE, KINDS, children, raw_server
from tests.upstream.fleet_fakes import FakeCaller, policy, session


class Answering:
    """A scope that accepts every form in its client's name, and keeps what it was asked."""

    def __init__(self, caller: FakeCaller) -> None:
        self.caller = caller
        self.asked: list[Asked] = []
        self.heard: list[str] = []
        self.told = asyncio.Event()

    async def question(self, asked: Asked, *, deferrable: bool) -> Json:
        self.asked.append(asked)
        return {"action": "accept", "content": {"by": self.caller.identity.key}}

    def notification(self, method: str, params: Json) -> None:
        self.heard.append(method)
        self.told.set()


@asynccontextmanager
async def fleet_with(*configs: Any) -> AsyncGenerator[Fleet]:
    guardian = Guardian()
    dialers = {config.name: dialer_for(config, guardian=guardian) for config in configs}
    fleet = Fleet(configs, dialers, policy())
    await fleet.start()
    try:
        await fleet.settled(20)
        yield fleet
    finally:
        await fleet.aclose()
        await asyncio.to_thread(guardian.close)


async def carry(fleet: Fleet, scope: Answering, tool: str, server: str = "raw", **arguments: Any) -> Any:
    params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}}
    return await fleet.call(Call("tools/call", params, scope.caller, server, f"{server}__{tool}"), scope)


def form(token: str) -> Json:
    return {"q": {"method": "elicitation/create", "params": {"message": token, "requestedSchema": {}}}}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_real_server_is_listed_called_and_answered_and_leaves_nothing(kind: str) -> None:
    before, tasks = children(), asyncio.all_tasks()
    async with raw_server(kind, prefix="raw__") as config, fleet_with(config) as fleet:
        status = fleet.status()[0]
        assert (status.state, status.era) == ("up", kind.split("-")[1])
        ann = session("ann")
        view = await fleet.catalog.view(ann)
        echo = view.tool("raw__echo")
        assert echo == {"name": "raw__echo", "inputSchema": {"type": "object"}, "x-unknown": {"of": "echo"}}
        target = await fleet.catalog.locate("tools/call", {"name": "raw__echo", "arguments": {"a": 1}}, ann)
        call = Call("tools/call", target.params, ann, target.server, target.exposed)
        scope = Answering(ann)
        result = await fleet.call(call, scope)
        assert isinstance(result, dict)
        assert result["structuredContent"] == {"a": 1}
        await carry(fleet, scope, "ask", requests=form("for ann"))
        assert [asked.params["message"] for asked in scope.asked] == ["for ann"]
    assert children() <= before
    assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize(("isolation", "max_lanes"), [("session", 16), ("shared", 2), ("call", 3)])
async def test_over_stdio_every_client_is_asked_its_own_questions_only(
    isolation: str, max_lanes: int
) -> None:
    settings = {"isolation": isolation, "max_lanes": max_lanes, "timeout": 50.0}
    async with raw_server("stdio-handshake", **settings) as config, fleet_with(config) as fleet:
        scopes = [Answering(session(f"client {number}")) for number in range(4) for _ in range(4)]
        results = await asyncio.gather(
            *(carry(fleet, scope, "ask", requests=form(scope.caller.identity.key)) for scope in scopes)
        )
    for scope, result in zip(scopes, results, strict=True):
        mine = scope.caller.identity.key
        assert {asked.params["message"] for asked in scope.asked} <= {mine}
        assert result["answers"]["q"]["result"]["content"] == {"by": mine}
    assert sum(len(scope.asked) for scope in scopes) == len(scopes)


@pytest.mark.parametrize("kind", HANDSHAKE)
async def test_a_question_on_a_general_stream_finds_its_client(kind: str) -> None:
    settings = {"isolation": "shared", "max_lanes": 1}
    async with raw_server(kind, "--unrelated", **settings) as config, fleet_with(config) as fleet:
        for name in ("ann", "bob"):
            scope = Answering(session(name))
            result = await carry(fleet, scope, "ask", requests=form(name))
            assert result["answers"]["q"]["result"]["content"] == {"by": name}
            assert len(scope.asked) == 1


async def test_a_process_killed_in_mid_call_costs_its_own_client_alone_and_comes_back() -> None:
    async with (
        raw_server("stdio-handshake") as one,
        raw_server("stdio-handshake") as other,
        fleet_with(one, replace(other, name="other")) as fleet,
    ):
        ann, bob, eve = Answering(session("ann")), Answering(session("bob")), Answering(session("eve"))
        waiting = [
            asyncio.create_task(carry(fleet, bob, "wait", name="bob")),
            asyncio.create_task(carry(fleet, eve, "wait", "other", name="eve")),
        ]
        await asyncio.gather(bob.told.wait(), eve.told.wait())
        with pytest.raises(ConnectionLost, match="a last word"):
            await carry(fleet, ann, "die")
        assert (await carry(fleet, ann, "echo", k=1))["structuredContent"] == {"k": 1}
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize("kind", ["stdio-handshake", "http-handshake", "http-modern"])
async def test_a_servers_changes_reach_whoever_listens(kind: str) -> None:
    async with raw_server(kind) as config, fleet_with(config) as fleet:
        heard: asyncio.Queue[Any] = asyncio.Queue()
        fleet.subscribe(heard.put_nowait)
        scope = Answering(session("ann", frozenset()))
        await fleet.catalog.view(scope.caller)
        changed = "notifications/tools/list_changed"
        async with asyncio.timeout(10):
            # A listen stream opens beside the first requests: announce until it is heard.
            while heard.empty():
                await carry(fleet, scope, "announce", method=changed)
            event = await heard.get()
        assert (event.kind, event.server) == ("tools", "raw")
