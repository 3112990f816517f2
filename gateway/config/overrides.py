"""Variables that replace keys: ``BACKCHANNEL_*``, and the older ``MCP_*`` names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from gateway.config.nearest import suggest
from gateway.config.yaml_source import Document, Key, dotted, parse_value
from gateway.errors import Problem

KnownKeys = Callable[[Key], Sequence[str] | None]
"""Says which keys may stand at a place: an empty list means any, None that it holds a plain value."""

PREFIX = "BACKCHANNEL_"
RESERVED = frozenset({"BACKCHANNEL_CONFIG", "BACKCHANNEL_PYTHON"})
"""Variables with the prefix that are no override: the configuration's name, and our interpreter."""

MCP_VARIABLES: Mapping[str, str | None] = {
    "MCP_TEMPERATURE": "temperature",
    "MCP_MAX_TOKENS": "max_tokens",
    "MCP_REQUEST_TIMEOUT": "timeout_seconds",
    "MCP_MAX_RETRIES": "max_retry_attempts",
    "MCP_ROUTING_THRESHOLD": None,
    "MCP_PREFER_SPEED": None,
    "MCP_ENABLE_CACHE": "cache.enabled",
    "MCP_MODEL_PREF": None,
    "MCP_CB_FAILURE_THRESHOLD": "circuit_breaker.failure_threshold",
    "MCP_CB_RECOVERY_TIMEOUT": "circuit_breaker.recovery_timeout",
    "MCP_CB_SUCCESS_THRESHOLD": "circuit_breaker.success_threshold",
    "MCP_RETRY_DELAY_MS": None,
    "MCP_ENABLE_SANITIZATION": None,
    "MCP_ENABLE_SECRETS_SCAN": None,
    "MCP_MAX_PROMPT_LENGTH": None,
}
"""The older names and the key each one sets; None has no meaning here and is warned about."""


def apply_overrides(
    document: Document, environ: Mapping[str, str], known_keys: KnownKeys, ignored: Iterable[str] = ()
) -> list[Problem]:
    """Let ``BACKCHANNEL_A__B=value`` replace the key ``a.b`` of a document, in place.

    Names match keys whatever their case, with ``_`` for ``-``; a number is an index of a list;
    values are YAML. `ignored` are variables with the prefix that have another use.
    """
    problems: list[Problem] = []
    skip = RESERVED.union(ignored)
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in skip:
            problem = _override(document, name, environ[name], known_keys)
            if problem is not None:
                problems.append(problem)
    return problems


def _override(document: Document, name: str, text: str, known_keys: KnownKeys) -> Problem | None:
    try:
        value = parse_value(text)
    except ValueError as error:
        return Problem(f"${name}", "", f"the value is not valid YAML: {error}", "quote it, or correct it")
    key: Key = ()
    for part in name.removeprefix(PREFIX).split("__"):
        known = known_keys(key)
        step = None if known is None else _step(get(document.data, key), part, known)
        if step is None:
            where = dotted((*key, part.lower()))
            return Problem(f"${name}", where, "is not a key", suggest(part.lower(), known or ()))
        key = (*key, step)
    put(document.data, key, value)
    document.origins[key] = f"${name}"
    return None


def _step(current: Any, part: str, known: Sequence[str]) -> str | int | None:
    """Return the key or index that one part of a variable's name stands for."""
    if isinstance(current, list):
        items = cast("list[Any]", current)
        return int(part) if part.isdigit() and int(part) < len(items) else None
    present = list(cast("dict[str, Any]", current)) if isinstance(current, dict) else []
    for candidate in (*known, *present):
        if _plain(candidate) == _plain(part):
            return candidate
    return None if known or not part else part.lower()


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", name.lower())


def apply_mcp_variables(document: Document, environ: Mapping[str, str]) -> list[str]:
    """Let the older ``MCP_*`` names replace their keys, in place; returns warnings."""
    warnings: list[str] = []
    for name, setting in MCP_VARIABLES.items():
        if name not in environ:
            continue
        if setting is None:
            warnings.append(f"${name} has no effect in this gateway; unset it")
            continue
        value = parse_or_text(environ[name])
        places = list(_mcp_places(document.data, setting))
        for place in places:
            put(document.data, place, value)
            document.origins[place] = f"${name}"
        if not places:
            warnings.append(f"${name} has no effect: no llm_config is configured")
    return warnings


def parse_or_text(text: str) -> Any:
    """Parse a value as YAML, and take it as plain text where it is none."""
    try:
        return parse_value(text)
    except ValueError:
        return text


def _mcp_places(data: dict[str, Any], setting: str) -> Iterable[Key]:
    """Yield where an older name's setting belongs: the cache's, retries per kind, the rest per provider."""
    if setting.startswith("cache."):
        yield ("sampling", *setting.split("."))
        return
    for kind in ("sampling", "elicitation"):
        if setting == "max_retry_attempts":
            yield (kind, setting)
            routing: Key = ("external_mcp", "external_routing", kind)
            if isinstance(get(data, (*routing, setting)), int | str):
                yield (*routing, setting)
            continue
        if isinstance(get(data, (kind, "llm_config")), dict):
            yield (kind, "llm_config", *setting.split("."))
        chain = get(data, (kind, "llm_configs"))
        if isinstance(chain, list):
            for index, entry in enumerate(cast("list[Any]", chain)):
                if isinstance(entry, dict):
                    yield (kind, "llm_configs", index, *setting.split("."))


def get(data: Any, key: Key) -> Any:
    """Return what stands at a place, None where nothing does."""
    for part in key:
        if isinstance(data, dict):
            data = cast("dict[Any, Any]", data).get(part)
        elif isinstance(data, list) and isinstance(part, int):
            data = cast("list[Any]", data)[part]
        else:
            return None
    return data


def put(data: dict[str, Any], key: Key, value: Any) -> None:
    """Set one value, making the mappings around it where they are missing."""
    current: Any = data
    for part in key[:-1]:
        if isinstance(part, str) and not isinstance(current.get(part), dict | list):
            current[part] = {}
        current = current[part]
    current[key[-1]] = value
