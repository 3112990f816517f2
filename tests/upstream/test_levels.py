"""Which log level a server is asked for: the lowest that anybody on the connection wants."""

from __future__ import annotations

import asyncio

import pytest

from gateway.upstream import levels
from tests.upstream.fleet_fakes import FakeConnection, FakeServer, begin, running, session, stateless, turns

SET = "logging/setLevel"


def told(connection: FakeConnection) -> list[str]:
    return [sent.params["level"] for sent in connection.sent if sent.method == SET]


async def test_a_sessions_own_connection_is_asked_for_its_level_and_no_other_is() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        await fleet.set_level(session("ann"), "error")
        await begin(fleet, "s", session("ann"), level="error")
        await begin(fleet, "s", session("ann"), level="error")
        await begin(fleet, "s", session("bob"))
        assert [told(connection) for connection in server.live] == [[], ["error"], []]
        await fleet.set_level(session("ann"), "debug")
        await turns()
        assert [told(connection) for connection in server.live] == [[], ["error", "debug"], []]


async def test_a_session_whose_connection_is_opened_anew_has_its_level_again() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        await fleet.set_level(session("ann"), "error")
        await begin(fleet, "s", session("ann"))
        server.live[1].die()
        await turns()
        await begin(fleet, "s", session("ann"))
        assert told(server.live[1]) == ["error"]


async def test_a_shared_connection_is_asked_anew_only_when_who_is_on_it_wants_something_else() -> None:
    server = FakeServer("s")
    async with running(server, isolation="shared", max_lanes=1) as fleet:
        for client, level in (
            (stateless("a"), "info"),
            (stateless("b"), None),
            (stateless("c"), "info"),
            (session("d"), "error"),
            (stateless("e"), "debug"),
        ):
            await begin(fleet, "s", client, level=level)
            await server.calls[0].result()
        assert told(server.live[1]) == ["info", "error", "debug"]


async def test_of_calls_that_run_together_the_lowest_level_counts() -> None:
    server = FakeServer("s")
    client = stateless("a")
    async with running(server) as fleet:
        for level in ("error", None, "info", "warning", "no such level"):
            await begin(fleet, "s", client, level=level)
        assert len(server.calls) == 5
        assert told(server.live[1]) == ["error", "info"]


async def test_a_session_that_changes_its_mind_changes_what_its_running_calls_want() -> None:
    server = FakeServer("s")
    async with running(server, isolation="shared") as fleet:
        ann = session("ann")
        await begin(fleet, "s", ann, level="error")
        await begin(fleet, "s", session("bob"), level="error")
        await fleet.set_level(ann, "debug")
        await turns()
        assert [told(connection) for connection in server.live] == [[], ["error", "debug"], ["error"]]


async def test_a_call_is_sent_once_its_level_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeServer("s")
    server.held.add(SET)
    async with running(server) as fleet:
        calling = await begin(fleet, "s", stateless("a"), level="info")
        assert not server.calls
        (setting,) = (sent for sent in server.sent if sent.method == SET)
        await setting.result({})
        assert len(server.calls) == 1
        # A server that takes its time delays a call by so much and no more.
        monkeypatch.setattr(levels, "PATIENCE", 0.01)
        server.arrived.clear()
        await begin(fleet, "s", stateless("b"), level="debug")
        async with asyncio.timeout(5):
            await server.arrived.wait()
        assert calling.waiting


@pytest.mark.parametrize(
    "server",
    [FakeServer("s", capabilities={"tools": {}}), FakeServer("s", era="modern")],
    ids=["no capability", "a level per request"],
)
async def test_a_server_that_has_no_such_setting_is_not_asked(server: FakeServer) -> None:
    async with running(server) as fleet:
        await fleet.set_level(session("ann"), "error")
        await begin(fleet, "s", session("ann"), level="error")
        assert not [sent for sent in server.sent if sent.method == SET]
        assert len(server.calls) == 1


async def test_a_server_that_refuses_a_level_is_called_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    server = FakeServer("s")
    server.refused[SET] = (-32603, "not today")
    async with running(server) as fleet:
        await begin(fleet, "s", session("ann"), level="error")
        assert len(server.calls) == 1
        assert "server 's' did not take log level 'error'" in caplog.text
