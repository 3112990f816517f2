"""Lanes at work: who shares a connection, who waits, who is evicted, and what a death costs."""

from __future__ import annotations

import pytest

from gateway.errors import ConnectionLost, ServerBusy, ServerUnavailable
from gateway.policy.model import Strategy
from tests.upstream.fleet_fakes import (
    ASKABLE,
    FakeServer,
    HeldClock,
    begin,
    kind_policy,
    policy,
    running,
    session,
    stateless,
    turns,
)

NOTHING = frozenset()


async def test_each_session_has_a_lane_of_its_own_and_all_its_calls_use_it() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        ann, bob = session("ann"), session("bob")
        for caller in (ann, bob, ann):
            await begin(fleet, "s", caller)
        first, bobs, second = server.calls
        assert first.connection is second.connection
        assert bobs.connection is not first.connection
        assert len(server.live) == 3  # with the control lane
        assert server.live[1].profile == ASKABLE
        for sent in (first, bobs, second):
            await sent.result()
        assert len(server.live) == 3


async def test_shared_lanes_pass_from_one_client_to_the_next_but_never_mix() -> None:
    server = FakeServer("s")
    async with running(server, isolation="shared", max_lanes=1) as fleet:
        ann = await begin(fleet, "s", session("ann"))
        bob = await begin(fleet, "s", session("bob"))
        assert len(server.calls) == 1
        assert bob.waiting
        await server.calls[0].result()
        assert ann.task.done()
        assert len(server.calls) == 1
        assert len(server.connections) == 2
        await server.calls[0].result()
        await bob.task


async def test_clients_whom_nobody_can_ask_share_the_control_lane() -> None:
    server = FakeServer("s")
    async with running(server, isolation="shared") as fleet:
        await begin(fleet, "s", session("ann", NOTHING))
        await begin(fleet, "s", session("bob", NOTHING))
        assert len(server.calls) == 2
        assert len(server.connections) == 1


async def test_a_modern_server_carries_everybody_of_one_profile_on_one_connection() -> None:
    server = FakeServer("s", era="modern")
    async with running(server, max_lanes=2) as fleet:
        for name in ("ann", "bob", "eve"):
            await begin(fleet, "s", session(name))
        await begin(fleet, "s", stateless("dan", NOTHING))
        connections = [sent.connection for sent in server.calls]
        assert len(set(connections[:3])) == 1
        assert connections[3] is server.control


async def test_isolation_call_opens_a_connection_for_each_call_and_closes_it() -> None:
    server = FakeServer("s")
    async with running(server, isolation="call") as fleet:
        await begin(fleet, "s", session("ann"))
        await begin(fleet, "s", session("ann"))
        first, second = server.calls
        assert first.connection is not second.connection
        await first.result()
        assert first.connection.closed.is_set()
        assert not second.connection.closed.is_set()


async def test_waiting_is_fair() -> None:
    server = FakeServer("s")
    async with running(server, isolation="shared", max_lanes=1) as fleet:
        await begin(fleet, "s", session("ann"))
        bob = await begin(fleet, "s", session("bob"))
        again = await begin(fleet, "s", session("ann"))  # could share Ann's lane, and must not
        assert [sent.scope.name for sent in server.calls] == ["ann"]
        await server.calls[0].result()
        assert [sent.scope.name for sent in server.calls] == ["bob"]
        await server.calls[0].result()
        assert not bob.waiting
        assert [sent.scope.name for sent in server.calls] == ["ann"]
        await server.calls[0].result()
        await again.task


async def test_a_call_that_gets_no_lane_in_time_is_told_which_setting_to_raise() -> None:
    server, clock = FakeServer("s"), HeldClock()
    async with running(server, clock=clock, max_lanes=1, timeout=10.0, lane_idle_seconds=60.0) as fleet:
        await begin(fleet, "s", session("ann"))
        bob = await begin(fleet, "s", session("bob"))
        await clock.pass_by(8.9)
        assert bob.waiting
        await clock.pass_by(0.2)
        with pytest.raises(ServerBusy, match=r"'s' is busy.*\(max_lanes\).*\(servers.yaml"):
            await bob.task
        assert "0 waiting" in repr(fleet)


async def test_an_idle_sessions_lane_is_closed_only_for_one_who_waits(caplog) -> None:
    server, clock = FakeServer("s"), HeldClock()
    async with running(server, clock=clock, max_lanes=1, timeout=600.0, lane_idle_seconds=60.0) as fleet:
        await begin(fleet, "s", session("ann"))
        anns = server.calls[0]
        await anns.result()
        await clock.pass_by(50.0)
        bob = await begin(fleet, "s", session("bob"))
        assert bob.waiting
        assert not server.calls
        await clock.pass_by(10.0)
        assert anns.connection.closed.is_set()
        assert [sent.scope.name for sent in server.calls] == ["bob"]
        assert "closing the idle lane of client 'ann'" in caplog.text
        await server.calls[0].result()
        await clock.pass_by(5000.0)
        assert len(server.live) == 2


async def test_surplus_lanes_that_are_no_ones_close_when_idle() -> None:
    server, clock = FakeServer("s"), HeldClock()
    async with running(server, clock=clock, isolation="shared", lane_idle_seconds=60.0) as fleet:
        await begin(fleet, "s", session("ann"))
        await server.calls[0].result()
        await clock.pass_by(59.0)
        assert len(server.live) == 2
        await clock.pass_by(1.0)
        assert len(server.live) == 1


