"""The policy part of the configuration: what each of the five levels says of each kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.capabilities.descriptor import ToolEntry
from gateway.config.conditions import choice
from gateway.config.nearest import suggest
from gateway.config.raw import (
    RawElicitation,
    RawElicitationRouting,
    RawGateway,
    RawKindRouting,
    RawSampling,
    RawSamplingRouting,
)
from gateway.config.raw_techniques import technique
from gateway.config.report import Report
from gateway.config.resolved import ServerConfig
from gateway.config.yaml_source import Document, Key
from gateway.policy.model import Both, Kind, KindPolicy, Layer, Policy, Setting, Source, Weights

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OwnStrategies:
    """What a server's own entry says about who answers it (level 2), by kind."""

    server: str
    layers: Mapping[Kind, Layer]


def setting(document: Document, key: Key, value: T | None) -> Setting[T] | None:
    """Join a value with the place it is written; None stays None."""
    return None if value is None else Setting(value, document.source(*key))


def build_policy(
    raw: RawGateway,
    document: Document,
    servers: Iterable[ServerConfig],
    known: Iterable[str] | None,
    own: Iterable[OwnStrategies],
    tools: Iterable[ToolEntry],
    report: Report,
) -> Policy:
    """Collect what every level says.

    `servers` are those that will be started, `known` the names of all that are configured
    (None: unknown, since external servers are switched off).
    """
    known = None if known is None else tuple(known)
    builder = _Builder(raw, document, tuple(servers), known, tuple(own), tuple(tools), report)
    return Policy(
        sampling=builder.kind("sampling", raw.sampling, raw.external_mcp.external_routing.sampling),
        elicitation=builder.kind(
            "elicitation", raw.elicitation, raw.external_mcp.external_routing.elicitation
        ),
    )


