"""Reading capability files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from gateway.capabilities.descriptor import ToolEntry
from gateway.capabilities.raw import RawCapabilityFile, RawTool
from gateway.config.budgets import budget_rule
from gateway.config.conditions import choice
from gateway.config.levels import setting
from gateway.config.nearest import suggest
from gateway.config.raw_techniques import technique
from gateway.config.report import Report
from gateway.config.resolved import ServerConfig
from gateway.config.validate import validate
from gateway.config.yaml_source import Document, Key
from gateway.policy.model import Choice, Kind, Setting

SUFFIXES = (".yaml", ".yml")


def find_files(folder: Path) -> list[Path]:
    """Return the capability files of a folder, searched in depth, in a stable order."""
    return sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())


def load_entries(
    documents: Iterable[Document],
    servers: Sequence[ServerConfig],
    known: Iterable[str] | None,
    report: Report,
) -> tuple[ToolEntry, ...]:
    """Read the entries of all capability files.

    `servers` are those that will be started, `known` the names of all that are configured
    (None: unknown): an entry of a server that is switched off is left out in silence.
    """
    by_name = {server.name: server for server in servers}
    names = None if known is None else set(known)
    entries: dict[str, ToolEntry] = {}
    for document in documents:
        raw, problems = validate(RawCapabilityFile, document)
        report.problems.extend(problems)
        documented = False
        for index, tool in enumerate(raw.tools if raw else ()):
            key: Key = ("tools", index)
            documented = documented or _is_documented(tool)
            if tool.server is not None and tool.server not in by_name:
                if names is not None and tool.server not in names:
                    message = f"no server is called '{tool.server}', so this entry has no effect"
                    report.warning(document, (*key, "server"), message, suggest(tool.server, names))
                continue
            entry = _entry(tool, key, document, by_name, report)
            if entry.exposed in entries:
                message = f"the tool '{entry.exposed}' already has an entry ({entries[entry.exposed].source})"
                report.problem(document, key, message, "merge the two entries")
            entries.setdefault(entry.exposed, entry)
        if documented:
            message = "description and inputSchema are for readers; clients are shown the server's own"
            report.note(document, ("tools",), message)
    return tuple(entries.values())


def _entry(
    tool: RawTool, key: Key, document: Document, servers: dict[str, ServerConfig], report: Report
) -> ToolEntry:
    if tool.schema_camel is not None and tool.schema_snake is not None:
        message = "`inputSchema` and `input_schema` mean the same, and both are given"
        report.problem(document, key, message, "keep one of the two")
    strategies: dict[Kind, Setting[Choice]] = {}
    sampling = choice(document, (*key, "sampling_strategy"), tool.sampling_strategy)
    elicitation = choice(document, (*key, "elicitation_strategy"), tool.elicitation_strategy)
    if sampling is not None:
        strategies["sampling"] = sampling
    if elicitation is not None:
        strategies["elicitation"] = elicitation
    prefix = servers[tool.server].prefix if tool.server is not None else ""
    return ToolEntry(
        name=tool.name,
        exposed=prefix + tool.name,
        source=document.source(*key),
        server=tool.server,
        description=tool.description,
        input_schema=tool.schema_camel if tool.schema_camel is not None else tool.schema_snake,
        timeout=setting(document, (*key, "timeout_seconds"), tool.timeout_seconds),
        strategies=strategies,
        technique=technique(document, (*key, "sampling_technique"), tool.sampling_technique),
        min_confidence=setting(
            document, (*key, "elicitation_min_confidence"), tool.elicitation_min_confidence
        ),
        budget=budget_rule(document, (*key, "budget"), tool.budget, report),
    )


def _is_documented(tool: RawTool) -> bool:
    return not (tool.description is None and tool.schema_camel is None and tool.schema_snake is None)
