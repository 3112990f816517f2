"""External servers, from the gateway's file and from a servers file, merged and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gateway.config.budgets import budget_rule
from gateway.config.conditions import choice
from gateway.config.levels import OwnStrategies, setting
from gateway.config.nearest import suggest
from gateway.config.raw import RawExternalMcp
from gateway.config.raw_base import Passing
from gateway.config.raw_servers import TRANSPORTS, RawServer, RawServersFile, TransportWord
from gateway.config.raw_techniques import technique
from gateway.config.report import Report
from gateway.config.resolved import NEVER_PASSED, Extensions, Isolation, ServerConfig
from gateway.config.yaml_source import Document, Key
from gateway.policy.model import Layer, Source

DEFAULT_FILES = ("external_mcp_servers.yaml", "external_mcp_servers.yml", "external_mcp_servers.json")

_SUPPORTED = "use a `command` (stdio), or an http:// or https:// `url` with type http or sse"
_WEBSOCKET = frozenset({"ws", "wss", "websocket"})
_PREFIX = re.compile(r"[A-Za-z0-9_.-]*\Z")
_FRAMING = frozenset({"connection", "content-length", "expect", "te", "transfer-encoding", "upgrade"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_ISOLATION: dict[TransportWord, Isolation] = {"stdio": "session", "sse": "session", "http": "shared"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One server as written, and where."""

    name: str
    raw: RawServer
    document: Document
    key: Key

    @property
    def source(self) -> Source:
        """Where the entry begins."""
        return self.document.source(*self.key)


def listed(external: RawExternalMcp, document: Document) -> list[Entry]:
    """Return the entries of `external_mcp.servers`."""
    return [
        Entry(raw.name, raw, document, ("external_mcp", "servers", index))
        for index, raw in enumerate(external.servers)
    ]


def filed(raw: RawServersFile, document: Document) -> list[Entry]:
    """Return the entries of a servers file."""
    return [Entry(name, server, document, ("mcpServers", name)) for name, server in raw.mcp_servers.items()]


def build_servers(
    entries: Iterable[Entry], extensions: Mapping[str, Passing], report: Report
) -> tuple[tuple[ServerConfig, ...], tuple[OwnStrategies, ...]]:
    """Check and complete the servers that are enabled, in the order they are written.

    `extensions` holds where a server's own entry does not say otherwise.
    """
    seen: dict[str, Entry] = {}
    prefixes: dict[str, str] = {}
    servers: list[ServerConfig] = []
    own: list[OwnStrategies] = []
    for entry in entries:
        if entry.name in seen:
            message = f"the server '{entry.name}' is already defined ({seen[entry.name].source})"
            report.problem(entry.document, entry.key, message, "rename or remove one of the two")
            continue
        seen[entry.name] = entry
        if not entry.raw.enabled:
            continue
        own.append(_own(entry))
        server = _server(entry, extensions, report)
        if server is None:
            continue
        servers.append(server)
        if server.prefix and server.prefix in prefixes:
            message = f"the servers '{prefixes[server.prefix]}' and '{server.name}' have the same prefix"
            report.warning(entry.document, entry.key, message, "give one of them another `prefix`")
        prefixes[server.prefix] = server.name
    return tuple(servers), tuple(own)


def _own(entry: Entry) -> OwnStrategies:
    document, key, raw = entry.document, entry.key, entry.raw
    sampling, elicitation = (*key, "sampling_strategy"), (*key, "elicitation_strategy")
    return OwnStrategies(
        entry.name,
        {
            "sampling": Layer(
                str(Source(document.file, document.source(*sampling).path)),
                choice(document, sampling, raw.sampling_strategy),
                technique=technique(document, (*key, "sampling_technique"), raw.sampling_technique),
            ),
            "elicitation": Layer(
                str(Source(document.file, document.source(*elicitation).path)),
                choice(document, elicitation, raw.elicitation_strategy),
                min_confidence=setting(
                    document, (*key, "elicitation_min_confidence"), raw.elicitation_min_confidence
                ),
            ),
        },
    )


def _server(entry: Entry, extensions: Mapping[str, Passing], report: Report) -> ServerConfig | None:
    before = len(report.problems)
    raw = entry.raw
    _check_name(entry, report)
    transport = _transport(entry, report)
    url = _url(entry, report) if transport != "stdio" else ""
    _check_headers(entry, report)
    _check_patterns(entry, report)
    check_extensions(raw.extensions, entry.document, entry.key, report)
    if transport is None or len(report.problems) > before:
        return None
    return ServerConfig(
        name=entry.name,
        transport=transport,
        source=entry.source,
        command=raw.command or "",
        args=tuple(raw.args),
        env=dict(raw.env),
        cwd=_cwd(entry, report),
        url=url,
        headers=dict(raw.headers),
        prefix=_prefix(entry),
        allow=None if raw.allow is None else tuple(raw.allow),
        deny=tuple(raw.deny),
        extensions=_extensions(extensions, raw.extensions),
        isolation=raw.isolation or _ISOLATION[transport],
        max_lanes=raw.max_lanes,
        era=raw.era,
        lane_idle_seconds=raw.lane_idle_seconds,
        start_timeout=raw.start_timeout_seconds,
        timeout=raw.timeout_seconds,
        max_questions=raw.max_questions,
        max_rounds=raw.max_rounds,
        max_concurrent_questions=raw.max_concurrent_questions,
        max_concurrent_calls=raw.max_concurrent_calls,
        max_queued_calls=raw.max_queued_calls,
        budget=budget_rule(entry.document, (*entry.key, "budget"), raw.budget, report),
    )


