"""The chain of providers: the first that answers, each tried as often as the budget allows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from gateway.config.resolved import ModelConfig
from gateway.errors import ProviderError
from gateway.llm.breaker import Breaker
from gateway.llm.port import Attempt, Budget, Completion, Plan, Prompt, Provider, Usage
from gateway.llm.selection import Offer, Selection, as_configured, estimated_tokens, select
from gateway.llm.slots import Slots

_TELLING = ("E004", "E006", "E003", "E002", "E008", "E005")
"""Codes from the one a person must act on to the one that may pass by itself."""


@runtime_checkable
class Warmable(Protocol):
    """A provider that can be made ready before the first request."""

    async def warm(self) -> None:
        """Load what the first request would have to wait for."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """What every use of one configured provider shares, whichever chain it stands in."""

    breaker: Breaker = field(default_factory=lambda: Breaker("the provider"))
    slots: Slots = field(default_factory=lambda: Slots("the provider"))


@dataclass(frozen=True, slots=True)
class Link:
    """A provider's model in the chain, with its own limits.

    `timeout` bounds one attempt in seconds, `max_tokens` caps what a prompt asks for,
    `temperature` is used where the prompt names none. `known` is what the catalogue says of the
    model; one that is not `default` is asked only where a request chooses it.
    """

    provider: Provider
    timeout: float = 30.0
    max_tokens: int | None = None
    temperature: float | None = None
    service: Service = field(default_factory=Service)
    known: ModelConfig | None = None
    default: bool = True

    @property
    def offer(self) -> Offer:
        """What it is to the one who chooses."""
        return Offer(self.provider.name, self.provider.model, self.known, self.default)

    def cost(self, usage: Usage) -> float | None:
        """Return what an answer cost in US dollars, None where no price or no count of tokens is known."""
        price = self.offer.price
        if price is None or usage.input_tokens is None or usage.output_tokens is None:
            return 0.0 if price == (0.0, 0.0) else None
        return usage.input_tokens * price[0] + usage.output_tokens * price[1]

    def __str__(self) -> str:
        return f"{self.provider.name} (model {self.provider.model})"

    def fit(self, prompt: Prompt) -> Prompt:
        """Return the prompt within this provider's settings."""
        tokens = prompt.max_tokens if self.max_tokens is None else min(prompt.max_tokens, self.max_tokens)
        temperature = self.temperature if prompt.temperature is None else prompt.temperature
        if tokens == prompt.max_tokens and temperature == prompt.temperature:
            return prompt
        return replace(prompt, max_tokens=tokens, temperature=temperature)