@dataclass(frozen=True, slots=True)
class _Builder:
    raw: RawGateway
    document: Document
    servers: tuple[ServerConfig, ...]
    known: tuple[str, ...] | None
    own: tuple[OwnStrategies, ...]
    tools: tuple[ToolEntry, ...]
    report: Report

    def kind(self, kind: Kind, block: RawSampling | RawElicitation, routing: RawKindRouting) -> KindPolicy:
        document, smart = self.document, self.raw.smart_discovery
        tools = {entry.exposed: self.tool(kind, entry) for entry in self.tools if _speaks(entry, kind)}
        return KindPolicy(
            enabled=Setting(block.enabled, document.source(kind, "enabled")),
            organization=self.organization(kind, block),
            smart_discovery=self.smart_discovery(kind),
            smart_discovery_enabled=smart is not None and smart.enabled,
            external_default=self.external_default(kind, routing),
            external_enabled=self.raw.external_mcp.external_routing.enabled,
            tools=tools,
            server_overrides=self.overrides(kind, routing),
            servers={entry.server: entry.layers[kind] for entry in self.own},
            unsolicited_llm=block.unsolicited == "own_llm",
            both=self.both(block),
            tool_servers={
                entry.exposed: self.owners(entry) for entry in self.tools if entry.exposed in tools
            },
        )

    def tool(self, kind: Kind, entry: ToolEntry) -> Layer:
        said = entry.strategies.get(kind)
        where = said.source if said is not None else entry.source
        path = str(where) if said is not None else f"{where}.{kind}_strategy"
        if kind == "sampling":
            return Layer(path, said, technique=entry.technique)
        return Layer(path, said, min_confidence=entry.min_confidence)

    def owners(self, entry: ToolEntry) -> tuple[str, ...]:
        """Return the servers that can have a tool of this name, going by their prefixes."""
        if entry.server is not None:
            return (entry.server,)
        return tuple(server.name for server in self.servers if entry.exposed.startswith(server.prefix))

    def organization(self, kind: Kind, block: RawSampling | RawElicitation) -> Layer:
        name = f"default_{kind}_strategy"
        value: Any = getattr(block, name)
        return Layer(
            self.unset(kind, name),
            choice(self.document, (kind, name), value),
            setting(self.document, (kind, "fallback_to_magictunnel"), block.fallback_to_magictunnel),
            setting(self.document, (kind, "default_timeout_seconds"), block.default_timeout_seconds),
            max_attempts=self.attempts((kind, "max_retry_attempts"), block.max_retry_attempts),
            technique=technique(
                self.document,
                (kind, "default_sampling_technique"),
                block.default_sampling_technique if isinstance(block, RawSampling) else None,
            ),
            min_confidence=self.floor((kind,), block),
        )

    def smart_discovery(self, kind: Kind) -> Layer:
        smart, name = self.raw.smart_discovery, f"default_{kind}_strategy"
        path = self.unset("smart_discovery", name)
        if smart is None:
            return Layer(path)
        value: Any = getattr(smart, name)
        timeout = smart.proxy_timeout_secs
        return Layer(
            path,
            choice(self.document, ("smart_discovery", name), value),
            client_timeout=setting(self.document, ("smart_discovery", "proxy_timeout_secs"), timeout),
            technique=technique(
                self.document,
                ("smart_discovery", "default_sampling_technique"),
                smart.default_sampling_technique if kind == "sampling" else None,
            ),
        )

    def external_default(self, kind: Kind, routing: RawKindRouting) -> Layer:
        at: Key = ("external_mcp", "external_routing", kind)
        timeout = setting(self.document, (*at, "timeout_seconds"), routing.timeout_seconds)
        return Layer(
            self.unset(*at, "default_strategy"),
            choice(self.document, (*at, "default_strategy"), routing.default_strategy),
            setting(self.document, (*at, "fallback_to_magictunnel"), routing.fallback_to_magictunnel),
            client_timeout=timeout,
            llm_timeout=timeout,
            max_attempts=self.attempts((*at, "max_retry_attempts"), routing.max_retry_attempts),
            technique=technique(
                self.document,
                (*at, "default_technique"),
                routing.default_technique if isinstance(routing, RawSamplingRouting) else None,
            ),
            min_confidence=self.floor(at, routing),
        )

    def overrides(self, kind: Kind, routing: RawKindRouting) -> dict[str, Layer]:
        above: Key = ("external_mcp", "external_routing", kind)
        who, how = (*above, "server_strategies"), (*above, "server_techniques")
        strategies = routing.server_strategies
        techniques = routing.server_techniques if isinstance(routing, RawSamplingRouting) else {}
        for at, named in ((who, strategies), (how, techniques)):
            self.check_known(at, named)
        return {
            name: Layer(
                self.unset(*who, name),
                choice(self.document, (*who, name), strategies.get(name)),
                technique=technique(self.document, (*how, name), techniques.get(name)),
            )
            for name in (*strategies, *(name for name in techniques if name not in strategies))
        }

    def check_known(self, at: Key, named: Iterable[str]) -> None:
        """Warn of names that no server has."""
        for name in named:
            if self.known is not None and name not in self.known:
                fix = suggest(name, self.known) if self.known else "define the server, or remove the entry"
                self.report.warning(self.document, (*at, name), f"no server is called '{name}'", fix)

    def both(self, block: RawSampling | RawElicitation) -> Both:
        """Collect what the strategies that ask both parties go by."""
        combine = block.hybrid.combine
        if isinstance(block, RawElicitation) and not block.enable_response_combination:
            combine = "best"
        weights = Weights(**block.hybrid.weights.model_dump())
        return Both(block.parallel_head_start_ms / 1000, combine, block.hybrid.judge, weights)

    def floor(self, at: Key, said: object) -> Setting[float] | None:
        """Return the confidence that a level asks of the LLM's forms."""
        asks = isinstance(said, RawElicitation | RawElicitationRouting)
        return setting(self.document, (*at, "min_confidence"), said.min_confidence if asks else None)

    def attempts(self, key: Key, retries: int | None) -> Setting[int] | None:
        """Count the first attempt in: policy bounds attempts, the file names retries."""
        return setting(self.document, key, None if retries is None else retries + 1)

    def unset(self, *key: str | int) -> str:
        """Return where a strategy would be written."""
        return str(Source(self.document.file, self.document.source(*key).path))


def _speaks(entry: ToolEntry, kind: Kind) -> bool:
    """Whether a tool's entry says anything of a kind."""
    own = entry.technique if kind == "sampling" else entry.min_confidence
    return kind in entry.strategies or own is not None
