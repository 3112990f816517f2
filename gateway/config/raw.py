"""The shape of the gateway's configuration file, before anything is looked up or merged.

The text under each field is its documentation: the JSON Schema and the tables of
`docs/configuration.md` are generated from it. Defaults come from `gateway.config.resolved`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.config.raw_base import (
    Count,
    Name,
    Passing,
    Raw,
    Retries,
    Seconds,
    Share,
    Unsolicited,
    Weight,
)
from gateway.config.raw_conditions import StrategyChoice
from gateway.config.raw_llm import RawBudget, RawCache, RawCosts, RawLlm, RawModel
from gateway.config.raw_servers import RawNamedServer
from gateway.config.raw_techniques import TechniqueChoice
from gateway.config.resolved import (
    MOST_WORKERS,
    ElicitationByLlm,
    GatewayConfig,
    Http,
    Limits,
    LogFormat,
    Logging,
    LogLevel,
    SchemaComplexity,
)
from gateway.policy.model import Both, Combine, Weights

_HTTP, _LIMITS, _LOGGING, _BY_LLM = Http(), Limits(), Logging(), ElicitationByLlm()
_BOTH, _WEIGHTS = Both(), Weights()
_DECISIONS_KEPT: int = GatewayConfig.__dataclass_fields__["decisions_kept"].default


class RawHttp(Raw):
    """How the gateway listens."""

    host: Name = _HTTP.host
    """Address to listen on. Beyond loopback it needs `auth`, or `insecure: true`."""
    port: Annotated[int, Field(ge=0, le=65535)] = _HTTP.port
    """Port to listen on; 0 takes any free one."""
    allowed_hosts: list[Name] = Field(default_factory=list[str])
    """Values of the `Host` header accepted beside the bind address; `*` accepts any."""
    allowed_origins: list[Name] = Field(default_factory=list[str])
    """Values of the `Origin` header accepted beside the gateway's own; `*` accepts any."""
    insecure: bool = _HTTP.insecure
    """Allow a bind beyond loopback without authentication."""
    keepalive_seconds: Seconds = _HTTP.keepalive_seconds
    """Pause between keep-alive comments on open streams."""
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] = _HTTP.workers
    """Processes that serve the address together; also `serve --workers`. What they share, and what each has
    for itself, is in `docs/workers.md`."""