class Chain:
    """An `Llm`: asks the links in the order that suits the prompt (`gateway.llm.selection`).

    A retryable failure (time-out, 429, 5xx, network) is tried again, after an exponential
    wait with jitter or what the provider asked for by Retry-After, as long as the wait
    fits the budget. Then the next link is asked; so it is at once while a link's circuit is
    open, or no place at its service becomes free.
    """

    def __init__(
        self,
        links: Sequence[Link],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[RetryCallState], float] | None = None,
    ) -> None:
        self.links = tuple(links)
        self._offers = [link.offer for link in self.links]
        self._as_configured = as_configured(self._offers)
        self._sleep = sleep
        self._clock = clock
        self._wait = wait or wait_random_exponential(multiplier=0.5, max=8.0)

    @property
    def available(self) -> bool:
        """Whether any provider is configured."""
        return bool(self.links)

    @property
    def queued(self) -> int:
        """How many requests wait for a place at the services of this chain."""
        return sum(
            slots.queued for slots in {id(link.service): link.service.slots for link in self.links}.values()
        )

    def plan(self, prompt: Prompt, *, estimated: bool = True) -> Plan:
        """See `Llm.plan`."""
        links = [self.links[index] for index in self._select(prompt).order]
        if not links:
            return Plan()
        first = links[0]
        models = tuple([f"{link.provider.name}/{link.provider.model}" for link in links])
        if not estimated:
            return Plan(models, first.temperature)
        read = estimated_tokens(prompt)
        written = first.fit(prompt).max_tokens
        return Plan(
            models,
            first.temperature,
            read + written,
            first.cost(Usage(read, written)),
        )

    def _select(self, prompt: Prompt) -> Selection:
        return self._as_configured or select(self._offers, prompt)

    async def complete(self, prompt: Prompt, budget: Budget) -> Completion:
        """Answer by the first provider that can, within `budget.timeout` seconds.

        Raises:
            ProviderError: every provider failed; the code is the one that most needs a
                person, `attempts` list each try in order.
        """
        if not self.links:
            raise ProviderError("no LLM provider is configured; add one to llm_config", code="E004")
        deadline = self._clock() + budget.timeout
        attempts: list[Attempt] = []
        failures: list[ProviderError] = []
        selection = self._select(prompt)
        if not selection.order:
            raise _nowhere(selection)
        for link in (self.links[index] for index in selection.order):
            try:
                completion = await self._ask(link, link.fit(prompt), deadline, budget.max_attempts, attempts)
            except ProviderError as failure:
                failures.append(failure)
                continue
            return replace(
                completion,
                attempts=tuple(attempts),
                cost_usd=link.cost(completion.usage),
                selection=selection.explained,
            )
        raise _all_failed(failures, attempts)

    def status(self) -> list[dict[str, Any]]:
        """Return each provider with its circuit, and how many requests it has and keeps waiting."""
        return [
            {
                "provider": link.provider.name,
                "model": link.provider.model,
                "circuit": asdict(link.service.breaker.circuit),
                "in_flight": link.service.slots.taken,
                "queued": link.service.slots.queued,
                "max_concurrent": link.service.slots.limit,
            }
            for link in self.links
        ]

    async def warm(self) -> None:
        """Make every provider ready that needs it.

        Raises:
            ProviderError: one of them cannot be made ready.
        """
        for link in self.links:
            if isinstance(link.provider, Warmable):
                await link.provider.warm()

    async def aclose(self) -> None:
        """Close every provider, also when one of them fails to close."""
        closing = (link.provider.aclose() for link in self.links)
        for result in await asyncio.gather(*closing, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _ask(
        self, link: Link, prompt: Prompt, deadline: float, tries: int, attempts: list[Attempt]
    ) -> Completion:
        """Try once; a failure is handed to tenacity, which knows when and whether to try again."""
        try:
            return await self._try(link, prompt, deadline, attempts)
        except ProviderError as failure:
            if not failure.retryable or tries <= 1:
                raise
            failed: list[ProviderError] = [failure]

        async def attempt() -> Completion:
            if failed:
                raise failed.pop()
            return await self._try(link, prompt, deadline, attempts)

        return await self._retrying(link, deadline, tries)(attempt)

    def _retrying(self, link: Link, deadline: float, tries: int) -> AsyncRetrying:
        def wait(state: RetryCallState) -> float:
            failure = state.outcome.exception() if state.outcome else None
            asked = failure.retry_after if isinstance(failure, ProviderError) else None
            return self._wait(state) if asked is None else asked

        def stop(state: RetryCallState) -> bool:
            opened = link.service.breaker.circuit.state == "open"
            late = self._clock() + state.upcoming_sleep >= deadline
            return opened or late or state.attempt_number >= tries

        return AsyncRetrying(
            sleep=self._sleep, wait=wait, stop=stop, retry=retry_if_exception(_may_pass), reraise=True
        )

    async def _try(self, link: Link, prompt: Prompt, deadline: float, attempts: list[Attempt]) -> Completion:
        started = self._clock()
        failure: ProviderError | None = None
        try:
            if deadline <= started:
                raise ProviderError(f"{link} was not asked: no time was left for it", code="E002")
            link.service.breaker.check()
            async with link.service.slots.held(deadline - started):
                with link.service.breaker.attempt():
                    left = deadline - self._clock()
                    return await link.provider.complete(prompt, timeout=min(link.timeout, left))
        except ProviderError as error:
            failure = error
            raise
        finally:
            attempts.append(
                Attempt(
                    provider=link.provider.name,
                    model=link.provider.model,
                    seconds=self._clock() - started,
                    error=str(failure) if failure else None,
                    code=failure.code if failure else None,
                )
            )


def _nowhere(selection: Selection) -> ProviderError:
    candidates = (selection.explained or {}).get("candidates", ())
    said = "; ".join(f"{one['model']} {one['left_out']}" for one in candidates if "left_out" in one)
    return ProviderError(f"no model's context window holds the request: {said}", code="E006")


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, ProviderError) and error.retryable


def _all_failed(failures: Sequence[ProviderError], attempts: Sequence[Attempt]) -> ProviderError:
    def rank(failure: ProviderError) -> int:
        return _TELLING.index(failure.code) if failure.code in _TELLING else len(_TELLING)

    telling = min(failures, key=rank)
    error = ProviderError(
        "; ".join(str(failure) for failure in failures),
        code=telling.code,
        retryable=any(failure.retryable for failure in failures),
        status=telling.status,
        retry_after=telling.retry_after,
    )
    error.attempts = tuple(attempts)
    return error
