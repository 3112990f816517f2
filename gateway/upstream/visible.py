"""Which of a server's tools clients see and can call: `allow`, `deny`, and tools that need tasks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Final, cast

from gateway.calls.model import Json
from gateway.config.resolved import ServerConfig
from gateway.upstream.port import Hello, Listing

_TASK_CALLS: Final = ("tasks", "requests", "tools", "call")


def visible(config: ServerConfig, listing: Listing) -> Listing:
    """Return what clients may see of a listing: the same object if that is all of it."""
    tasks = _runs_tasks(listing.hello)
    if config.allow is None and not config.deny and not tasks:
        return listing
    shown = tuple(tool for tool in listing.tools if _hidden(config, tool, tasks=tasks) is None)
    return listing if len(shown) == len(listing.tools) else replace(listing, tools=shown)


def filtered(config: ServerConfig) -> bool:
    """Whether the configuration decides which of the server's tools are seen."""
    return config.allow is not None or bool(config.deny)


def notes(config: ServerConfig, listing: Listing) -> Iterator[str]:
    """Yield what people should know: the tools that are hidden and why, and patterns without any match."""
    tasks = _runs_tasks(listing.hello)
    hidden: dict[str, list[str]] = {}
    for tool in listing.tools:
        if (why := _hidden(config, tool, tasks=tasks)) is not None:
            hidden.setdefault(why, []).append(str(tool.get("name")))
    for why, names in hidden.items():
        yield f"hidden of server '{config.name}': {', '.join(names)}: {why}"
    names = [str(tool.get("name")) for tool in listing.tools]
    for key, patterns in (("allow", config.allow or ()), ("deny", config.deny)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                yield (
                    f"'{pattern}' in {key} of server '{config.name}' ({config.source}) matches no tool "
                    f"that it lists for a client without capabilities; patterns are of its own names, "
                    f"without the prefix"
                )


def _hidden(config: ServerConfig, tool: Json, *, tasks: bool) -> str | None:
    """Return why a tool is hidden, None if it is shown."""
    name = str(tool.get("name"))
    denied = next((pattern for pattern in config.deny if fnmatchcase(name, pattern)), None)
    if denied is not None:
        return f"deny has '{denied}'"
    if config.allow is not None and not any(fnmatchcase(name, pattern) for pattern in config.allow):
        return "no pattern of allow matches"
    if tasks and _object(tool.get("execution")).get("taskSupport") == "required":
        return "it can only be called as a task, and the gateway offers none"
    return None


def _runs_tasks(hello: Hello | None) -> bool:
    """Whether the server can run tools as tasks; else what its tools say of that counts for nothing.

    2025-11-25, basic/utilities/tasks, Tool-Level Negotiation. 2026-07-28 has no such tools: its
    tasks extension, which the gateway does not declare, leaves every tool callable.
    """
    if hello is None or hello.era != "handshake":
        return False
    value: Any = hello.capabilities
    for key in _TASK_CALLS:
        if key not in _object(value):
            return False
        value = value[key]
    return True


def _object(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}
