"""Alarms ring once, in their order, unless they are cancelled."""

from __future__ import annotations

import asyncio

from gateway.calls.alarms import Alarms


async def rung(alarms: Alarms) -> None:
    """Wait for an alarm that is set now."""
    over = asyncio.Event()
    alarms.set(over.set)
    async with asyncio.timeout(10):
        await over.wait()


async def test_alarms_ring_in_the_order_in_which_they_were_set() -> None:
    alarms, seen = Alarms(0.02), list[int]()
    for number in range(5):
        alarms.set(lambda number=number: seen.append(number))
    await rung(alarms)
    assert seen == [0, 1, 2, 3, 4]
    assert alarms.waiting == 0


async def test_a_cancelled_alarm_does_not_ring_even_if_another_cancels_it_in_the_same_moment() -> None:
    alarms, seen = Alarms(0.02), list[str]()
    cancelled = alarms.set(lambda: seen.append("cancelled"))
    cancelled.cancel()
    cancelled.cancel()
    alarms.set(lambda: late.cancel())
    late = alarms.set(lambda: seen.append("late"))
    await rung(alarms)
    assert seen == []


async def test_an_alarm_that_is_set_while_another_waits_rings_in_its_own_time() -> None:
    alarms = Alarms(0.05)
    began = asyncio.get_running_loop().time()
    await rung(alarms)
    await rung(alarms)
    assert asyncio.get_running_loop().time() - began >= 0.09


async def test_nothing_is_held_once_an_alarm_is_over() -> None:
    alarms = Alarms(60)
    alarm = alarms.set(lambda: None)
    assert alarm.when() > asyncio.get_running_loop().time() + 50
    alarm.cancel()
    assert alarms.waiting == 0
    assert "over" in repr(alarm)
