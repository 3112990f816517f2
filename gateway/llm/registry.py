"""From configuration to the chain of providers: the one place that names the classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace

from gateway.config.resolved import LlmConfig, ProviderConfig
from gateway.errors import ConfigurationError, Problem
from gateway.llm import local, openai
from gateway.llm.anthropic import Anthropic
from gateway.llm.breaker import Breaker
from gateway.llm.chain import Chain, Link, Service
from gateway.llm.local import Local
from gateway.llm.ollama import Ollama
from gateway.llm.openai import OpenAi
from gateway.llm.port import Provider
from gateway.llm.slots import Slots

Services = MutableMapping[ProviderConfig, Service]


def build_llm(config: LlmConfig, services: Services | None = None) -> Chain:
    """Build the chain, in the order of the configuration; it may be empty.

    The SDKs of the providers that are used are imported here, no others. A provider that is in
    `services` already, from another chain, shares its circuit and its places with that chain.

    Raises:
        ConfigurationError: with the problems of all providers: a key that is not set (the
            message names the variable), or a piece of the local model that is missing.
    """
    problems = [problem for provider in config.providers for problem in provider_problems(provider)]
    if problems:
        raise ConfigurationError(problems)
    shared: Services = {} if services is None else services
    return Chain(
        [_link(provider, model, config, shared) for provider in config.providers for model in provider.offers]
    )


def calls_tools(config: LlmConfig) -> bool:
    """Whether a provider of the chain can answer a prompt with tools, as `local` cannot."""
    return any(provider.provider != "local" for provider in config.providers)


def provider_problems(config: ProviderConfig) -> list[Problem]:
    """Return what keeps this provider from being built, without building it or asking it."""
    found: list[tuple[str, str]] = []
    if config.provider == "local":
        found = local.problems(config.model, config.model_path)
    elif not config.api_key and _needs_key(config):
        variable = config.api_key_env or f"{config.provider.upper()}_API_KEY"
        found = [
            (
                f"provider {config.provider} (model {config.model}) has no API key: "
                f"the environment variable {variable} is not set",
                f"set {variable} in the environment or in .env, or name another variable in api_key_env",
            )
        ]
    source = config.source
    return [Problem(source.file, source.path, what, fix, source.line) for what, fix in found]


def _needs_key(config: ProviderConfig) -> bool:
    """Compatible services and Ollama often have no keys; a key that was named must be there."""
    if config.api_key_env:
        return True
    return config.provider == "anthropic" or (
        config.provider == "openai" and (config.base_url or openai.OFFICIAL).rstrip("/") == openai.OFFICIAL
    )


def _link(config: ProviderConfig, model: str, llm: LlmConfig, services: Services) -> Link:
    """One model of a provider; all of them share its circuit and its places."""
    if config not in services:
        name = f"{config.provider} (model {config.model})"
        services[config] = Service(
            Breaker(name, config.circuit_breaker), Slots(name, config.max_concurrent, config.max_queued)
        )
    return Link(
        _BUILDERS[config.provider](replace(config, model=model)),
        timeout=config.timeout,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        service=services[config],
        known=next((one for one in llm.models if one.is_of(config.provider, model)), None),
        default=model == config.model,
    )


def _openai(config: ProviderConfig) -> Provider:
    return OpenAi(
        model=config.model, api_key=config.api_key, api_key_env=config.api_key_env, base_url=config.base_url
    )


def _anthropic(config: ProviderConfig) -> Provider:
    return Anthropic(
        model=config.model,
        api_key=config.api_key or "",
        api_key_env=config.api_key_env,
        base_url=config.base_url,
    )


def _ollama(config: ProviderConfig) -> Provider:
    return Ollama(
        model=config.model, api_key=config.api_key, api_key_env=config.api_key_env, base_url=config.base_url
    )


def _local(config: ProviderConfig) -> Provider:
    return Local(model=config.model, model_path=config.model_path)


_BUILDERS: Mapping[str, Callable[[ProviderConfig], Provider]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "ollama": _ollama,
    "local": _local,
}
