"""Whatever happens in whatever order, a question reaches only the client whose call raised it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import BackchannelError
from tests.upstream.fleet_fakes import (
    Calling,
    FakeServer,
    HeldClock,
    Sent,
    begin,
    policy,
    running,
    session,
    stateless,
    turns,
)

SMALL = st.integers(0, 7)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), SMALL),
        st.tuples(st.just("ask"), SMALL),
        st.tuples(st.just("ask slowly"), SMALL),
        st.tuples(st.just("finish"), SMALL),
        st.tuples(st.just("abandon"), SMALL),
        st.tuples(st.just("die"), SMALL),
        st.tuples(st.just("wait"), st.sampled_from([1, 20, 70])),
        st.tuples(st.just("leave"), SMALL),
    ),
    max_size=30,
)
MUTE = frozenset()


def client(number: int) -> Any:
    """Four sessions, two stateless clients that can be asked, two that cannot."""
    if number < 4:
        return session(f"session {number}")
    return stateless(f"client {number}") if number < 6 else stateless(f"client {number}", MUTE)


class World:
    """A fleet with one server, and what the server really works on: cancelled calls too."""

    def __init__(self, fleet: Any, server: FakeServer, clock: HeldClock, *, shared: bool) -> None:
        self.fleet, self.server, self.clock = fleet, server, clock
        self.shared = shared
        self.callings: list[Calling] = []
        self.asked: list[tuple[str, asyncio.Task[Any]]] = []

    def working(self) -> list[Sent]:
        """Calls that the server has not answered, whether or not anybody waits for them."""
        return [
            sent
            for sent in self.server.sent
            if sent.method == "tools/call" and not sent.connection.closed.is_set() and not answered(sent)
        ]

    async def step(self, what: str, number: int) -> None:
        if what == "call":
            self.callings.append(await begin(self.fleet, "s", client(number)))
        elif what == "wait":
            await self.clock.pass_by(number)
        elif what == "leave":
            self.fleet.forget(client(number).identity)
        elif what == "abandon" and self.callings:
            self.callings[number % len(self.callings)].task.cancel()
        elif working := self.working():
            await self.at_server(what, working[number % len(working)])
        await turns()

    async def at_server(self, what: str, sent: Sent) -> None:
        if what == "finish":
            await sent.result()
        elif what == "die":
            sent.connection.die()
        elif what.startswith("ask"):
            cause = sent.scope.name
            if what == "ask slowly":
                sent.scope.gate.clear()
            self.asked.append((cause, asyncio.create_task(sent.connection.ask(cause=cause))))

    def check(self) -> None:
        for calling in self.callings:
            for asked in calling.scope.asked:
                assert asked.params["cause"] == calling.caller.identity.key
        assert self.fleet.status()[0].lanes <= 2
        for connection in self.server.connections:
            users = {sent.scope.name for sent in connection.sent if sent.scope is not None}
            # A session shares its connection with nobody, one after the other included.
            assert len(users) <= 1 or self.shared or not any(name.startswith("session") for name in users)

    async def end(self) -> None:
        """Let every call end, and every question."""
        for calling in self.callings:
            calling.scope.gate.set()
        for _ in range(100):
            await turns()
            if all(calling.task.done() for calling in self.callings):
                break
            for sent in self.working():
                await sent.result()
            await self.clock.pass_by(30)
        assert all(calling.task.done() for calling in self.callings)
        assert all(task.done() for _, task in self.asked)


def answered(sent: Sent) -> bool:
    return sent.reply.done() and not sent.cancelled


async def play(isolation: str, steps: list[tuple[str, int]]) -> None:
    before = asyncio.all_tasks()
    server, clock = FakeServer("s"), HeldClock()
    async with running(
        server,
        clock=clock,
        isolation=isolation,
        max_lanes=2,
        timeout=120.0,
        lane_idle_seconds=60.0,
        rules=policy(),
    ) as fleet:
        world = World(fleet, server, clock, shared=isolation == "shared")
        for step in steps:
            await world.step(*step)
            world.check()
        await world.end()
        world.check()
        outcomes = await asyncio.gather(*(calling.task for calling in world.callings), return_exceptions=True)
        answers = await asyncio.gather(*(task for _, task in world.asked), return_exceptions=True)
    for outcome in outcomes:
        assert isinstance(outcome, dict | BackchannelError | asyncio.CancelledError)
    for (cause, _), answer in zip(world.asked, answers, strict=True):
        assert isinstance(answer, BackchannelError) or answer == {"answered by": cause}
    await turns()
    assert not server.live
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("isolation", ["session", "shared", "call"])
def test_questions_stay_with_their_clients_and_every_call_ends(isolation: str) -> None:
    @settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def explore(steps: list[tuple[str, int]]) -> None:
        asyncio.run(play(isolation, steps))

    explore()
