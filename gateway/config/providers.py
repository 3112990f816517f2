"""LLM providers and API keys: what is configured, joined with the secrets it names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from gateway.config.models import build_models
from gateway.config.raw import RawAuth, RawElicitation, RawGateway, RawSampling
from gateway.config.raw_llm import RawLlm
from gateway.config.report import Report
from gateway.config.resolved import ApiKey, CircuitBreaker, LlmConfig, ProviderConfig, ProviderName
from gateway.config.servers import beside, url_problem
from gateway.config.yaml_source import Document, Key
from gateway.policy.model import Kind

LOCAL_MODEL = "smollm2-135m-instruct"
"""The bundled model's name."""

_DEFAULT_KEY_ENV = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
_OFFICIAL = {
    "openai": ("https://api.openai.com/v1", "https://api.openai.com"),
    "anthropic": ("https://api.anthropic.com", "https://api.anthropic.com/v1"),
}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_MIN_STATE_KEY = 32


def build_llms(
    raw: RawGateway, document: Document, environ: Mapping[str, str], report: Report
) -> tuple[LlmConfig, LlmConfig]:
    """Return the chains for sampling and for elicitation, which defaults to sampling's."""
    sampling = _chain("sampling", raw.sampling, document, environ, report)
    elicitation = _chain("elicitation", raw.elicitation, document, environ, report)
    chains = (sampling or LlmConfig(), elicitation or sampling or LlmConfig())
    providers = {provider.source: provider for chain in chains for provider in chain.providers}
    models = build_models(raw.models, providers.values(), document, report)
    return replace(chains[0], models=models), replace(chains[1], models=models)


def _chain(
    kind: Kind,
    block: RawSampling | RawElicitation,
    document: Document,
    environ: Mapping[str, str],
    report: Report,
) -> LlmConfig | None:
    entries: list[tuple[Key, RawLlm]] = []
    if block.llm_config is not None:
        entries.append(((kind, "llm_config"), block.llm_config))
    if block.llm_configs is not None:
        if entries:
            fix = "list every provider in `llm_configs`"
            report.problem(document, (kind, "llm_configs"), "stands beside `llm_config`", fix)
        entries += [((kind, "llm_configs", index), llm) for index, llm in enumerate(block.llm_configs)]
    if not entries:
        return None
    for key, llm in entries:
        if llm.provider is None:
            fix = "add `provider: openai`, `anthropic`, `ollama` or `local`"
            report.warning(document, key, "names no provider, so it configures no LLM", fix)
    providers = [
        _provider(key, llm, llm.provider, document, environ, report)
        for key, llm in entries
        if llm.provider is not None
    ]
    return LlmConfig(tuple(providers)) if providers else None


def _provider(
    key: Key,
    llm: RawLlm,
    provider: ProviderName,
    document: Document,
    environ: Mapping[str, str],
    report: Report,
) -> ProviderConfig:
    path = beside(document, llm.model_path) if llm.model_path else None
    _check_provider(key, llm, path, document, report)
    key_env = _key_env(llm)
    names = tuple(llm.models or ())
    return ProviderConfig(
        provider=provider,
        model=llm.model or (names[0] if names else path.stem if path else LOCAL_MODEL),
        source=document.source(*key),
        api_key=_api_key(key, llm, key_env, document, environ, report),
        api_key_env=key_env,
        base_url=llm.base_url,
        timeout=llm.timeout_seconds,
        max_tokens=llm.max_tokens,
        temperature=llm.temperature,
        model_path=path,
        max_concurrent=llm.max_concurrent,
        max_queued=llm.max_queued,
        circuit_breaker=CircuitBreaker(**llm.circuit_breaker.model_dump()),
        models=names,
    )


def _check_provider(key: Key, llm: RawLlm, path: Path | None, document: Document, report: Report) -> None:
    """Refuse what the named provider has no use for, and what it lacks."""
    local = llm.provider == "local"
    if llm.model is None and llm.models is None and not local:
        report.lack(document, key, "the key 'model' is missing", "add `model:` with the model's name")
    _check_models(key, llm, document, report)
    for name in ("base_url", "api_key_env", "models") if local else ("model_path",):
        if getattr(llm, name) is not None:
            message = f"has no meaning for provider {llm.provider}"
            report.problem(document, (*key, name), message, "remove it, or choose another provider")
    if local and path is not None and not path.is_file():
        message = f"there is no file {path}"
        report.problem(document, (*key, "model_path"), message, "name an existing GGUF file")
    wrong = url_problem(llm.base_url) if llm.base_url else None
    if wrong is not None and not local:
        report.problem(document, (*key, "base_url"), wrong[0], "write http://host:port/path")