def _transport(entry: Entry, report: Report) -> TransportWord | None:
    """Decide the transport; None after a problem was recorded."""
    raw, document, key = entry.raw, entry.document, entry.key
    given = raw.url or raw.endpoint
    word = (raw.type or ("stdio" if raw.command else "http")).lower()
    if word in _WEBSOCKET:
        report.problem(document, (*key, "type"), "the WebSocket transport is not supported", _SUPPORTED)
        return None
    if word not in TRANSPORTS:
        message = f"'{raw.type}' is not a transport"
        report.problem(document, (*key, "type"), message, suggest(word, TRANSPORTS))
        return None
    if raw.command and given:
        report.problem(document, key, "has both a `command` and a `url`", "keep one of the two")
        return None
    if not raw.command and not given:
        report.lack(document, key, "has neither a `command` nor a `url`", _SUPPORTED)
        return None
    transport = TRANSPORTS[word]
    if (transport == "stdio") != bool(raw.command):
        message = f"type '{raw.type}' does not go with a `{'command' if raw.command else 'url'}`"
        report.problem(document, (*key, "type"), message, "remove `type`, or correct it")
        return None
    foreign = ("headers",) if transport == "stdio" else ("args", "env", "cwd")
    for name in foreign:
        if getattr(raw, name):
            message = f"has no meaning for a server of type {transport}"
            report.problem(document, (*key, name), message, "remove it")
    return transport


def _url(entry: Entry, report: Report) -> str:
    raw, document = entry.raw, entry.document
    if raw.url and raw.endpoint:
        message = "`url` and `endpoint` mean the same, and both are given"
        report.problem(document, entry.key, message, "keep one of the two")
    url = raw.url or raw.endpoint or ""
    key = (*entry.key, "url" if raw.url else "endpoint")
    problem = url_problem(url)
    if url and problem is not None:
        report.problem(document, key, *problem)
    return url


def url_problem(url: str) -> tuple[str, str] | None:
    """Return what is wrong with an HTTP address, and the fix. The address itself is not quoted."""
    try:
        parts = urlsplit(url)
        host, port, scheme = parts.hostname, parts.port, parts.scheme.lower()
    except ValueError as error:
        return f"is not an address: {error}", "write http://host:port/path"
    if scheme in _WEBSOCKET:
        return f"the WebSocket transport ({scheme}://) is not supported", _SUPPORTED
    if scheme not in ("http", "https"):
        return "is not an http:// or https:// address", "write http://host:port/path"
    if not host or port == 0:
        return "names no host to connect to", "write http://host:port/path"
    if parts.username is not None or parts.password is not None:
        return "holds credentials", "send them in `headers`, from a variable: Authorization: Bearer ${TOKEN}"
    return None


def _check_name(entry: Entry, report: Report) -> None:
    if not entry.name.isprintable() or entry.name != entry.name.strip():
        report.problem(
            entry.document,
            entry.key,
            "the server's name has blanks or control characters around it",
            "write a plain name",
        )
    if not _PREFIX.match(_prefix(entry)):
        key = (*entry.key, "prefix")
        fix = "use letters, digits, `_`, `-` and `.` only, or `none`"
        report.problem(entry.document, key, "cannot be part of a tool's name", fix)


def _check_headers(entry: Entry, report: Report) -> None:
    for name, value in entry.raw.headers.items():
        if not _HEADER_NAME.match(name) or any(sign in value for sign in "\r\n\0"):
            fix = "a header is one line: `Name: value`"
            report.problem(entry.document, (*entry.key, "headers", name), "is not a usable header", fix)
        elif name.lower() in _FRAMING:
            key = (*entry.key, "headers", name)
            report.problem(entry.document, key, "is a header of the gateway's own", "remove it")


def _check_patterns(entry: Entry, report: Report) -> None:
    if entry.raw.allow is not None and not entry.raw.allow:
        fix = "remove it, or name the tools that are to be seen"
        report.warning(entry.document, (*entry.key, "allow"), "an empty list hides every tool", fix)


def check_extensions(extensions: Mapping[str, Passing], document: Document, key: Key, report: Report) -> None:
    """Refuse to let through what the gateway cannot carry; `key` is where `extensions` stands."""
    for identifier, passing in extensions.items():
        if passing == "allow" and (why := NEVER_PASSED.get(identifier)) is not None:
            place = (*key, "extensions", identifier)
            report.problem(document, place, f"the extension cannot pass: {why}", "remove it")


def _extensions(everywhere: Mapping[str, Passing], own: Mapping[str, Passing]) -> Extensions:
    """Merge: a server's own `*` stands before whatever is said for all servers."""
    said = dict(own) if "*" in own else {**everywhere, **own}
    others = said.pop("*", "allow") == "allow"
    return Extensions({name: passing == "allow" for name, passing in said.items()}, others)


def _prefix(entry: Entry) -> str:
    given = entry.raw.prefix
    if given is None:
        return re.sub(r"[^A-Za-z0-9_.-]", "_", entry.name) + "__"
    return "" if given.lower() == "none" else given


def _cwd(entry: Entry, report: Report) -> Path | None:
    """Resolve the working directory against the file that names it."""
    if entry.raw.cwd is None:
        return None
    cwd = beside(entry.document, entry.raw.cwd)
    if not cwd.is_dir():
        fix = "create it, or correct the path; until then the server cannot start"
        report.warning(entry.document, (*entry.key, "cwd"), f"there is no folder {cwd}", fix)
    return cwd


def beside(document: Document, name: str) -> Path:
    """Return the absolute path that a name in a document stands for."""
    return Path(os.path.abspath(Path(document.file).parent / Path(name).expanduser()))