async def test_a_session_that_ends_takes_its_lane_and_its_waiting_calls_with_it() -> None:
    server = FakeServer("s")
    async with running(server, max_lanes=1) as fleet:
        ann, bob = session("ann"), session("bob")
        await begin(fleet, "s", ann)
        waiting = await begin(fleet, "s", bob)
        fleet.forget(bob.identity)
        await turns()
        with pytest.raises(ServerUnavailable, match="session has ended"):
            await waiting.task
        anns = server.calls[0]
        fleet.forget(ann.identity)
        await turns()
        assert anns.connection.closed.is_set()
        assert len(server.live) == 1


async def test_cancelling_a_call_that_waits_or_dials_leaves_nothing_behind() -> None:
    server = FakeServer("s")
    async with running(server, max_lanes=1) as fleet:
        server.gate.clear()
        ann = await begin(fleet, "s", session("ann"))
        bob = await begin(fleet, "s", session("bob"))
        ann.task.cancel()
        await turns()
        assert len(server.dialed) == 3  # the control lane, Ann's, and now Bob's in her place
        bob.task.cancel()
        await turns()
        server.gate.set()
        await turns()
        assert len(server.live) == 1
        assert fleet.status()[0].lanes == 0


async def test_a_lane_that_cannot_be_opened_says_why_and_makes_room() -> None:
    server = FakeServer("s")
    async with running(server, max_lanes=1) as fleet:
        server.refuse = "command 'x' not found"
        for name in ("ann", "bob"):
            failed = await begin(fleet, "s", session(name))
            with pytest.raises(ServerUnavailable, match="'s' is unavailable: command 'x' not found"):
                await failed.task
        server.refuse = None
        await begin(fleet, "s", session("eve"))
        assert len(server.calls) == 1


async def test_a_defect_while_dialing_ends_the_call_and_nothing_else(caplog) -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        server.broken = ZeroDivisionError("oops")
        failed = await begin(fleet, "s", session("ann"))
        with pytest.raises(ServerUnavailable):
            await failed.task
        assert "ZeroDivisionError" in caplog.text
        server.broken = None
        await begin(fleet, "s", session("ann"))
        assert len(server.calls) == 1


async def test_a_connection_that_dies_fails_its_own_calls_and_lets_those_that_wait_try() -> None:
    server = FakeServer("s")
    async with running(server, isolation="shared", max_lanes=1) as fleet:
        ann = await begin(fleet, "s", session("ann"))
        bob = await begin(fleet, "s", session("bob"))
        server.calls[0].connection.die("exit status 9")
        await turns()
        with pytest.raises(ConnectionLost, match="exit status 9"):
            await ann.task
        assert [sent.scope.name for sent in server.calls] == ["bob"]
        await server.calls[0].result({"ok": True})
        assert await bob.task == {"ok": True}


async def test_a_session_is_served_on_its_own_lane_while_the_supervisor_reconnects() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        await begin(fleet, "s", session("ann"))
        await server.calls[0].result()
        server.refuse = "connection refused"
        server.control.die("gone")
        await turns()
        assert fleet.status()[0].state == "down"
        await begin(fleet, "s", session("ann"))
        assert len(server.calls) == 1
        other = await begin(fleet, "s", session("bob"))
        with pytest.raises(ServerUnavailable, match="connection refused"):
            await other.task


async def test_a_server_that_changes_its_era_behind_our_back_is_not_misread() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        server.era = "modern"
        call = await begin(fleet, "s", session("ann"))
        with pytest.raises(ServerUnavailable, match="changed its protocol era"):
            await call.task
        assert len(server.live) == 1


async def test_tools_with_routes_of_their_own_do_not_share_a_lane() -> None:
    server = FakeServer("s")
    rules = policy(elicitation=kind_policy(Strategy.CLIENT, tools={"s__own": Strategy.LLM}))
    async with running(server, rules=rules, isolation="shared") as fleet:
        ann = session("ann", ASKABLE)
        await begin(fleet, "s", ann, "tool")
        await begin(fleet, "s", ann, "own")
        await begin(fleet, "s", ann, "other")
        one, own, other = (
            next(s for s in server.calls if s.params["name"] == n) for n in ("tool", "own", "other")
        )
        assert one.connection is other.connection
        assert own.connection is not one.connection


async def test_a_session_keeps_its_lane_after_a_call_that_was_abandoned() -> None:
    server = FakeServer("s")
    rules = policy(sampling=Strategy.LLM)
    async with running(server, rules=rules) as fleet:
        ann = session("ann", frozenset({"elicitation.form"}))
        calling = await begin(fleet, "s", ann)
        connection = server.calls[0].connection
        calling.task.cancel()
        await turns()
        await begin(fleet, "s", ann)
        assert server.calls[0].connection is connection


async def test_a_call_cancelled_while_it_waits_leaves_its_place_to_the_next() -> None:
    server = FakeServer("s")
    async with running(server, isolation="shared", max_lanes=1) as fleet:
        ann = await begin(fleet, "s", session("ann"))
        bob = await begin(fleet, "s", session("bob"))
        again = await begin(fleet, "s", session("ann"))  # waits behind Bob, with a lane it could share
        bob.task.cancel()
        await turns()
        assert [sent.scope for sent in server.calls] == [ann.scope, again.scope]
        assert fleet.status()[0].waiting == 0


async def test_the_queue_is_bounded() -> None:
    server = FakeServer("s")
    async with running(server, max_lanes=1, max_queued_calls=1) as fleet:
        for name in ("ann", "bob"):
            await begin(fleet, "s", session(name))
        refused = await begin(fleet, "s", session("eve"))
        with pytest.raises(ServerBusy, match=r"'s' is busy: 1 calls wait for a lane \(max_queued_calls\)"):
            await refused.task
