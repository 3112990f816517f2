"""The shape of what is said about language models: providers, and what protects them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.config.raw_base import Count, Name, Raw, Seconds, Temperature
from gateway.config.resolved import (
    CachedWhen,
    CacheRules,
    CircuitBreaker,
    Costs,
    OnExceeded,
    ProviderConfig,
    ProviderName,
)
from gateway.policy.model import Source

_PROVIDER = ProviderConfig("local", "", Source("", ""))
_BREAKER, _CACHE, _COSTS = CircuitBreaker(), CacheRules(), Costs()

Score = Annotated[float, Field(ge=0, le=1)]
Price = Annotated[float, Field(ge=0, le=1_000_000)]


class RawCircuitBreaker(Raw):
    """When a provider that keeps failing is left alone, and for how long."""

    enabled: bool = _BREAKER.enabled
    """`false` asks a failing provider every time."""
    failure_threshold: Count = _BREAKER.failure_threshold
    """Failed attempts in a row (time-outs, 429, 5xx, broken connections) that open the circuit."""
    recovery_timeout: Seconds = _BREAKER.recovery_timeout
    """How long an open circuit keeps every request away; after that one at a time probes the provider."""
    success_threshold: Count = _BREAKER.success_threshold
    """Probes in a row that must succeed to close the circuit again."""


class RawLlm(Raw):
    """One LLM provider."""

    provider: ProviderName | None = None
    """`openai` (any compatible service), `anthropic`, `ollama`, or `local` (in the process, no key).
    Without it no LLM is configured."""
    model: Name | None = None
    """The provider's name for the model. Only `local` has a default, the bundled model."""
    models: list[Name] | None = None
    """Several models of this provider, in place of `model`. The first is asked by default; a request's
    `modelPreferences` can choose another."""
    api_key_env: Name | None = None
    """Variable that holds the key. Default: `OPENAI_API_KEY` or `ANTHROPIC_API_KEY` with the provider's
    own address; with another `base_url` none, since a key is not sent elsewhere unasked."""
    base_url: Name | None = None
    """Address of a compatible service. Default: the provider's own."""
    timeout_seconds: Seconds = _PROVIDER.timeout
    """Limit of one attempt."""
    max_tokens: Count = _PROVIDER.max_tokens
    """Tokens of one answer at most; a request that asks for more gets this many."""
    temperature: Temperature | None = None
    """Used where the request names none. Default: the provider's own."""
    model_path: Name | None = None
    """For `local`: a GGUF file, relative to this file. Default: the bundled model."""
    max_concurrent: Count = _PROVIDER.max_concurrent
    """Requests to this provider in flight at once; further ones wait within their time limit."""
    max_queued: Annotated[int, Field(ge=0, le=100_000)] = _PROVIDER.max_queued
    """Requests that wait for a place; beyond that the next provider has its turn."""
    circuit_breaker: RawCircuitBreaker = Field(default_factory=RawCircuitBreaker)
    """When a provider that keeps failing is left alone, and for how long."""


class RawModel(Raw):
    """What is known of one model: what it is good at, how much it takes, what it costs."""

    name: Name
    """The name by which a provider offers it (`model`, `models`)."""
    provider: ProviderName | None = None
    """The provider that is meant, where two offer a model of this name."""
    aliases: list[Name] = Field(default_factory=list[str])
    """Other names whose hints mean this model, as those of other vendors' models that it can stand for."""
    cost: Score | None = None
    """How cheap it is, from 0 to 1 (cheapest). Default: from the prices, relative to the dearest one."""
    speed: Score | None = None
    """How fast it is, from 0 to 1 (fastest). Default: 0.5."""
    intelligence: Score | None = None
    """How capable it is, from 0 to 1 (most capable). Default: 0.5."""
    context_window: Count | None = None
    """Tokens of prompt and answer together; a request that does not fit is not given to it."""
    input_usd_per_million: Price | None = None
    """US dollars for a million tokens of prompts."""
    output_usd_per_million: Price | None = None
    """US dollars for a million tokens of answers."""


class RawBudget(Raw):
    """What may be spent on the LLM in one day (UTC)."""

    usd_per_day: Annotated[float, Field(gt=0)] | None = None
    """US dollars, by the prices in `models`."""
    tokens_per_day: Count | None = None
    """Tokens, of prompts and answers together."""
    on_exceeded: OnExceeded = "hard"
    """`hard` fails the LLM leg with E012, so that the next party is asked; `soft` warns in the log and in
    the decision."""


class RawCosts(Raw):
    """What callers may spend, and how much of what was spent is remembered."""

    each_principal: RawBudget | None = None
    """What each owner of an API key may spend; callers without a key are one."""
    principals: dict[Name, RawBudget] = Field(default_factory=dict[str, RawBudget])
    """What single owners may spend, in place of `each_principal`."""
    keep_days: Annotated[int, Field(ge=1, le=366)] = _COSTS.keep_days
    """Days that `GET /api/costs` can show."""
    max_rows: Annotated[int, Field(ge=1, le=1_000_000)] = _COSTS.max_rows
    """Rows kept of one day: one for each client, principal, server, tool and model that came together.
    What goes beyond is counted as `(others)`."""


class RawCache(Raw):
    """Answers of the LLM that are given again to the same request."""

    enabled: bool = _CACHE.enabled
    """`false` asks a model every time."""
    when: CachedWhen = _CACHE.when
    """`temperature_0`: only what is sampled at temperature 0. `always`: everything."""
    ttl_seconds: Seconds = _CACHE.ttl_seconds
    """How long an answer may be given again."""
    max_entries: Count = _CACHE.max_entries
    """Answers kept; the least recently used give way."""
    max_bytes: Count = _CACHE.max_bytes
    """The same in bytes."""
    shared: bool = _CACHE.shared
    """`true` gives an answer to any caller and server that asks the same. By default it is for the same
    principal (without a key: the same session) and server."""
