"""Configuration as the gateway uses it: frozen, complete, every default filled in.

Only `gateway.config.loader` builds these. Times are seconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from gateway.capabilities.descriptor import ToolEntry
from gateway.policy.budgets import BudgetRule, Budgets
from gateway.policy.model import Policy, Source

Transport = Literal["stdio", "http", "sse"]
EraChoice = Literal["auto", "handshake", "modern"]
Isolation = Literal["session", "shared", "call"]
LogFormat = Literal["json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]
SchemaComplexity = Literal["Simple", "WithArrays", "Complex"]
ProviderName = Literal["openai", "anthropic", "ollama", "local"]
OnExceeded = Literal["soft", "hard"]
CachedWhen = Literal["temperature_0", "always"]

NEVER_PASSED: Final[Mapping[str, str]] = {
    "io.modelcontextprotocol/tasks": "the gateway offers no tasks",
    "io.modelcontextprotocol/oauth-client-credentials": "it concerns one connection, which ends here",
    "io.modelcontextprotocol/enterprise-managed-authorization": "it concerns one connection, which ends here",
}
"""Extensions that no configuration lets through, and why."""

_KNOWN: Final[Mapping[str, bool]] = {"io.modelcontextprotocol/ui": True}
"""MCP Apps is data alone, and many servers look for it in a client without naming it themselves."""


@dataclass(frozen=True, slots=True)
class Extensions:
    """Which extensions pass between clients and one server: `named` by identifier, `others` the rest."""

    named: Mapping[str, bool] = field(default_factory=dict[str, bool])
    others: bool = True

    def allows(self, identifier: str) -> bool:
        """Whether an extension may pass, if both sides name it."""
        return identifier not in NEVER_PASSED and self.named.get(identifier, self.others)

    def declares(self, identifier: str) -> bool:
        """Whether an extension that a client names is declared to the server, though it does not name it."""
        known = _KNOWN.get(identifier, False) and self.others
        return identifier not in NEVER_PASSED and self.named.get(identifier, known)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """One external MCP server.

    `era` is how to speak to it (`auto`: 2026-07-28 if it can, else the handshake).
    `prefix` is put before the names of its tools and prompts (empty: names as they are).
    `allow` and `deny` are patterns of its own tool names (`allow` None: all; `deny` wins).
    `timeout` bounds one call, its questions' time not counted. `max_questions` bounds the
    input requests of one call, `max_rounds` the multi round-trip rounds of one call,
    `max_concurrent_questions` those in flight for the server at once, `max_concurrent_calls` its
    calls (not those that wait for an answer), `max_queued_calls` the calls that wait to be of them.
    """

    name: str
    transport: Transport
    source: Source
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cwd: Path | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    prefix: str = ""
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    extensions: Extensions = field(default_factory=Extensions)
    era: EraChoice = "auto"
    isolation: Isolation = "session"
    max_lanes: int = 16
    lane_idle_seconds: float = 30.0
    start_timeout: float = 30.0
    timeout: float = 60.0
    max_questions: int = 32
    max_rounds: int = 10
    max_concurrent_questions: int = 32
    max_concurrent_calls: int = 256
    max_queued_calls: int = 2048
    budget: BudgetRule | None = None


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """When a provider is left alone: failures in a row, seconds, and probes in a row that close it."""

    enabled: bool = True
    failure_threshold: int = 5
    recovery_timeout: float = 60.0
    success_threshold: int = 2


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One LLM provider of the chain.

    `api_key` is the secret itself, already read from `api_key_env`; it is never printed.
    `timeout` bounds one attempt. `model_path` is a GGUF file for `local` (None: the bundled one).
    `max_concurrent` requests are in flight at once, and `max_queued` wait for a place.
    `models` are all that it offers, `model` the one that is asked by default.
    """

    provider: ProviderName
    model: str
    source: Source
    api_key: str | None = field(default=None, repr=False)
    api_key_env: str | None = None
    base_url: str | None = None
    timeout: float = 30.0
    max_tokens: int = 4096
    temperature: float | None = None
    model_path: Path | None = None
    max_concurrent: int = 10
    max_queued: int = 100
    circuit_breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    models: tuple[str, ...] = ()

    @property
    def offers(self) -> tuple[str, ...]:
        """The names of its models, the default one first."""
        return self.models or (self.model,)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What the catalogue says of one model; None is not said.

    `cost`, `speed` and `intelligence` go from 0 to 1, the best. Prices are US dollars for a million
    tokens; there are both or none. `provider` None stands for any that offers a model of this name.
    """

    name: str
    source: Source
    provider: ProviderName | None = None
    aliases: tuple[str, ...] = ()
    cost: float | None = None
    speed: float | None = None
    intelligence: float | None = None
    context_window: int | None = None
    input_price: float | None = None
    output_price: float | None = None

    def is_of(self, provider: str, model: str) -> bool:
        """Whether this is about a provider's model."""
        return self.name == model and self.provider in (None, provider)


