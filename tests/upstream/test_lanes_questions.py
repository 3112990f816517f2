"""Whose a question is: what a lane makes of what its server says out of turn."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import PeerError, QuestionRefused
from gateway.policy.model import Strategy
from tests.upstream.fleet_fakes import (
    FakeServer,
    begin,
    policy,
    running,
    session,
    turns,
)

NOTHING = frozenset()


async def test_a_question_without_a_call_goes_to_the_oldest_call_of_its_lane() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        first = await begin(fleet, "s", session("ann"))
        second = await begin(fleet, "s", session("ann"))
        other = await begin(fleet, "s", session("bob"))
        answer = await server.calls[0].connection.ask(message="sure?")
        assert answer == {"answered by": "ann"}
        assert [len(calling.scope.asked) for calling in (first, second, other)] == [1, 0, 0]


async def test_an_open_question_moves_to_the_next_call_when_its_own_ends() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        first = await begin(fleet, "s", session("ann"))
        second = await begin(fleet, "s", session("ann"))
        first.scope.gate.clear()
        question = asyncio.create_task(server.calls[0].connection.ask())
        await turns()
        await server.calls[0].result()
        assert len(first.scope.withdrawn) == 1
        assert await question == {"answered by": "ann"}
        assert len(second.scope.asked) == 1


async def test_an_open_question_is_refused_when_no_call_is_left_for_it() -> None:
    server = FakeServer("s")
    async with running(server, isolation="shared", max_lanes=1) as fleet:
        first = await begin(fleet, "s", session("ann"))
        other = await begin(fleet, "s", session("bob"))
        first.scope.gate.clear()
        question = asyncio.create_task(server.calls[0].connection.ask())
        await turns()
        await server.calls[0].result()
        with pytest.raises(QuestionRefused, match="has ended"):
            await question
        assert not other.scope.asked
        # The server left a question open when it answered: what it asks later may be Ann's too.
        assert server.calls[0].connection is not server.connections[1]


async def test_withdrawing_a_question_is_not_taken_for_the_end_of_the_call() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        first = await begin(fleet, "s", session("ann"))
        second = await begin(fleet, "s", session("ann"))
        first.scope.gate.clear()
        question = asyncio.create_task(server.calls[0].connection.ask())
        await turns()
        question.cancel()
        await turns()
        assert question.cancelled()
        assert len(first.scope.withdrawn) == 1
        assert not second.scope.asked


async def test_an_abandoned_call_binds_its_lane_to_its_client() -> None:
    server = FakeServer("s")
    async with running(server, isolation="shared", max_lanes=2) as fleet:
        ann = await begin(fleet, "s", session("ann"))
        abandoned = server.calls[0]
        ann.task.cancel()
        await turns()
        bob = await begin(fleet, "s", session("bob"))
        assert server.calls[0].connection is not abandoned.connection
        # The server goes on with Ann's call and asks: nobody is there for it, and Bob is not asked.
        with pytest.raises(QuestionRefused):
            await abandoned.connection.ask()
        assert not bob.scope.asked
        await begin(fleet, "s", session("ann"))
        assert server.calls[1].connection is abandoned.connection


async def test_a_servers_error_is_an_answer_and_binds_nothing() -> None:
    server = FakeServer("s")
    async with running(server, isolation="shared", max_lanes=1) as fleet:
        ann = await begin(fleet, "s", session("ann"))
        first = server.calls[0]
        first.reply.set_exception(PeerError(-32000, "no"))
        await turns()
        with pytest.raises(PeerError):
            await ann.task
        await begin(fleet, "s", session("bob"))
        assert server.calls[0].connection is first.connection


async def test_what_was_not_declared_is_refused_before_anybody_is_asked() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        calling = await begin(fleet, "s", session("ann", frozenset({"sampling"})))
        connection = server.calls[0].connection
        for method, params in (
            ("elicitation/create", {}),
            ("elicitation/create", {"mode": "url"}),
            ("roots/list", {}),
        ):
            with pytest.raises(QuestionRefused, match="was not declared to server 's'"):
                await connection.ask(method, **params)
        await connection.ask("sampling/createMessage")
        assert len(calling.scope.asked) == 1


async def test_a_modern_server_may_not_ask_out_of_turn() -> None:
    server = FakeServer("s", era="modern")
    async with running(server) as fleet:
        calling = await begin(fleet, "s", session("ann"))
        with pytest.raises(QuestionRefused, match="only in a call's result"):
            await server.calls[0].connection.ask()
        assert not calling.scope.asked


async def test_an_answer_that_only_comes_later_is_refused_where_the_server_waits() -> None:
    server = FakeServer("s")
    async with running(server) as fleet:
        calling = await begin(fleet, "s", session("ann"))
        calling.scope.later = True
        with pytest.raises(QuestionRefused):
            await server.calls[0].connection.ask()


async def test_a_question_outside_any_call_is_the_owners_to_answer() -> None:
    asked = []

    async def answer(server, question):
        asked.append((server, question.method))
        return {"model": "ours"}

    server = FakeServer("s")
    rules = policy(sampling=Strategy.LLM)
    async with running(server, rules=rules, on_unsolicited=answer):
        assert await server.control.ask("sampling/createMessage") == {"model": "ours"}
        assert asked == [("s", "sampling/createMessage")]
        with pytest.raises(QuestionRefused):
            await server.control.ask("elicitation/create")


async def test_roots_asked_outside_a_call_are_the_sessions() -> None:
    asked = []

    async def ask_session(server, identity, question):
        asked.append((server, identity.key, question.method))
        return {"roots": [{"uri": "file:///ann"}]}

    server = FakeServer("s")
    async with running(server, on_session=ask_session) as fleet:
        await begin(fleet, "s", session("ann", frozenset({"roots"})))
        connection = server.calls[0].connection
        await server.calls[0].result()
        assert await connection.ask("roots/list") == {"roots": [{"uri": "file:///ann"}]}
        assert asked == [("s", "ann", "roots/list")]


async def test_roots_asked_while_the_gateway_lists_for_a_client_are_that_clients() -> None:
    server = FakeServer("s")
    ann = session("ann", frozenset({"roots"}))
    async with running(server) as fleet:
        server.held.add("tools/list")
        viewing = asyncio.create_task(fleet.catalog.view(ann))
        await turns()
        assert await server.live[1].ask("roots/list") == {"roots": []}
        assert [question.method for question in ann.asked] == ["roots/list"]
        viewing.cancel()


async def test_log_messages_reach_the_only_client_a_lane_ever_had_and_no_other(caplog) -> None:
    caplog.set_level("INFO")
    server = FakeServer("s")
    async with running(server, isolation="shared", max_lanes=1) as fleet:
        ann = await begin(fleet, "s", session("ann"))
        connection = server.calls[0].connection
        connection.tell("notifications/message", {"level": "info", "data": "for ann"})
        assert [params["data"] for _, params in ann.scope.heard] == ["for ann"]
        await server.calls[0].result()
        bob = await begin(fleet, "s", session("bob"))
        assert server.calls[0].connection is connection
        # It may be a late word about Ann's call.
        connection.tell("notifications/message", {"level": "info", "data": "about ann"})
        connection.tell("notifications/progress", {"progressToken": 1, "progress": 1})
        assert not bob.scope.heard
        assert "about ann" in caplog.text


async def test_log_messages_of_a_modern_server_are_those_of_the_call_that_asked_for_them(caplog) -> None:
    caplog.set_level("INFO")
    server = FakeServer("s", era="modern")
    line = {"level": "info", "data": "a line"}
    async with running(server) as fleet:
        silent = await begin(fleet, "s", session("ann"))
        asking = await begin(fleet, "s", session("ann"), level="info")
        connection = server.calls[0].connection
        connection.tell("notifications/message", line)
        connection.tell("notifications/unknown", {})
        assert (silent.scope.heard, asking.scope.heard) == ([], [("notifications/message", line)])
        await server.calls[1].result()
        connection.tell("notifications/message", line)
        await begin(fleet, "s", session("bob"), level="info")
        connection.tell("notifications/message", line)
        assert (len(silent.scope.heard), len(asking.scope.heard)) == (0, 1)
        assert caplog.text.count("server 's' says [info]: a line") == 2
