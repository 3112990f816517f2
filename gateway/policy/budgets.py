"""What may be spent on the LLM, level by level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.policy.model import Kind, LevelName, Source

NO_KEY = "(no key)"


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """What may be spent in one day (UTC); None is no limit. `hard` refuses more, else there is a warning."""

    usd: float | None
    tokens: int | None
    hard: bool
    source: Source

    def __str__(self) -> str:
        money = f"${self.usd:g}" if self.usd is not None else ""
        tokens = f"{self.tokens} tokens" if self.tokens is not None else ""
        limits = " and ".join(part for part in (money, tokens) if part)
        return f"{limits} a day, {'hard' if self.hard else 'soft'}"


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

    def applying(
        self,
        kind: Kind,
        server: str,
        *,
        tool: str | None = None,
        level: LevelName | None = None,
        principal: str | None = None,
    ) -> list[tuple[str, BudgetRule]]:
        """Return the budgets that a question has to fit in, the tool's first, by the name of their account.

        `level` is the one that decided; callers without a key are one principal.
        """
        owner = principal or NO_KEY
        found = [
            (f"tool {tool}", self.tools.get(tool) if tool else None),
            (f"server {server}", self.servers.get(server)),
            (kind, self.kinds.get(kind)),
            ("smart_discovery", self.smart_discovery if level == "smart_discovery" else None),
            (f"principal {owner}", self.principals.get(owner, self.each_principal)),
        ]
        return [(scope, rule) for scope, rule in found if rule is not None]