def _check_models(key: Key, llm: RawLlm, document: Document, report: Report) -> None:
    names, at = llm.models, (*key, "models")
    if names is None:
        return
    if llm.model is not None:
        report.problem(
            document, at, "stands beside `model`", "list every model in `models`, the default first"
        )
    if not names:
        report.lack(document, at, "names no model", "list at least one, the default first")
    for name in sorted({name for name in names if names.count(name) > 1}):
        report.problem(document, at, f"names '{name}' twice", "remove one of the two")


def _key_env(llm: RawLlm) -> str | None:
    """Return the variable that holds the key; the default one only for the provider's own address."""
    if llm.api_key_env is not None or llm.provider is None or llm.provider not in _DEFAULT_KEY_ENV:
        return llm.api_key_env
    if llm.base_url is None or llm.base_url.rstrip("/") in _OFFICIAL[llm.provider]:
        return _DEFAULT_KEY_ENV[llm.provider]
    return None


def _api_key(
    key: Key,
    llm: RawLlm,
    key_env: str | None,
    document: Document,
    environ: Mapping[str, str],
    report: Report,
) -> str | None:
    if key_env is not None:
        at = (*key, "api_key_env") if llm.api_key_env else key
        return _secret(at, key_env, f"provider {llm.provider} has no API key", document, environ, report)
    if llm.provider == "anthropic":
        fix = "name the variable that holds this service's key in `api_key_env`"
        report.problem(document, key, "provider anthropic has no API key", fix)
    return None


def build_keys(
    auth: RawAuth | None, document: Document, environ: Mapping[str, str], report: Report
) -> tuple[ApiKey, ...]:
    """Return the hashes of the keys that are accepted; the keys themselves are not kept."""
    if auth is None:
        return ()
    if not auth.keys:
        fix = "list keys as {principal, key_env}, or remove the `auth` block"
        report.lack(document, ("auth",), "has no keys, so nobody could connect", fix)
    keys: dict[str, ApiKey] = {}
    for index, raw in enumerate(auth.keys):
        at: Key = ("auth", "keys", index)
        if (raw.key_env is None) == (raw.sha256 is None):
            fix = "write `key_env` or `sha256`"
            report.lack(document, at, "needs exactly one of `key_env` and `sha256`", fix)
            continue
        digest = (raw.sha256 or "").lower()
        if raw.key_env is not None:
            owner = f"the key of {raw.principal} is missing"
            secret = _secret((*at, "key_env"), raw.key_env, owner, document, environ, report)
            digest = hashlib.sha256(secret.encode()).hexdigest() if secret else ""
        if digest in keys and digest:
            fix = "give every entry a key of its own"
            report.problem(document, at, f"is the same key as that of '{keys[digest].principal}'", fix)
        keys[digest] = ApiKey(raw.principal, digest)
    return tuple(key for digest, key in keys.items() if digest)


def build_state_keys(
    name: str | None, document: Document, environ: Mapping[str, str], report: Report
) -> tuple[str, ...]:
    """Return the secrets that seal what travels through clients; the first one seals."""
    if name is None:
        return ()
    at: Key = ("state_keys_env",)
    text = _secret(at, name, "the sealing keys are missing", document, environ, report)
    keys = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    if any(len(key.encode()) < _MIN_STATE_KEY for key in keys):
        fix = "make one with: python3 -c 'import secrets; print(secrets.token_hex(32))'"
        report.problem(document, at, f"${name} holds a key of fewer than {_MIN_STATE_KEY} bytes", fix)
    if len(set(keys)) != len(keys):
        report.problem(document, at, f"${name} holds the same key twice", "remove one of the two")
    return keys


def _secret(
    key: Key, name: str, without: str, document: Document, environ: Mapping[str, str], report: Report
) -> str | None:
    """Read a secret from its variable; empty counts as missing. `without` says what is lacking."""
    if not _VARIABLE.match(name):
        # Not quoted: it may be the secret itself, written in the wrong place.
        fix = "write the name of an environment variable that holds the secret, not the secret"
        report.problem(document, key, "does not name an environment variable", fix)
        return None
    value = environ.get(name, "").strip()
    if not value:
        message = f"{without}: the variable {name} is not set"
        report.problem(document, key, message, f"set {name} in the environment or in .env")
        return None
    return value
