"""The fleet as the rest of the gateway sees it: calls, updates, levels, and sessions that end."""

from __future__ import annotations

import asyncio

import pytest

from gateway.calls.model import Call
from gateway.errors import PeerError, ServerUnavailable, UnknownTarget
from gateway.upstream.events import ResourceUpdated
from tests.upstream.fleet_fakes import (
    FakeScope,
    FakeServer,
    HeldClock,
    begin,
    running,
    session,
    stateless,
    turns,
)


async def test_a_call_is_carried_as_it_is_and_its_outcome_comes_back() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        params = {"name": "t", "arguments": {"k": [1]}, "_meta": {"progressToken": 7}, "x": None}
        scope = FakeScope()
        call = Call("tools/call", params, session("ann"), "s", "s__t")
        task = asyncio.create_task(fleet.call(call, scope))
        await turns()
        sent = server.calls[0]
        assert (sent.method, sent.params, sent.scope) == ("tools/call", params, scope)
        await sent.result({"x": 1})
        assert await task == {"x": 1}


async def test_a_servers_error_comes_back_as_it_is() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        calling = await begin(fleet, "s", session("ann"))
        server.calls[0].reply.set_exception(PeerError(-32000, "no", {"why": 1}))
        with pytest.raises(PeerError) as failed:
            await calling.task
        assert (failed.value.code, failed.value.data) == (-32000, {"why": 1})


async def test_cancelling_a_call_cancels_it_at_the_server() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        calling = await begin(fleet, "s", session("ann"))
        sent = server.calls[0]
        calling.task.cancel()
        await turns()
        assert sent.cancelled


async def test_a_call_to_a_server_that_is_down_says_so_at_once_and_others_work() -> None:
    down, up = FakeServer("down"), FakeServer("up")
    down.refuse = "connection refused"
    async with running(down, up) as fleet:
        failed = await begin(fleet, "down", session("ann"))
        with pytest.raises(ServerUnavailable, match="server 'down' is unavailable: connection refused"):
            await failed.task
        await begin(fleet, "up", session("ann"))
        assert len(up.calls) == 1
        unknown = await begin(fleet, "nowhere", session("ann"))
        with pytest.raises(UnknownTarget, match="no server is called 'nowhere'"):
            await unknown.task


async def test_a_call_made_while_its_server_starts_is_carried_once_it_is_up() -> None:
    server = FakeServer("s")
    server.gate.clear()
    async with running(server) as fleet:
        calling = await begin(fleet, "s", session("ann"))
        assert calling.waiting
        server.gate.set()
        await turns()
        await server.calls[0].result({"ok": 1})
        assert await calling.task == {"ok": 1}


async def test_a_lane_that_ended_before_the_call_was_sent_is_replaced() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        first = await begin(fleet, "s", session("ann"))
        connection = server.calls[0].connection
        await server.calls[0].result()
        await first.task
        # The connection ends, and a call comes before anybody has noticed.
        second = asyncio.create_task(
            fleet.call(Call("tools/call", {"name": "t"}, session("ann"), "s", "s__t"), FakeScope())
        )
        connection.die()
        await turns()
        await server.calls[0].result({"ok": 1})
        assert await second == {"ok": 1}


async def test_updates_on_a_sessions_lane_are_the_sessions_and_on_the_control_lane_anyones() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        events = []
        fleet.subscribe(events.append)
        ann = session("ann")
        await fleet.subscribe_resource("s", "r://1", ann)
        await fleet.subscribe_resource("s", "r://2", stateless("anyone"))
        control, own = server.live
        own.tell("notifications/resources/updated", {"uri": "r://1", "_meta": {"x": 1}})
        control.tell("notifications/resources/updated", {"uri": "r://2"})
        assert events == [
            ResourceUpdated("r://1", "s", {"uri": "r://1", "_meta": {"x": 1}}, ann.identity),
            ResourceUpdated("r://2", "s", {"uri": "r://2"}, None),
        ]
        assert [sent.params for sent in own.sent if sent.method == "resources/subscribe"] == [
            {"uri": "r://1"}
        ]


def subscriptions(server: FakeServer) -> list[tuple[str, str]]:
    verbs = {"resources/subscribe": "+", "resources/unsubscribe": "-"}
    return [(verbs[sent.method], sent.params["uri"]) for sent in server.sent if sent.method in verbs]


async def test_a_resource_is_subscribed_to_once_for_all_who_share_a_connection() -> None:
    server = FakeServer("s")
    async with running(server, isolation="shared") as fleet:
        ann, bob = session("ann"), session("bob")
        for caller in (ann, bob, ann):
            await fleet.subscribe_resource("s", "r://1", caller)
        await fleet.unsubscribe_resource("s", "r://1", ann)
        await fleet.unsubscribe_resource("s", "r://1", ann)
        assert subscriptions(server) == [("+", "r://1")]
        fleet.forget(bob.identity)
        await turns()
        assert subscriptions(server) == [("+", "r://1"), ("-", "r://1")]


async def test_a_subscription_that_the_server_refuses_is_not_kept() -> None:
    server = FakeServer("s")
    server.refused["resources/subscribe"] = (-32002, "no such resource")
    async with running(server, isolation="shared") as fleet:
        for _ in range(2):
            with pytest.raises(PeerError, match="no such resource"):
                await fleet.subscribe_resource("s", "r://1", session("ann"))
        assert len(subscriptions(server)) == 2


async def test_a_server_that_comes_back_is_told_again_what_clients_follow() -> None:
    server, clock = FakeServer("s"), HeldClock()
    async with running(server, clock=clock, isolation="shared") as fleet:
        await fleet.subscribe_resource("s", "r://1", session("ann"))
        server.control.die()
        await clock.pass_by(1)
        assert subscriptions(server) == [("+", "r://1")] * 2


async def test_changed_roots_are_told_on_the_clients_own_lanes_if_they_were_declared() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        ann = session("ann", frozenset({"roots"}))
        bob = session("bob", frozenset())
        await begin(fleet, "s", ann)
        await begin(fleet, "s", bob)
        for client in (bob, ann):
            fleet.roots_changed(client.identity, {"x": 1})
        await turns()
        told = [connection.notified for connection in server.live]
        assert told == [[], [("notifications/roots/list_changed", {"x": 1})], []]


async def test_a_listener_may_end_itself_while_it_is_told() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        heard = []
        ends = []

        def once(event) -> None:
            heard.append(event)
            ends[0]()

        ends.append(fleet.subscribe(once))
        fleet.subscribe(heard.append)
        server.control.tell("notifications/tools/list_changed")
        await fleet.catalog.view(session("ann", frozenset()))
        server.control.tell("notifications/tools/list_changed")
        assert len(heard) == 3


async def test_status_says_how_each_server_is() -> None:
    server = FakeServer("s", tools=["a", "b"], prompts=["p"], resources=["r://1"], templates=["r://{x}"])
    async with running(server, max_lanes=1) as fleet:
        await begin(fleet, "s", session("ann"))
        await begin(fleet, "s", session("bob"))
        status = fleet.status()[0]
        assert (status.name, status.transport, status.state, status.era) == ("s", "stdio", "up", "handshake")
        assert (status.tools, status.prompts, status.resources, status.templates) == (2, 1, 1, 1)
        assert (status.lanes, status.calls, status.waiting) == (1, 1, 1)
        assert "1 waiting" in repr(fleet)
        assert "<Lane" in repr(fleet)
