"""What may be spent on the LLM, level by level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.policy.model import Kind, Source


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """What may be spent in one day (UTC); None is no limit. `hard` refuses more, else there is a warning."""

    usd: float | None
    tokens: int | None
    hard: bool
    source: Source


@dataclass(frozen=True, slots=True)
class Budgets:
    """Every budget. All that apply to a question hold: its tool's, its server's, its kind's and its caller's.

    `tools` is by exposed name. `smart_discovery` is for what that level's strategy decided;
    `each_principal` for owners of keys that `principals` does not name.
    """

    tools: Mapping[str, BudgetRule] = field(default_factory=dict[str, BudgetRule])
    servers: Mapping[str, BudgetRule] = field(default_factory=dict[str, BudgetRule])
    kinds: Mapping[Kind, BudgetRule] = field(default_factory=dict[Kind, BudgetRule])
    smart_discovery: BudgetRule | None = None
    each_principal: BudgetRule | None = None
    principals: Mapping[str, BudgetRule] = field(default_factory=dict[str, BudgetRule])
