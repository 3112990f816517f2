"""The shape of what is said about language models: providers, and what protects them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.config.raw_base import Count, Name, Raw, Seconds, Temperature
from gateway.config.resolved import CircuitBreaker, ProviderConfig, ProviderName
from gateway.policy.model import Source

_PROVIDER = ProviderConfig("local", "", Source("", ""))
_BREAKER = CircuitBreaker()


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
