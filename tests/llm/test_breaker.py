from __future__ import annotations

import asyncio
import contextlib

import pytest
from structlog.testing import capture_logs

from gateway.config.resolved import CircuitBreaker
from gateway.errors import ProviderError
from gateway.llm.breaker import Breaker, Circuit
from gateway.llm.slots import Slots


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def breaker(clock: Clock, **rules: float) -> Breaker:
    return Breaker("the service", CircuitBreaker(**{"recovery_timeout": 60.0, **rules}), clock)  # type: ignore[arg-type]


def attempt(one: Breaker, code: str | None = None, *, retryable: bool = True) -> None:
    """One attempt that ends well, or with a code."""
    with contextlib.suppress(ProviderError), one.attempt():
        if code is not None:
            raise ProviderError("no", code=code, retryable=retryable)


def refusal(one: Breaker) -> ProviderError:
    with pytest.raises(ProviderError) as caught, one.attempt():
        raise AssertionError("nobody was to be asked")
    return caught.value


def test_five_failures_in_a_row_open_it_and_two_probes_that_succeed_close_it() -> None:
    clock = Clock()
    one = breaker(clock)
    with capture_logs() as logs:
        for _ in range(5):
            assert one.circuit.state == "closed"
            attempt(one, "E008")
        assert one.circuit == Circuit("open", 5, 60.0)
        clock.now += 59.0
        error = refusal(one)
        assert (error.code, error.retryable) == ("E005", False)
        assert "5 times in a row" in str(error)
        assert "1 s" in str(error)
        clock.now += 1.0
        attempt(one)
        assert one.circuit.state == "half_open"
        attempt(one)
        assert one.circuit == Circuit("closed", 0)
    assert [(entry["state"], entry["log_level"]) for entry in logs] == [
        ("open", "warning"),
        ("half_open", "info"),
        ("closed", "info"),
    ]
    assert {entry["event"] for entry in logs} == {"provider_circuit"}


def test_a_success_between_starts_the_count_again() -> None:
    one = breaker(Clock(), failure_threshold=2)
    for _ in range(3):
        attempt(one, "E002")
        attempt(one)
    assert one.circuit.state == "closed"


def test_a_refusal_does_not_count_since_the_provider_works() -> None:
    one = breaker(Clock(), failure_threshold=2)
    for _ in range(5):
        attempt(one, "E004", retryable=False)
    assert one.circuit == Circuit("closed", 0)


def test_a_probe_that_fails_opens_it_for_the_whole_time_again() -> None:
    clock = Clock()
    one = breaker(clock, failure_threshold=1)
    attempt(one, "E008")
    clock.now += 60.0
    attempt(one, "E008")
    assert one.circuit == Circuit("open", 2, 60.0)


def test_only_one_probe_is_on_its_way_at_a_time() -> None:
    clock = Clock()
    one = breaker(clock, failure_threshold=1)
    attempt(one, "E008")
    clock.now += 60.0
    with one.attempt():
        assert "probe" in str(refusal(one))
    attempt(one)
    assert one.circuit.state == "closed"


def test_a_cancelled_probe_says_nothing_and_leaves_its_place_to_the_next() -> None:
    clock = Clock()
    one = breaker(clock, failure_threshold=1, success_threshold=1)
    attempt(one, "E008")
    clock.now += 60.0
    with pytest.raises(asyncio.CancelledError), one.attempt():
        raise asyncio.CancelledError
    assert one.circuit.state == "half_open"
    attempt(one)
    assert one.circuit.state == "closed"


def test_what_began_before_it_opened_neither_closes_nor_prolongs_it() -> None:
    clock = Clock()
    one = breaker(clock, failure_threshold=1)
    with one.attempt():
        attempt(one, "E008")
        clock.now += 10.0
    assert one.circuit == Circuit("open", 1, 50.0)


def test_turned_off_it_never_opens() -> None:
    one = breaker(Clock(), enabled=False, failure_threshold=1)
    for _ in range(3):
        attempt(one, "E008")
    assert one.circuit.state == "closed"


async def test_places_go_first_come_first_served_and_the_queue_is_bounded() -> None:
    slots = Slots("the service", limit=1, max_queued=2)
    order: list[int] = []

    async def use(number: int) -> None:
        async with slots.held(5):
            order.append(number)

    async with asyncio.TaskGroup() as tasks:
        async with slots.held(5):
            for number in range(2):
                tasks.create_task(use(number))
                await asyncio.sleep(0)
            assert (slots.taken, slots.queued) == (1, 2)
            with pytest.raises(ProviderError, match="max_queued") as full:
                await use(9)
    assert full.value.code == "E003"
    assert order == [0, 1]
    assert (slots.taken, slots.queued) == (0, 0)


async def test_a_place_that_does_not_become_free_in_time_is_named_and_leaves_nothing_behind() -> None:
    slots = Slots("the service", limit=1)
    async with slots.held(5):
        with pytest.raises(ProviderError, match="max_concurrent") as late:
            async with slots.held(0.01):
                raise AssertionError("there was no place")
    assert late.value.code == "E003"
    async with slots.held(0.01):
        assert slots.taken == 1
