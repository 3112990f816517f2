"""Matching capability entries with the tools that servers really list."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from gateway.capabilities.descriptor import ToolEntry


def unmatched(entries: Iterable[ToolEntry], exposed_names: Collection[str]) -> tuple[ToolEntry, ...]:
    """Return the entries that name no listed tool.

    `exposed_names` are the tool names of all servers as clients see them. Entries of a
    server that is down match nothing, so ask again once its listing is known.
    """
    return tuple(entry for entry in entries if entry.exposed not in exposed_names)


def warning(entry: ToolEntry, exposed_names: Collection[str]) -> str:
    """Say that an entry matches no tool, and which tool it may have meant."""
    close = difflib.get_close_matches(entry.exposed, exposed_names, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{entry.source}: no tool is called '{entry.exposed}', so this entry has no effect{hint}"
