"""Who may be carried to a server now, who is next, and who is told that there are too many."""

from __future__ import annotations

import asyncio
import random

import pytest

from gateway.calls.admission import FairQueue, Places
from gateway.calls.deadlines import Deadline
from gateway.errors import ServerBusy
from tests.support.stepped_loop import SteppedLoop, run


def places(most: int, queued: int = 10) -> Places:
    return Places(most, queued, lambda why: ServerBusy(f"busy: {why}"))


def drained(queue: FairQueue[str]) -> list[str]:
    return [item for item in iter(queue.pop, None)]


def test_principals_take_turns_however_many_calls_each_has() -> None:
    queue = FairQueue[str](20)
    for number in range(4):
        queue.push("ann", f"ann{number}")
    queue.push("bob", "bob0")
    queue.push("bob", "bob1")
    queue.push("eve", "eve0")
    assert drained(queue) == ["ann0", "bob0", "eve0", "ann1", "bob1", "ann2", "ann3"]
    assert len(queue) == 0


def test_who_comes_later_is_served_after_one_call_of_each_before_it() -> None:
    queue = FairQueue[str](20)
    for number in range(5):
        queue.push("ann", f"ann{number}")
    assert [queue.pop(), queue.pop()] == ["ann0", "ann1"]
    queue.push("bob", "bob0")
    assert drained(queue)[:2] == ["ann2", "bob0"]


def test_one_who_fills_the_queue_makes_room_for_another_until_both_have_the_same() -> None:
    queue = FairQueue[str](4)
    for number in range(4):
        assert queue.push("ann", f"ann{number}") is None
    assert queue.push("ann", "ann4") == "ann4"
    assert queue.push("bob", "bob0") == "ann3"
    assert queue.push("bob", "bob1") == "ann2"
    assert queue.push("bob", "bob2") == "bob2"
    assert drained(queue) == ["ann0", "bob0", "ann1", "bob1"]


def test_an_item_that_no_longer_waits_is_not_served() -> None:
    queue = FairQueue[str](4)
    queue.push("ann", "ann0")
    queue.push("bob", "bob0")
    queue.remove("ann", "ann0")
    queue.remove("ann", "never there")
    assert (len(queue), drained(queue)) == (1, ["bob0"])


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_and_goes_nobody_is_passed_over_twice(seed: int) -> None:
    """While someone waits, no other principal is served twice before it."""
    chance, queue, served = random.Random(seed), FairQueue[tuple[str, int]](12), list[str]()
    since: dict[str, int] = {}
    waiting: dict[str, int] = dict.fromkeys("abcd", 0)
    for number in range(400):
        who = chance.choice("aaaabbcd")
        if chance.random() < 0.6:
            gone = queue.push(who, (who, number))
            waiting[who] += 1
            since.setdefault(who, len(served))
            if gone is not None:
                waiting[gone[0]] -= 1
                if not waiting[gone[0]]:
                    del since[gone[0]]
        elif (item := queue.pop()) is not None:
            for other, start in since.items():
                if other != item[0]:
                    assert served[start:].count(item[0]) < 2
            served.append(item[0])
            waiting[item[0]] -= 1
            del since[item[0]]
            if waiting[item[0]]:
                since[item[0]] = len(served)
        assert len(queue) == sum(waiting.values()) <= 12


async def test_a_place_that_is_given_back_goes_to_whose_turn_it_is() -> None:
    house, order = places(1), list[str]()
    assert house.take()
    assert not house.take()

    async def call(name: str, principal: str) -> None:
        await house.turn(principal, asyncio.get_running_loop().time() + 60)
        order.append(name)

    names = [("ann0", "ann"), ("ann1", "ann"), ("bob0", "bob")]
    tasks = [asyncio.create_task(call(*name)) for name in names]
    await asyncio.sleep(0)
    assert (house.taken, house.waiting) == (1, 3)
    for _ in tasks:
        house.leave()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert order == ["ann0", "bob0", "ann1"]
    house.leave()
    assert (house.taken, house.waiting) == (0, 0)
    await asyncio.gather(*tasks)


def test_in_a_queue_that_has_stood_for_a_while_the_newest_call_of_each_is_next() -> None:
    async def scenario(loop: SteppedLoop) -> None:
        house, order = places(1, queued=20), list[str]()
        assert house.take()

        async def call(name: str, principal: str) -> None:
            await house.turn(principal, loop.time() + 60)
            order.append(name)

        names = [("ann0", "ann"), ("ann1", "ann"), ("ann2", "ann"), ("bob0", "bob"), ("bob1", "bob")]
        tasks = [asyncio.ensure_future(call(*name)) for name in names]
        await asyncio.sleep(0)
        for passed in (0.0, 3.0, 0.0, 0.0, 0.0):
            loop.pass_time(passed)
            house.leave()
            for _ in range(3):
                await asyncio.sleep(0)
        assert order == ["ann0", "bob1", "ann2", "bob0", "ann1"]
        await asyncio.gather(*tasks)

    run(scenario)


async def test_too_many_who_wait_are_told_so_at_once() -> None:
    house, later = places(1, queued=1), asyncio.get_running_loop().time() + 60
    assert house.take()
    ann = asyncio.create_task(house.turn("ann", later))
    await asyncio.sleep(0)
    with pytest.raises(ServerBusy, match=r"1 calls are in flight \(max_concurrent_calls\) and 1 wait"):
        await house.turn("ann", later)
    assert house.waiting == 1
    house.leave()
    await ann


def test_who_has_waited_too_long_is_told_so_while_there_is_time_to_tell() -> None:
    async def scenario(loop: SteppedLoop) -> None:
        house = places(1)
        assert house.take()
        with Deadline(60, 3600) as deadline:
            waiting = asyncio.create_task(house.turn(None, deadline.begin_by))
            await asyncio.sleep(0)
            loop.pass_time(29)
            await asyncio.sleep(0)
            assert not waiting.done()
            loop.pass_time(2)
            with pytest.raises(ServerBusy, match="max_concurrent_calls"):
                await waiting
        assert (house.taken, house.waiting) == (1, 0)

    run(scenario)


@pytest.mark.parametrize("at", ["waiting", "its turn"])
async def test_a_call_that_is_cancelled_leaves_its_place_to_the_next(at: str) -> None:
    house, later = places(1), asyncio.get_running_loop().time() + 60
    assert house.take()
    first, second = (asyncio.create_task(house.turn(name, later)) for name in ("ann", "bob"))
    await asyncio.sleep(0)
    if at == "its turn":
        house.leave()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    if at == "waiting":
        house.leave()
    await second
    assert (house.taken, house.waiting) == (1, 0)


async def test_a_call_whose_question_is_open_has_no_place_and_goes_on_whoever_has_it_then() -> None:
    house = places(1)
    with Deadline(60, 3600) as outer, Deadline(60, 3600) as inner:
        assert house.take()
        outer.holds(house)
        with outer.paused(), outer.paused():
            assert house.taken == 0
            assert house.take(), "the call that answers the question must not wait for it"
            inner.holds(house)
        assert house.taken == 2, "the first one goes on at its server, and counts"
        assert not house.take()
        inner.gives_back()
        assert not house.take(), "there is one yet"
        outer.gives_back()
    assert house.taken == 0


async def test_a_call_that_ends_while_its_question_is_open_gives_its_place_back_once() -> None:
    house = places(1)
    with Deadline(60, 3600) as deadline:
        assert house.take()
        deadline.holds(house)
        with deadline.paused():
            deadline.gives_back()
            assert house.taken == 0
        deadline.gives_back()
    assert house.taken == 0
