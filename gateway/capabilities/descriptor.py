"""One entry of a capability file, as the gateway uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.policy.budgets import BudgetRule
from gateway.policy.model import Choice, Kind, Setting, Source, Technique


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """What a capability file says about one tool.

    `exposed` is the name clients see, the key of policy's tool level. `name` is as written:
    the exposed name, or with `server` beside it that server's own name. `timeout` bounds one
    call in seconds, in place of the server's. `budget` is for its calls' questions. `description` and
    `input_schema` document the entry for its readers; clients are shown the server's own.
    """

    name: str
    exposed: str
    source: Source
    server: str | None = None
    description: str | None = None
    input_schema: Mapping[str, Any] | None = None
    timeout: Setting[float] | None = None
    strategies: Mapping[Kind, Setting[Choice]] = field(default_factory=dict[Kind, Setting[Choice]])
    technique: Setting[Technique] | None = None
    min_confidence: Setting[float] | None = None
    budget: BudgetRule | None = None