class RawKey(Raw):
    """One API key: its owner, and either of the two ways to name it."""

    principal: Name
    """Whose calls they are that bring this key."""
    key_env: Name | None = None
    """Variable that holds the key; only its hash is kept."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    """SHA-256 of the key, in hexadecimal."""


class RawAuth(Raw):
    """Who may use the gateway."""

    type: Literal["api_key"] = "api_key"
    """The only way to authenticate."""
    keys: list[RawKey] = Field(default_factory=list[RawKey])
    """Keys that are accepted."""


class RawLimits(Raw):
    """Bounds on what clients and servers control."""

    max_sessions: Count = _LIMITS.max_sessions
    """Handshake-era sessions at once."""
    session_idle_seconds: Seconds = _LIMITS.session_idle_seconds
    """A session without traffic for this long ends."""
    max_body_bytes: Count = _LIMITS.max_body_bytes
    """Size of a client's request body."""
    max_message_bytes: Count = _LIMITS.max_message_bytes
    """Size of one message of a server, and of one of its lists in all pages. For a client at standard
    input: the size of one line."""
    max_nesting: Annotated[int, Field(ge=8, le=200)] = _LIMITS.max_nesting
    """Arrays and objects inside each other in one message, from either side."""
    max_headers: Count = _LIMITS.max_headers
    """Header fields of a client's request."""
    max_header_bytes: Annotated[int, Field(ge=1024)] = _LIMITS.max_header_bytes
    """Size of all of them, the address included."""
    max_connections: Count = _LIMITS.max_connections
    """TCP connections of clients at once."""
    request_timeout_seconds: Seconds = _LIMITS.request_timeout_seconds
    """Time a client has to send one whole request, head and body."""
    stalled_seconds: Seconds = _LIMITS.stalled_seconds
    """A client that takes nothing of what is sent to it for this long is disconnected."""
    max_backlog_messages: Count = _LIMITS.max_backlog_messages
    """Messages that wait on one stream for a client to read them. Beyond it the oldest progress and log
    messages are dropped; a client whose answers alone are more is not read from until it has taken some."""
    max_backlog_bytes: Count = _LIMITS.max_backlog_bytes
    """The same in bytes."""
    max_replay_bytes: Count = _LIMITS.max_replay_bytes
    """What is kept of all ended streams together for clients that come back with `Last-Event-ID`."""
    max_listing_pages: Count = _LIMITS.max_listing_pages
    """Pages read of one list of a server."""
    max_listing_entries: Count = _LIMITS.max_listing_entries
    """Entries read of one list of a server."""
    max_instructions: Count = _LIMITS.max_instructions
    """Characters of one server's `instructions`; the rest is cut off."""
    max_calls: Count = _LIMITS.max_calls
    """Calls of all clients in flight at once. Beyond it new ones are refused: HTTP 503 with `Retry-After`."""
    max_calls_per_client: Count = _LIMITS.max_calls_per_client
    """Calls in flight at once of one session, or of one API key outside sessions (without either, `max_calls`
    alone counts). Beyond it: HTTP 429 with `Retry-After`."""
    max_loop_lag_ms: Annotated[int, Field(ge=10)] = _LIMITS.max_loop_lag_ms
    """How late the gateway may be with its own work. When it has been later than that three times in a row
    it has more to do than it can, and takes fewer calls at once until it is in time: beyond them as for
    `max_calls`. A call waits for the gateway about five times as long. 32 calls at once are always taken."""
    max_call_seconds: Seconds = _LIMITS.max_call_seconds
    """Wall-clock limit of a call, the time people take included."""
    max_tokens_per_question: Count = _LIMITS.max_tokens_per_question
    """Tokens the LLM may spend on one question, whatever the server asks for."""
    max_question_depth: Count = _LIMITS.max_question_depth
    """How deep questions may stand inside each other: to answer one a client calls a tool, which asks the
    next. 1 lets such a call ask nothing. Clients say so in `_meta` (`backchannel/depth`)."""
    max_subscriptions: Count = _LIMITS.max_subscriptions
    """Resource subscriptions of one client."""
    max_parked_calls: Count = _LIMITS.max_parked_calls
    """Calls of 2026-07-28 clients that wait for an answer while their handshake-era server waits too.
    Where there are API keys, a quarter is reserved for clients that have one."""
    max_parked_calls_per_client: Count = _LIMITS.max_parked_calls_per_client
    """The same, of one client with an API key."""
    parked_result_seconds: Seconds = _LIMITS.parked_result_seconds
    """How long a repeated retry still gets the result of such a call."""
    page_size: Count = _LIMITS.page_size
    """Entries of one page of a merged listing."""


class RawLogging(Raw):
    """The gateway's own log, on standard error."""

    level: LogLevel = _LOGGING.level
    """What is logged."""
    format: LogFormat = _LOGGING.format
    """`text` for people, `json` for machines."""


class RawDecisions(Raw):
    """The record of who answered what."""

    keep: Annotated[int, Field(ge=0, le=1_000_000)] = _DECISIONS_KEPT
    """How many of the latest decisions `GET /api/decisions` can show."""


class RawWeights(Raw):
    """How much each measured signal of an answer's confidence counts; 0 leaves it out."""

    stop: Weight = _WEIGHTS.stop
    """Whether the answer came to its end."""
    certainty: Weight = _WEIGHTS.certainty
    """The probability of its tokens, where a provider tells it."""
    format: Weight = _WEIGHTS.format
    """Whether it has the form that was asked for."""
    directness: Weight = _WEIGHTS.directness
    """How much of it is neither hedging nor refusal."""
    soundness: Weight = _WEIGHTS.soundness
    """Whether what can be checked in it holds: sums, lettered options, what it takes from a given text."""
    agreement: Weight = _WEIGHTS.agreement
    """How far both answers say the same."""
    judge: Weight = _WEIGHTS.judge
    """What the judge gave it."""


