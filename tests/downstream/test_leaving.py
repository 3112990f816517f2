"""A client that goes away ends its call, with no task that waits for it."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.downstream.cycle import Leaving
from gateway.downstream.exchange import Exchange


class Work:
    """Work that never ends by itself; `left` is set when it is told that its client has."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.left = 0
        self.task: asyncio.Task[Any] | None = None

    async def do(self) -> Any:
        self.task = asyncio.current_task()
        self.begun.set()
        await asyncio.Event().wait()

    def on_left(self) -> None:
        self.left += 1
        if self.task is not None:
            self.task.cancel()


async def nothing(_: object = None) -> Any:
    await asyncio.Event().wait()


async def test_work_is_told_in_the_moment_in_which_its_client_leaves() -> None:
    leaving, work = Leaving(), Work()
    exchange = Exchange(nothing, nothing, keepalive=15, leaving=leaving)
    running = asyncio.ensure_future(exchange.run(work.do(), work.on_left))
    await work.begun.wait()
    before = asyncio.all_tasks()
    assert before == {asyncio.current_task(), running}
    assert leaving.tell is not None
    leaving.tell()
    leaving.tell()
    await asyncio.wait((running,), timeout=10)
    assert running.cancelled()
    assert work.left == 1
    assert not exchange.outbox.reachable
    assert leaving.tell is None


async def test_a_client_that_left_before_its_work_began_is_noticed() -> None:
    leaving, work = Leaving(), Work()
    leaving.gone = True
    exchange = Exchange(nothing, nothing, keepalive=15, leaving=leaving)
    running = asyncio.ensure_future(exchange.run(work.do(), work.on_left))
    await asyncio.wait((running,), timeout=10)
    assert running.cancelled()
