from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from gateway.config.resolved import CircuitBreaker
from gateway.errors import ProviderError
from gateway.llm.breaker import Breaker
from gateway.llm.chain import Chain, Link, Service
from gateway.llm.port import Budget, Completion, Prompt
from gateway.llm.probe import probe
from tests.llm.dialects import DIALECTS, KEY, Dialect, prompt, text
from tests.support.scripted_http import answer, scripted_http


class Clock:
    """Time that passes only when somebody sleeps or a provider works."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class Scripted:
    """A provider that fails as told, then answers."""

    clock: Clock
    failures: list[ProviderError] = field(default_factory=list)
    name: str = "first"
    model: str = "m"
    takes: float = 1.0
    asked: list[tuple[Prompt, float]] = field(default_factory=list)
    closed: bool = False
    warmed: bool = False

    async def complete(self, prompt: Prompt, *, timeout: float) -> Completion:
        self.asked.append((prompt, timeout))
        self.clock.now += self.takes
        if self.failures:
            raise self.failures.pop(0)
        return Completion(text(f"from {self.name}"), self.model, self.name, "endTurn")

    async def aclose(self) -> None:
        self.closed = True

    async def warm(self) -> None:
        self.warmed = True


def busy(retry_after: float | None = None) -> ProviderError:
    return ProviderError("slow down", code="E003", retryable=True, retry_after=retry_after)


def refusal(code: str = "E004") -> ProviderError:
    return ProviderError("no", code=code)


def chain_of(clock: Clock, *links: Link, wait: float = 2.0) -> Chain:
    return Chain(links, sleep=clock.sleep, clock=clock, wait=lambda _: wait)


async def test_the_first_provider_that_answers_is_used_and_every_try_is_told() -> None:
    clock = Clock()
    first, second = Scripted(clock, [refusal()]), Scripted(clock, name="second")
    done = await chain_of(clock, Link(first), Link(second)).complete(prompt("Hi"), Budget(60))
    assert done.content == text("from second")
    assert [(a.provider, a.seconds, a.error, a.code) for a in done.attempts] == [
        ("first", 1.0, "no", "E004"),
        ("second", 1.0, None, None),
    ]
    assert clock.slept == []


async def test_a_failure_that_may_pass_is_tried_again_within_the_attempts() -> None:
    clock = Clock()
    first = Scripted(clock, [busy(), busy()])
    done = await chain_of(clock, Link(first)).complete(prompt("Hi"), Budget(60, max_attempts=3))
    assert done.content == text("from first")
    assert clock.slept == [2.0, 2.0]
    assert len(done.attempts) == 3


async def test_one_attempt_means_no_retry() -> None:
    clock = Clock()
    first = Scripted(clock, [busy()])
    with pytest.raises(ProviderError):
        await chain_of(clock, Link(first)).complete(prompt("Hi"), Budget(60, max_attempts=1))
    assert len(first.asked) == 1


async def test_a_refusal_is_never_tried_again() -> None:
    clock = Clock()
    first = Scripted(clock, [refusal()])
    with pytest.raises(ProviderError):
        await chain_of(clock, Link(first)).complete(prompt("Hi"), Budget(60, max_attempts=5))
    assert len(first.asked) == 1


async def test_retry_after_is_honoured() -> None:
    clock = Clock()
    first = Scripted(clock, [busy(retry_after=7.0)])
    await chain_of(clock, Link(first)).complete(prompt("Hi"), Budget(60, max_attempts=2))
    assert clock.slept == [7.0]


async def test_a_wait_that_does_not_fit_the_budget_gives_the_next_provider_its_turn() -> None:
    clock = Clock()
    first, second = Scripted(clock, [busy(retry_after=90.0)]), Scripted(clock, name="second")
    chain = chain_of(clock, Link(first), Link(second))
    done = await chain.complete(prompt("Hi"), Budget(60, max_attempts=5))
    assert done.provider == "second"
    assert clock.slept == []


async def test_an_attempt_is_bounded_by_the_providers_time_and_by_what_is_left() -> None:
    clock = Clock()
    first = Scripted(clock, [refusal()], takes=8.0)
    second = Scripted(clock, name="second")
    await chain_of(clock, Link(first, timeout=30.0), Link(second, timeout=5.0)).complete(
        prompt("Hi"), Budget(10)
    )
    assert first.asked[0][1] == 10.0
    assert second.asked[0][1] == pytest.approx(2.0)


async def test_a_provider_without_time_left_is_listed_but_not_asked() -> None:
    clock = Clock()
    first, second = Scripted(clock, [refusal("E008")], takes=11.0), Scripted(clock, name="second")
    with pytest.raises(ProviderError, match="no time was left") as caught:
        await chain_of(clock, Link(first), Link(second)).complete(prompt("Hi"), Budget(10))
    assert second.asked == []
    assert [a.provider for a in caught.value.attempts] == ["first", "second"]


async def test_when_all_fail_the_error_lists_each_try_and_bears_the_code_a_person_must_act_on() -> None:
    clock = Clock()
    links = [
        Link(Scripted(clock, [busy(), busy()], name="one")),
        Link(Scripted(clock, [refusal("E004")], name="two")),
        Link(Scripted(clock, [refusal("E999")], name="three")),
    ]
    with pytest.raises(ProviderError) as caught:
        await chain_of(clock, *links).complete(prompt("Hi"), Budget(60, max_attempts=2))
    assert caught.value.code == "E004"
    assert caught.value.retryable is True
    assert [a.code for a in caught.value.attempts] == ["E003", "E003", "E004", "E999"]


async def test_a_provider_caps_tokens_and_fills_in_its_temperature() -> None:
    clock = Clock()
    first = Scripted(clock)
    chain = chain_of(clock, Link(first, max_tokens=20, temperature=0.7))
    await chain.complete(prompt("Hi", max_tokens=50), Budget(60))
    await chain.complete(prompt("Hi", max_tokens=5, temperature=0.0), Budget(60))
    assert [(asked.max_tokens, asked.temperature) for asked, _ in first.asked] == [(20, 0.7), (5, 0.0)]


async def test_an_empty_chain_is_unavailable_and_says_what_to_add() -> None:
    chain = Chain(())
    assert chain.available is False
    with pytest.raises(ProviderError, match="llm_config"):
        await chain.complete(prompt("Hi"), Budget(1))
    await chain.aclose()


async def test_cancelling_reaches_the_provider_and_is_not_a_reason_for_the_next() -> None:
    clock = Clock()
    started, cancelled = asyncio.Event(), asyncio.Event()

    class Endless(Scripted):
        async def complete(self, prompt: Prompt, *, timeout: float) -> Completion:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            raise AssertionError

    second = Scripted(clock, name="second")
    chain = chain_of(clock, Link(Endless(clock)), Link(second))
    task = asyncio.create_task(chain.complete(prompt("Hi"), Budget(60, max_attempts=3)))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()
    assert second.asked == []


async def test_warming_and_closing_reach_every_provider() -> None:
    clock = Clock()
    first, second = Scripted(clock), Scripted(clock, name="second")
    chain = chain_of(clock, Link(first), Link(second))
    await chain.warm()
    await chain.aclose()
    assert (first.warmed, second.warmed, first.closed, second.closed) == (True, True, True, True)


async def test_one_provider_that_cannot_close_does_not_keep_the_others_open() -> None:
    clock = Clock()

    class Stuck(Scripted):
        async def aclose(self) -> None:
            raise RuntimeError("stuck")

    second = Scripted(clock, name="second")
    with pytest.raises(RuntimeError, match="stuck"):
        await chain_of(clock, Link(Stuck(clock)), Link(second)).aclose()
    assert second.closed


async def test_the_default_wait_grows_with_jitter_and_is_bounded() -> None:
    clock = Clock()
    first = Scripted(clock, [busy() for _ in range(7)], takes=0.0)
    patient = Service(Breaker("first", CircuitBreaker(failure_threshold=10)))
    chain = Chain([Link(first, service=patient)], sleep=clock.sleep, clock=clock)
    await chain.complete(prompt("Hi"), Budget(1000, max_attempts=8))
    assert len(clock.slept) == 7
    assert all(0 <= seconds <= min(0.5 * 2**turn, 8.0) for turn, seconds in enumerate(clock.slept))


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
async def test_over_real_sockets_a_rate_limit_then_a_failure_then_an_answer(dialect: Dialect) -> None:
    clock = Clock()
    steps = (
        answer(dialect.error("rate_limit_error", "slow"), status=429, headers={"Retry-After": "3"}),
        answer(dialect.error("api_error", "oops"), status=500),
        answer(dialect.said("At last")),
    )
    async with scripted_http(*steps) as server:
        chain = chain_of(clock, Link(dialect.make(server.url)))
        done = await chain.complete(prompt("Hi"), Budget(60, max_attempts=3))
        await chain.aclose()
    assert done.content == text("At last")
    assert [a.code for a in done.attempts] == ["E003", "E008", None]
    assert clock.slept == [3.0, 2.0]


async def test_a_probe_says_of_each_provider_whether_it_answers_and_what_to_fix() -> None:
    openai, anthropic, _ = DIALECTS
    good = answer(openai.said("ready"))
    bad = answer(anthropic.error("authentication_error", f"bad key {KEY}"), status=401)
    async with scripted_http(good) as one, scripted_http(bad) as two:
        chain = Chain([Link(openai.make(one.url)), Link(anthropic.make(two.url))])
        first, second = await probe(chain)
        await chain.aclose()
    assert (first.provider, first.ok, first.code) == ("openai", True, None)
    assert "gpt-test-2026-01-01" in first.detail
    assert (second.provider, second.ok, second.code) == ("anthropic", False, "E004")
    assert "ANTHROPIC_API_KEY" in second.detail
    assert KEY not in second.detail
    assert one.last.json["max_tokens"] == 16