class RawHybrid(Raw):
    """What `hybrid` makes of two answers."""

    combine: Combine = _BOTH.combine
    """`best` takes the answer with the higher confidence; `merge` lets the LLM compose one from both. Of an
    elicitation's answers the client's stands in either case, and `merge` lets the LLM fill optional fields
    that were left empty."""
    judge: bool = _BOTH.judge
    """Have the LLM mark both answers to a sampling request; its marks count as one more signal."""
    weights: RawWeights = Field(default_factory=RawWeights)
    """What counts how much in the confidence of an answer to a sampling request."""


class _RawKind(Raw):
    enabled: bool = True
    """`false` turns the kind off: it is not declared to servers, and requests are refused."""
    llm_config: RawLlm | None = None
    """The LLM that answers. For elicitation the default is sampling's."""
    llm_configs: list[RawLlm] | None = None
    """Several LLMs in the order they are tried, in place of `llm_config`."""
    fallback_to_magictunnel: bool | None = None
    """Level 3: whether `client_first` falls back to the LLM. Default: true."""
    max_retry_attempts: Retries | None = None
    """Level 3: retries at one provider after its first attempt. Default: 2. A client is never asked twice."""
    parallel_head_start_ms: Annotated[int, Field(ge=0, le=600_000)] = round(_BOTH.head_start * 1000)
    """How long `parallel` leaves the question to the LLM before it also asks a client that is not to be
    raced: any client, for an elicitation; one of 2026-07-28, which answers by calling again."""
    hybrid: RawHybrid = Field(default_factory=RawHybrid)
    """What `hybrid` makes of two answers."""
    budget: RawBudget | None = None
    """Level 3: what may be spent on the LLM for this kind, whichever level decides."""
    unsolicited: Unsolicited = "refuse"
    """What becomes of a request that belongs to no call: `refuse`, or let `own_llm` answer it."""


class RawSampling(_RawKind):
    """Level 3, the organization's default for sampling."""

    default_sampling_strategy: StrategyChoice | None = None
    """Level 3: who answers sampling requests."""
    default_sampling_technique: TechniqueChoice | None = None
    """Level 3: how the LLM makes its answers."""
    default_timeout_seconds: Seconds | None = None
    """Level 3: limit of the client leg. Default: 120."""
    cache: RawCache = Field(default_factory=RawCache)
    """Answers of the LLM that are given again to the same request."""


class RawElicitation(_RawKind):
    """Level 3, the organization's default for elicitation."""

    min_confidence: Share | None = None
    """Level 3: how far a form that the LLM fills in must be believed, from 0 to 1; below it the LLM leg has
    failed. Default: 0."""
    max_repairs: Retries = _BY_LLM.max_repairs
    """How often the LLM is shown what is wrong with its form and asked for it again."""

    default_elicitation_strategy: StrategyChoice | None = None
    """Level 3: who answers elicitations."""
    default_timeout_seconds: Seconds | None = None
    """Level 3: limit of the client leg. Default: 300."""
    max_schema_complexity: SchemaComplexity = _BY_LLM.max_schema_complexity
    """What the LLM may be asked: `Simple` (text, numbers, booleans, single choices), `WithArrays`
    (also multiple choices), `Complex` (anything). Above it the LLM leg is unavailable."""
    enable_hybrid_elicitation: bool = True
    """`false` refuses `hybrid` for elicitation."""
    enable_response_combination: bool = True
    """`false` lets `hybrid` take the client's answer as it is and never merge."""


class RawSmartDiscovery(Raw):
    """Level 4. The block's presence enables it."""

    enabled: bool = True
    """`false` leaves level 4 out."""
    default_sampling_strategy: StrategyChoice | None = None
    """Level 4: who answers sampling requests."""
    default_sampling_technique: TechniqueChoice | None = None
    """Level 4: how the LLM makes its answers to sampling requests."""
    default_elicitation_strategy: StrategyChoice | None = None
    """Level 4: who answers elicitations."""
    proxy_timeout_secs: Seconds | None = None
    """Level 4: limit of the client leg, both kinds."""
    budget: RawBudget | None = None
    """Level 4: what may be spent on the LLM where this level's strategy decides, both kinds."""


