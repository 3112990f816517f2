"""Counts what is spent on the LLM, and holds it to the budgets of every level.

All budgets that apply to a question have to have room. A request is let through while what was
spent and what requests on their way may still spend is under the limit, so a budget is overrun by
one answer at most. A failed or cancelled attempt is not counted: its provider tells no tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from gateway import codes
from gateway.errors import ProviderError
from gateway.llm.port import Account, Budget, Completion, Ledger, Llm, Plan, Prompt, Spending
from gateway.policy.budgets import BudgetRule, Budgets
from gateway.policy.model import Spent

Json = dict[str, Any]
_log: Any = structlog.get_logger("backchannel.llm")

_EVERYTHING: Final = "everything"


@dataclass(frozen=True, slots=True)
class _Held:
    """A budget as it applies: whose it is, in words that also name its account in the ledger."""

    scope: str
    rule: BudgetRule


class Metering:
    """A `Meter` over the configured budgets."""

    def __init__(
        self,
        budgets: Budgets,
        ledger: Ledger,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.ledger = ledger
        self._budgets = budgets
        self._none = budgets == Budgets()
        self._now = now
        self._warned: set[tuple[str, str]] = set()

    def charged(self, llm: Llm, account: Account) -> Llm:
        """See `Meter.charged`."""
        return _Charged(llm, account, self)

    def spent(self, account: Account) -> Spent:
        """See `Meter.spent`."""
        day = self._day()
        everything = self.ledger.spent(day, _EVERYTHING)
        fractions = [_fraction(held.rule, self.ledger.spent(day, held.scope)) for held in self.held(account)]
        return Spent(max(fractions, default=0.0), everything.usd, everything.tokens)

    def status(self) -> list[Json]:
        """Return every budget that belongs to one account, with what is spent of it today."""
        day = self._day()
        return [_shown(held, self.ledger.spent(day, held.scope)) for held in self._known()]

    def held(self, account: Account) -> list[_Held]:
        """Return the budgets that a question has to fit in, the tool's first."""
        if self._none:
            return []
        found = self._budgets.applying(
            account.kind,
            account.server,
            tool=account.tool,
            level=account.level,
            principal=account.principal,
        )
        return [_Held(scope, rule) for scope, rule in found]

    def admit(self, budgets: Sequence[_Held]) -> tuple[str, ...]:
        """Return the warnings of soft budgets that are spent.

        Raises:
            ProviderError: E012, a hard budget is spent.
        """
        day = self._day()
        warnings: list[str] = []
        for held in budgets:
            used = self.ledger.spent(day, held.scope) + self.ledger.on_the_way(held.scope)
            if _fraction(held.rule, used) < 1:
                continue
            text = _exceeded(held, used)
            self._warn(day, held, text)
            if held.rule.hard:
                raise ProviderError(text, code=codes.BUDGET_EXCEEDED)
            warnings.append(text)
        return tuple(warnings)

    @contextmanager
    def reserved(self, budgets: Sequence[_Held], plan: Plan) -> Generator[tuple[str, ...]]:
        """Count what a request may come to while it is on its way; gives the warnings of `admit`.

        Raises:
            ProviderError: as `admit`.
        """
        most = Spending(0, plan.tokens, 0, plan.cost_usd or 0.0)
        scopes = [held.scope for held in budgets]
        with self.ledger.alone():
            warnings = self.admit(budgets)
            self.ledger.reserve(scopes, most)
        try:
            yield warnings
        finally:
            self.ledger.release(scopes, most)

    def charge(self, account: Account, completion: Completion, budgets: Sequence[_Held]) -> None:
        """Write an answer into the ledger."""
        scopes = [_EVERYTHING, *(held.scope for held in budgets)]
        self.ledger.charge(self._day(), account, completion, scopes)

    def _warn(self, day: str, held: _Held, text: str) -> None:
        """Log once a day and budget that it is spent."""
        self._warned = {known for known in self._warned if known[0] == day}
        if (day, held.scope) not in self._warned:
            self._warned.add((day, held.scope))
            _log.warning("budget_exceeded", budget=held.scope, hard=held.rule.hard, text=text)

    def _known(self) -> Sequence[_Held]:
        budgets = self._budgets
        named = [
            *((f"tool {name}", rule) for name, rule in budgets.tools.items()),
            *((f"server {name}", rule) for name, rule in budgets.servers.items()),
            *((str(kind), rule) for kind, rule in budgets.kinds.items()),
            *((f"principal {name}", rule) for name, rule in budgets.principals.items()),
        ]
        if budgets.smart_discovery is not None:
            named.append(("smart_discovery", budgets.smart_discovery))
        return [_Held(scope, rule) for scope, rule in named]

    def _day(self) -> str:
        return self._now().astimezone(UTC).date().isoformat()


class _Charged:
    """A chain as one account may use it."""

    def __init__(self, llm: Llm, account: Account, metering: Metering) -> None:
        self._llm = llm
        self._account = account
        self._metering = metering

    @property
    def available(self) -> bool:
        return self._llm.available

    def plan(self, prompt: Prompt, *, estimated: bool = True) -> Plan:
        return self._llm.plan(prompt, estimated=estimated)

    async def complete(self, prompt: Prompt, budget: Budget) -> Completion:
        metering, account = self._metering, self._account
        held = metering.held(account)
        if not held:
            completion = await self._llm.complete(prompt, budget)
            # Nothing waits for it but who looks at the costs: the answer goes first.
            asyncio.get_running_loop().call_soon(metering.charge, account, completion, held)
            return completion
        with metering.reserved(held, self._llm.plan(prompt)) as warnings:
            completion = await self._llm.complete(prompt, budget)
            metering.charge(account, completion, held)
        return replace(completion, warnings=(*completion.warnings, *warnings))

    async def warm(self) -> None:
        await self._llm.warm()

    async def aclose(self) -> None:
        """Leave the chain open: it is others' as well."""


def _fraction(rule: BudgetRule, used: Spending) -> float:
    """Return how much of a budget is used up: the tighter of its limits counts."""
    of_money = used.usd / rule.usd if rule.usd is not None else 0.0
    of_tokens = used.tokens / rule.tokens if rule.tokens is not None else 0.0
    return max(of_money, of_tokens)


def _exceeded(held: _Held, used: Spending) -> str:
    rule = held.rule
    money = f"${used.usd:.4f} of ${rule.usd:g}" if rule.usd is not None else ""
    tokens = f"{used.tokens} of {rule.tokens} tokens" if rule.tokens is not None else ""
    spent = ", ".join(part for part in (money, tokens) if part)
    return f"the day's budget of {held.scope} is spent ({spent}; {rule.source})"


def _shown(held: _Held, used: Spending) -> Json:
    rule = held.rule
    return {
        "budget": held.scope,
        "usd_per_day": rule.usd,
        "tokens_per_day": rule.tokens,
        "on_exceeded": "hard" if rule.hard else "soft",
        "spent_usd": round(used.usd, 8),
        "spent_tokens": used.tokens,
        "exceeded": _fraction(rule, used) >= 1,
        "source": str(rule.source),
    }