@dataclass(frozen=True, slots=True)
class LlmConfig:
    """The chain of providers for one kind, in the order they are tried, and what is known of models."""

    providers: tuple[ProviderConfig, ...] = ()
    models: tuple[ModelConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class Costs:
    """Budgets, and how much of what was spent is kept: days, and rows of one day."""

    budgets: Budgets = field(default_factory=Budgets)
    keep_days: int = 31
    max_rows: int = 10_000


@dataclass(frozen=True, slots=True)
class CacheRules:
    """Which answers of the LLM to sampling requests are given again, for how long, how many, and to whom."""

    enabled: bool = True
    when: CachedWhen = "temperature_0"
    ttl_seconds: float = 300.0
    max_entries: int = 1000
    max_bytes: int = 16 * 1024 * 1024
    shared: bool = False


@dataclass(frozen=True, slots=True)
class ElicitationByLlm:
    """What the LLM leg may be asked to fill in for an elicitation."""

    max_schema_complexity: SchemaComplexity = "Complex"
    max_repairs: int = 1


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key's owner and the SHA-256 of the key (lower-case hex); the key itself is not kept."""

    principal: str
    sha256: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what clients and servers control."""

    max_sessions: int = 10_000
    session_idle_seconds: float = 1800.0
    max_body_bytes: int = 16 * 1024 * 1024
    max_message_bytes: int = 64 * 1024 * 1024
    max_nesting: int = 128
    max_headers: int = 200
    max_header_bytes: int = 64 * 1024
    max_connections: int = 10_000
    request_timeout_seconds: float = 60.0
    stalled_seconds: float = 60.0
    max_backlog_messages: int = 1024
    max_backlog_bytes: int = 16 * 1024 * 1024
    max_replay_bytes: int = 128 * 1024 * 1024
    max_listing_pages: int = 500
    max_listing_entries: int = 50_000
    max_instructions: int = 65_536
    max_calls: int = 8192
    max_calls_per_client: int = 1024
    max_loop_lag_ms: int = 500
    max_call_seconds: float = 3600.0
    max_tokens_per_question: int = 4096
    max_question_depth: int = 4
    max_subscriptions: int = 1024
    max_parked_calls: int = 1000
    max_parked_calls_per_client: int = 100
    parked_result_seconds: float = 60.0
    page_size: int = 500


MOST_WORKERS: Final = 64
"""Processes that may serve one address."""


@dataclass(frozen=True, slots=True)
class Http:
    """How the gateway listens.

    `allowed_hosts` and `allowed_origins` extend what the bind address implies
    (`*` allows any). `workers` is how many processes serve the address.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    insecure: bool = False
    keepalive_seconds: float = 15.0
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Logging:
    """The gateway's own log."""

    level: LogLevel = "info"
    format: LogFormat = "text"


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Everything a gateway needs to start.

    `state_keys` seal what travels through modern clients (first seals, all unseal); empty
    means a key generated at start. `label_questions` prefixes an elicitation's message
    with the asking server's name. `tools` are the entries of the capability files; whether
    each matches a tool is known once servers have listed theirs
    (`gateway.capabilities.registry.unmatched`). `notes` are for `check` alone.
    """

    file: str
    policy: Policy
    servers: tuple[ServerConfig, ...] = ()
    http: Http = field(default_factory=Http)
    api_keys: tuple[ApiKey, ...] = ()
    sampling_llm: LlmConfig = field(default_factory=LlmConfig)
    elicitation_llm: LlmConfig = field(default_factory=LlmConfig)
    elicitation_by_llm: ElicitationByLlm = field(default_factory=ElicitationByLlm)
    sampling_cache: CacheRules = field(default_factory=CacheRules)
    costs: Costs = field(default_factory=Costs)
    limits: Limits = field(default_factory=Limits)
    logging: Logging = field(default_factory=Logging)
    decisions_kept: int = 1000
    label_questions: bool = True
    state_keys: tuple[str, ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tools: tuple[ToolEntry, ...] = ()