class RawKindRouting(Raw):
    """Level 2 for one kind."""

    default_strategy: StrategyChoice | None = None
    """Level 2: who answers, for servers nothing else names."""
    server_strategies: dict[str, StrategyChoice] = Field(default_factory=dict[str, StrategyChoice])
    """Level 2: who answers, by server; stronger than the server's own `<kind>_strategy`."""
    fallback_to_magictunnel: bool | None = None
    """Level 2: whether `client_first` falls back to the LLM."""
    max_retry_attempts: Retries | None = None
    """Level 2: retries at one provider after its first attempt."""
    timeout_seconds: Seconds | None = None
    """Level 2: limit of each leg, client and LLM."""


class RawSamplingRouting(RawKindRouting):
    """Level 2 for sampling."""

    default_technique: TechniqueChoice | None = None
    """Level 2: how the LLM makes its answers, for servers nothing else names."""
    server_techniques: dict[str, TechniqueChoice] = Field(default_factory=dict[str, TechniqueChoice])
    """Level 2: the same by server; stronger than the server's own `sampling_technique`."""


class RawElicitationRouting(RawKindRouting):
    """Level 2 for elicitation."""

    min_confidence: Share | None = None
    """Level 2: how far a form that the LLM fills in must be believed."""


class RawExternalRouting(Raw):
    """Level 2, external servers."""

    enabled: bool = True
    """`false` leaves level 2 out."""
    sampling: RawSamplingRouting = Field(default_factory=RawSamplingRouting)
    """Sampling requests of external servers."""
    elicitation: RawElicitationRouting = Field(default_factory=RawElicitationRouting)
    """Elicitations of external servers."""


class RawExternalMcp(Raw):
    """The external MCP servers, and level 2."""

    enabled: bool = True
    """`false` starts no external server."""
    config_file: Name | None = None
    """Servers file (YAML or JSON), relative to this file. Default: `external_mcp_servers.yaml`, `.yml`
    or `.json` beside this file, if there is one."""
    servers: list[RawNamedServer] = Field(default_factory=list[RawNamedServer])
    """Servers listed here; merged with those of the servers file."""
    external_routing: RawExternalRouting = Field(default_factory=RawExternalRouting)
    """Level 2: who answers external servers."""


class RawCapabilities(Raw):
    """Where the files of level 1 are."""

    paths: list[Name] | None = None
    """Files, and folders searched in depth for `*.yaml` and `*.yml`; relative to this file. Default:
    `capabilities` beside this file; `../capabilities` if this file's folder is called `config`."""


class RawGateway(Raw):
    """The whole of the gateway's configuration file."""

    schema_url: str | None = Field(default=None, alias="$schema")
    """The JSON Schema, for editors."""
    http: RawHttp = Field(default_factory=RawHttp)
    """How the gateway listens."""
    auth: RawAuth | None = None
    """Who may use the gateway. Default: anyone who can reach it."""
    limits: RawLimits = Field(default_factory=RawLimits)
    """Bounds on what clients and servers control."""
    logging: RawLogging = Field(default_factory=RawLogging)
    """The gateway's own log."""
    decisions: RawDecisions = Field(default_factory=RawDecisions)
    """The record of who answered what."""
    label_questions: bool = True
    """Put the asking server's name before an elicitation's message."""
    state_keys_env: Name | None = None
    """Variable with the secrets that seal what travels through clients, separated by commas, 32 bytes or
    more each. The first seals, all unseal. Default: a secret made at start."""
    models: list[RawModel] = Field(default_factory=list[RawModel])
    """What is known of models: for choosing one by a request's `modelPreferences`, and for costs."""
    costs: RawCosts = Field(default_factory=RawCosts)
    """What callers may spend on the LLM."""
    sampling: RawSampling = Field(default_factory=RawSampling)
    """Level 3 for sampling."""
    elicitation: RawElicitation = Field(default_factory=RawElicitation)
    """Level 3 for elicitation."""
    smart_discovery: RawSmartDiscovery | None = None
    """Level 4."""
    external_mcp: RawExternalMcp = Field(default_factory=RawExternalMcp)
    """External servers and level 2."""
    extensions: dict[Name, Passing] = Field(default_factory=dict[str, Passing])
    """Which protocol extensions pass between clients and servers, by identifier; `*` stands for all that are
    not named. Default: `allow`, where both sides name the extension. One that is allowed by its identifier
    is declared to servers that do not name it, too."""
    capabilities: RawCapabilities = Field(default_factory=RawCapabilities)
    """Level 1."""
