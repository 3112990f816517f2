"""A server's ups and downs, with time held in hand."""

from __future__ import annotations

import asyncio
import random

import pytest

from gateway.errors import ServerUnavailable
from gateway.upstream import pool
from gateway.upstream.clock import SystemClock
from gateway.upstream.supervisor import delay
from tests.upstream.fleet_fakes import FakeServer, HeldClock, begin, fleet_of, running, session, turns


def test_patience_grows_to_half_a_minute_with_jitter() -> None:
    rng = random.Random(1)
    for attempt, ceiling in enumerate((0.5, 1, 2, 4, 8, 16, 30, 30)):
        waits = [delay(attempt, rng) for _ in range(200)]
        assert ceiling / 2 <= min(waits) < max(waits) <= ceiling
    assert delay(10**6, rng) <= 30


async def test_a_server_that_cannot_start_is_tried_again_until_it_can() -> None:
    server, clock = FakeServer("s", tools=["t"]), HeldClock()
    server.refuse = "command 'srv' not found"
    async with running(server, clock=clock) as fleet:
        status = fleet.status()[0]
        assert (status.state, status.reason, status.era) == ("down", "command 'srv' not found", None)
        waits = []
        for _ in range(5):
            wait = clock.next_in
            assert wait is not None
            waits.append(wait)
            await clock.pass_by(wait)
        assert waits == sorted(waits)
        assert len(server.dialed) == 6
        server.refuse = None
        await clock.pass_by(30.0)
        status = fleet.status()[0]
        assert (status.state, status.reason, status.tools, status.restarts) == ("up", "", 1, 0)


async def test_a_server_that_dies_is_down_with_its_reason_and_comes_back() -> None:
    server, clock = FakeServer("s"), HeldClock()
    async with running(server, clock=clock) as fleet:
        await clock.pass_by(60.0)
        server.gate.clear()
        server.control.die("the process ended with exit status 1")
        await turns()
        status = fleet.status()[0]
        assert (status.state, status.reason) == ("down", "the process ended with exit status 1")
        assert status.since == clock.wall()
        server.gate.set()
        await turns()
        # The first attempt is made at once.
        assert (fleet.status()[0].state, fleet.status()[0].restarts) == ("up", 1)


@pytest.mark.parametrize("back", [True, False])
async def test_a_call_waits_for_the_attempt_that_is_made_at_once_and_for_no_other(back: bool) -> None:
    server, clock = FakeServer("s", tools=["t"]), HeldClock()
    async with running(server, clock=clock) as fleet:
        server.gate.clear()
        server.control.die("the process ended")
        await turns()
        locating = asyncio.create_task(fleet.catalog.locate("tools/call", {"name": "s__t"}, session("ann")))
        await turns()
        assert not locating.done()
        if not back:
            server.refuse = "it will not start"
        server.gate.set()
        if back:
            assert (await locating).server == "s"
            return
        with pytest.raises(ServerUnavailable, match="it will not start"):
            await locating
        with pytest.raises(ServerUnavailable, match="it will not start"):
            await fleet.catalog.locate("tools/call", {"name": "s__t"}, session("ann"))


async def test_a_server_that_dies_again_and_again_is_restarted_ever_more_slowly() -> None:
    server, clock = FakeServer("s"), HeldClock()
    async with running(server, clock=clock):
        server.control.die()
        await turns()
        assert len(server.dialed) == 2
        waits = []
        for _ in range(8):
            server.control.die()
            await turns()
            wait = clock.next_in
            assert wait is not None
            waits.append(wait)
            await clock.pass_by(wait)
        assert waits[0] <= 0.5
        assert waits[-1] >= 15


async def test_a_defect_in_one_iteration_is_logged_and_tried_again(caplog) -> None:
    server, clock = FakeServer("s"), HeldClock()
    server.broken = ZeroDivisionError("oops")
    async with running(server, clock=clock) as fleet:
        assert fleet.status()[0].state == "down"
        assert "ZeroDivisionError" in caplog.text
        server.broken = None
        await clock.pass_by(30.0)
        assert fleet.status()[0].state == "up"


async def test_one_server_that_hangs_holds_up_nobody() -> None:
    slow, quick = FakeServer("slow"), FakeServer("quick", tools=["t"])
    slow.gate.clear()
    async with running(slow, quick) as fleet:
        assert [status.state for status in fleet.status()] == ["starting", "up"]
        assert fleet.status()[1].tools == 1


async def test_a_dialer_that_does_not_bound_itself_is_given_up(monkeypatch) -> None:
    monkeypatch.setattr(pool, "_DIAL_GRACE", 0.01)
    server = FakeServer("s")
    server.gate.clear()
    fleet = fleet_of(server, start_timeout=0.01, clock=SystemClock())
    await fleet.start()
    await fleet.settled(5)
    assert fleet.status()[0].reason == "it had not finished its handshake 0.02 s after it was started"
    await fleet.aclose()


async def test_settled_waits_for_the_first_listing_and_no_longer_than_told() -> None:
    server, clock = FakeServer("s", tools=["t"]), HeldClock()
    server.held.add("tools/list")
    async with running(server, clock=clock) as fleet:
        waiting = asyncio.create_task(fleet.settled(3))
        await turns()
        assert not waiting.done()
        await clock.pass_by(3)
        await waiting
        waiting = asyncio.create_task(fleet.settled(60))
        await turns()
        server.control.sent[0].reply.set_result({"tools": [{"name": "t"}]})
        await waiting
        assert fleet.status()[0].tools == 1


async def test_closing_stops_every_server_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    up, down, starting = FakeServer("up"), FakeServer("down"), FakeServer("starting")
    down.refuse = "no"
    starting.gate.clear()
    async with running(up, down, starting) as fleet:
        pass
    assert not up.live
    assert {status.state for status in fleet.status()} == {"stopped"}
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("when", ["waiting", "dialing"])
async def test_closing_ends_calls_that_wait(when: str) -> None:
    server = FakeServer("s")
    async with running(server, max_lanes=1) as fleet:
        if when == "dialing":
            server.gate.clear()
        else:
            await begin(fleet, "s", session("ann"))
        call = await begin(fleet, "s", session("bob"))
        assert call.waiting
    await turns()
    with pytest.raises(ServerUnavailable):
        await call.task
