"""What a session follows outlives the connection that it was followed on."""

from __future__ import annotations

from tests.upstream.fleet_fakes import FakeConnection, FakeServer, HeldClock, begin, running, session, turns

URI = "r://1"


def followed(connection: FakeConnection) -> list[str]:
    return [sent.params["uri"] for sent in connection.sent if sent.method == "resources/subscribe"]


async def test_a_sessions_connection_that_is_lost_is_opened_again_for_what_it_follows() -> None:
    server, clock = FakeServer("s"), HeldClock()
    async with running(server, clock=clock) as fleet:
        await fleet.subscribe_resource("s", URI, session("ann"))
        server.live[1].die()
        await clock.pass_by(0.5)
        assert [followed(connection) for connection in server.live] == [[], [URI]]


async def test_a_connection_that_made_room_for_another_client_comes_back_when_there_is_room() -> None:
    server, clock = FakeServer("s"), HeldClock()
    async with running(server, clock=clock, max_lanes=1, lane_idle_seconds=5) as fleet:
        await fleet.subscribe_resource("s", URI, session("ann"))
        await clock.pass_by(5)
        bob = await begin(fleet, "s", session("bob"))
        await clock.pass_by(1)
        assert [followed(connection) for connection in server.live] == [[], []]
        await server.calls[0].result()
        await bob.task
        await clock.pass_by(5)
        assert [followed(connection) for connection in server.live] == [[], [URI]]


async def test_nothing_is_opened_for_who_follows_nothing_any_more() -> None:
    server, clock = FakeServer("s"), HeldClock()
    async with running(server, clock=clock) as fleet:
        ann, bob, eve = session("ann"), session("bob"), session("eve")
        for client in (ann, bob, eve):
            await fleet.subscribe_resource("s", URI, client)
        await fleet.unsubscribe_resource("s", URI, ann)
        fleet.forget(bob.identity)
        await turns()
        for connection in server.live[1:]:
            connection.die()
        await turns()
        fleet.forget(eve.identity)
        await clock.pass_by(60)
        assert len(server.live) == 1


async def test_a_server_that_ends_again_and_again_is_given_ever_more_time() -> None:
    server, clock = FakeServer("s"), HeldClock()
    async with running(server, clock=clock) as fleet:
        await fleet.subscribe_resource("s", URI, session("ann"))
        for patience in (0.5, 1, 2, 4):
            server.live[1].die()
            await clock.pass_by(patience - 0.1)
            assert len(server.live) == 1
            await clock.pass_by(0.1)
            assert len(server.live) == 2
        # One that has lived for a while is no failure.
        await clock.pass_by(30)
        server.live[1].die()
        await clock.pass_by(0.5)
        assert len(server.live) == 2


async def test_a_server_that_cannot_be_opened_is_tried_until_it_can() -> None:
    server, clock = FakeServer("s"), HeldClock()
    async with running(server, clock=clock) as fleet:
        await fleet.subscribe_resource("s", URI, session("ann"))
        server.refuse = "it is being updated"
        server.live[1].die()
        await clock.pass_by(0.5)
        await clock.pass_by(1)
        server.refuse = None
        await clock.pass_by(2)
        assert [followed(connection) for connection in server.live] == [[], [URI]]
