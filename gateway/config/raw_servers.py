"""The shape of one external server, and of the servers file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from gateway.config.raw_base import Count, Name, Passing, Raw, Seconds, Share, Text
from gateway.config.raw_conditions import StrategyChoice
from gateway.config.raw_llm import RawBudget
from gateway.config.raw_techniques import TechniqueChoice
from gateway.config.resolved import EraChoice, Isolation, ServerConfig
from gateway.policy.model import Source

TransportName = Annotated[str, WithJsonSchema({"enum": ["stdio", "http", "streamable-http", "sse"]})]
"""Checked by the loader, which accepts more spellings."""

_SERVER = ServerConfig("", "stdio", Source("", ""))


class RawServer(Raw):
    """One external MCP server: a command to run, or a URL to connect to."""

    type: TransportName | None = None
    """`stdio`, `http` (Streamable HTTP; also spelled `streamable-http`) or `sse` (the older HTTP+SSE).
    Default: `stdio` where there is a `command`, else `http`."""
    command: Name | None = None
    """Program to run for a stdio server."""
    args: list[Text] = Field(default_factory=list[str])
    """Its arguments."""
    env: dict[str, Text] = Field(default_factory=dict[str, str])
    """Variables added to its environment."""
    cwd: Name | None = None
    """Its working directory, relative to the file that names it. Default: the gateway's own."""
    url: Name | None = None
    """Address of an HTTP server, `http://` or `https://`."""
    endpoint: Name | None = None
    """The same as `url`."""
    headers: dict[str, Text] = Field(default_factory=dict[str, str])
    """Headers sent with every request to an HTTP server."""
    enabled: bool = True
    """`false` leaves the server out."""
    prefix: str | None = None
    """Put before the names of its tools and prompts, exactly as written. `none` (or empty) leaves names
    as they are. Default: the server's name and two underscores."""
    allow: list[Name] | None = None
    """Patterns (`*`, `?`, `[abc]`) of its own tool names, without the prefix. Where there are any, its other
    tools are neither listed nor callable."""
    deny: list[Name] = Field(default_factory=list[str])
    """Patterns of its own tool names that are neither listed nor callable, whatever `allow` says."""
    extensions: dict[Name, Passing] = Field(default_factory=dict[str, Passing])
    """Which protocol extensions pass between clients and this server; stronger than the file's own
    `extensions`."""
    era: EraChoice = _SERVER.era
    """`auto`: 2026-07-28 if the server speaks it, else the handshake. `handshake` is for servers that
    speak both, but whose tools ask back as only the handshake era allows. `modern` never shakes hands."""
    isolation: Isolation | None = None
    """`session`: a connection belongs to one client session. `shared`: connections are reused between
    clients. `call`: one connection per call. Default: `session` for stdio and sse, `shared` for http."""
    max_lanes: Count = _SERVER.max_lanes
    """Connections to this server at most."""
    lane_idle_seconds: Seconds = _SERVER.lane_idle_seconds
    """After this long without a call a session's connection may be closed for one who waits."""
    start_timeout_seconds: Seconds = _SERVER.start_timeout
    """Time to start and shake hands."""
    timeout_seconds: Seconds = _SERVER.timeout
    """Limit of one call; the time its questions take is not counted."""
    max_questions: Count = _SERVER.max_questions
    """Questions one call may ask."""
    max_rounds: Count = _SERVER.max_rounds
    """Multi round-trip rounds of one call."""
    max_concurrent_questions: Count = _SERVER.max_concurrent_questions
    """Questions of this server in flight at once."""
    max_concurrent_calls: Count = _SERVER.max_concurrent_calls
    """Calls that this server is sent at once; the next wait, in turn by the API key they come with. A call
    does not count while its question is being answered."""
    max_queued_calls: Count = _SERVER.max_queued_calls
    """Calls that may wait for this server, for one of these places or for a connection. What is more, and
    what has waited for half of its limit, is refused as busy."""
    sampling_strategy: StrategyChoice | None = None
    """Level 2: who answers its sampling requests, unless `server_strategies` names the server."""
    sampling_technique: TechniqueChoice | None = None
    """Level 2: how the LLM makes its answers to them, unless `server_techniques` names the server."""
    elicitation_strategy: StrategyChoice | None = None
    """Level 2: who answers its elicitations, unless `server_strategies` names the server."""
    elicitation_min_confidence: Share | None = None
    """Level 2: how far a form that the LLM fills in must be believed, from 0 to 1."""
    budget: RawBudget | None = None
    """Level 2: what may be spent on the LLM for its questions."""


class RawNamedServer(RawServer):
    """One entry of `external_mcp.servers`."""

    name: Name
    """Name of the server."""


class RawServersFile(Raw):
    """A servers file, of the shape that desktop clients use."""

    schema_url: str | None = Field(default=None, alias="$schema")
    """The JSON Schema, for editors."""
    mcp_servers: dict[Name, RawServer] = Field(default_factory=dict[str, RawServer], alias="mcpServers")
    """The servers by name."""


TransportWord = Literal["stdio", "http", "sse"]
TRANSPORTS: dict[str, TransportWord] = {
    "stdio": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamable_http": "http",
    "streamablehttp": "http",
    "sse": "sse",
}
"""Spellings of a transport, in lower case."""
