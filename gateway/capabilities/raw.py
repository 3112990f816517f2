"""The shape of a capability file."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from gateway.config.raw_base import Name, Raw, Seconds, Share
from gateway.config.raw_conditions import StrategyChoice
from gateway.config.raw_llm import RawBudget
from gateway.config.raw_techniques import TechniqueChoice


class RawTool(Raw):
    """What is said about one tool."""

    name: Name
    """The tool's exposed name; with `server` beside it, that server's own name for it."""
    server: Name | None = None
    """The server that has the tool."""
    description: str | None = None
    """For readers of this file; clients are shown the server's own description."""
    schema_camel: dict[str, Any] | None = Field(default=None, alias="inputSchema")
    """For readers of this file; clients are shown the server's own schema."""
    schema_snake: dict[str, Any] | None = Field(default=None, alias="input_schema")
    """The same as `inputSchema`."""
    timeout_seconds: Seconds | None = None
    """Limit of one call of this tool; the time its questions take is not counted. Default: its server's."""
    sampling_strategy: StrategyChoice | None = None
    """Level 1: who answers the sampling requests of this tool's calls."""
    sampling_technique: TechniqueChoice | None = None
    """Level 1: how the LLM makes its answers to them."""
    elicitation_strategy: StrategyChoice | None = None
    """Level 1: who answers the elicitations of this tool's calls."""
    elicitation_min_confidence: Share | None = None
    """Level 1: how far a form that the LLM fills in must be believed, from 0 to 1."""
    budget: RawBudget | None = None
    """Level 1: what may be spent on the LLM for the questions of this tool's calls."""


class RawCapabilityFile(Raw):
    """A capability file: settings of single tools."""

    schema_url: str | None = Field(default=None, alias="$schema")
    """The JSON Schema, for editors."""
    tools: list[RawTool] = Field(default_factory=list[RawTool])
    """One entry a tool."""
