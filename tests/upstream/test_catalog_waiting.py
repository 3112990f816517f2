"""Who waits for which server before a listing is answered, and who hears of it later."""

from __future__ import annotations

import asyncio

from gateway.upstream.events import ListChanged
from tests.upstream.fleet_fakes import (
    FakeServer,
    HeldClock,
    names,
    running,
    session,
    turns,
)

MUTE = frozenset()
ANN = session("ann", MUTE)


async def test_a_server_that_hangs_is_waited_for_once_and_its_tools_are_announced_later(caplog) -> None:
    clock = HeldClock()
    a, b = FakeServer("a", tools=["t"]), FakeServer("b", tools=["u"])
    async with running(a, b, clock=clock) as fleet:
        a.held.add("tools/list")
        bob = session("bob")
        viewing = asyncio.create_task(fleet.catalog.view(bob))
        await clock.pass_by(4.9)
        assert not viewing.done()
        await clock.pass_by(0.2)
        # What is known of it for the LLM alone is better than nothing.
        assert names((await viewing).tools) == ["a__t", "b__u"]
        assert "server 'a' has not listed what it offers within 5 s" in caplog.text
        viewing = asyncio.create_task(fleet.catalog.view(bob))
        await turns()
        assert viewing.done()
        events = []
        fleet.subscribe(events.append)
        await a.sent[-1].result({"tools": [{"name": "more"}]})
        assert ListChanged("tools", "a") in events
        assert names((await fleet.catalog.view(bob)).tools) == ["a__more", "b__u"]


async def test_while_the_gateway_starts_a_client_waits_for_servers_that_start_normally() -> None:
    clock = HeldClock()
    a = FakeServer("a", tools=["t"])
    a.gate.clear()
    async with running(a, clock=clock) as fleet:
        viewing = asyncio.create_task(fleet.catalog.view(ANN))
        await clock.pass_by(2)
        assert not viewing.done()
        a.gate.set()
        assert names((await viewing).tools) == ["a__t"]


async def test_after_the_start_nobody_waits_for_a_server_that_is_not_up() -> None:
    clock = HeldClock()
    slow, down, up = FakeServer("slow", tools=["s"]), FakeServer("down"), FakeServer("up", tools=["t"])
    slow.gate.clear()
    down.refuse = "no"
    async with running(slow, down, up, clock=clock) as fleet:
        early = asyncio.create_task(fleet.catalog.view(ANN))
        await clock.pass_by(5)
        assert names((await early).tools) == ["up__t"]
        late = asyncio.create_task(fleet.catalog.view(ANN))
        await turns()
        assert late.done()
        events = []
        fleet.subscribe(events.append)
        slow.gate.set()
        await turns()
        assert ListChanged("tools", "slow") in events
        assert names((await fleet.catalog.view(ANN)).tools) == ["slow__s", "up__t"]


async def test_a_call_waits_for_its_own_server_to_start() -> None:
    clock = HeldClock()
    a = FakeServer("a", tools=["t"])
    a.gate.clear()
    async with running(a, clock=clock) as fleet:
        await clock.pass_by(10)
        finding = asyncio.create_task(fleet.catalog.locate("tools/call", {"name": "a__t"}, ANN))
        await turns()
        assert not finding.done()
        a.gate.set()
        assert (await finding).params == {"name": "t"}


async def test_a_server_that_goes_takes_its_entries_with_it_and_clients_hear_of_both() -> None:
    clock = HeldClock()
    a = FakeServer("a", capabilities={"tools": {}}, tools=["t"])
    async with running(a, clock=clock) as fleet:
        events = []
        fleet.subscribe(events.append)
        await fleet.catalog.view(ANN)
        a.gate.clear()
        a.control.die()
        await turns()
        assert (await fleet.catalog.view(ANN)).tools == ()
        assert events == [ListChanged("tools", "a")]
        a.lists["tools"] = ["t2"]
        a.gate.set()
        await turns()
        assert events == [ListChanged("tools", "a")] * 2
        assert names((await fleet.catalog.view(ANN)).tools) == ["a__t2"]
