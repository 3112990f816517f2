from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import ProviderError
from gateway.llm.budgets import Metering
from gateway.llm.ledger import MemoryLedger
from gateway.llm.port import Account, Budget, Completion, Plan, Prompt, Usage
from gateway.llm.shared_ledger import SharedLedger
from gateway.policy.budgets import BudgetRule, Budgets
from gateway.policy.model import Source, Spent
from tests.llm.dialects import prompt, text

ADA = Account("sampling", "desk", "desk__ask", "app", "ada", 1, "organization")
LIMIT = Budget(10)


def rule(usd: float | None = None, tokens: int | None = None, *, hard: bool = True) -> BudgetRule:
    return BudgetRule(usd, tokens, hard, Source("gateway.yaml", "sampling.budget", 7))


@dataclass
class Paid:
    """A chain whose every answer costs the same; it waits for `gate` where there is one."""

    cost: float | None = 0.5
    gate: asyncio.Event | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    available: bool = True

    def plan(self, prompt: Prompt, *, estimated: bool = True) -> Plan:
        return Plan(("p/m",), None, 100, self.cost)

    async def complete(self, prompt: Prompt, budget: Budget) -> Completion:
        self.asked += 1
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        return Completion(text("yes"), "m", "p", "endTurn", Usage(30, 10), cost_usd=self.cost)

    async def warm(self) -> None: ...

    async def aclose(self) -> None: ...


@dataclass
class Days:
    now: datetime = datetime(2026, 7, 28, 23, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Ledgers:
    """Makes the kind of ledger that a test runs on."""

    make: Callable[..., Any]


@pytest.fixture(autouse=True, params=["in memory", "shared by workers"])
def _each_kind_of_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    Ledgers.make = MemoryLedger
    if request.param != "in memory":
        Ledgers.make = partial(SharedLedger, tmp_path / "costs.sqlite", 0)


def metering(budgets: Budgets, days: Days | None = None) -> Metering:
    return Metering(budgets, Ledgers.make(), days or Days())


async def ask(meter: Metering, account: Account = ADA, llm: Any = None) -> Completion:
    completion = await meter.charged(llm or Paid(), account).complete(prompt("Hi"), LIMIT)
    await asyncio.sleep(0)  # where no budget applies, an answer is counted once it has been given
    return completion


async def refused(meter: Metering, account: Account = ADA) -> str:
    with pytest.raises(ProviderError) as caught:
        await ask(meter, account)
    assert (caught.value.code, caught.value.retryable) == ("E012", False)
    return str(caught.value)


@pytest.mark.parametrize(
    ("budgets", "named"),
    [
        (Budgets(tools={"desk__ask": rule(1.0)}), "tool desk__ask"),
        (Budgets(servers={"desk": rule(1.0)}), "server desk"),
        (Budgets(kinds={"sampling": rule(1.0)}), "sampling"),
        (Budgets(each_principal=rule(1.0)), "principal ada"),
        (Budgets(each_principal=rule(9.0), principals={"ada": rule(tokens=80)}), "principal ada"),
    ],
)
async def test_a_hard_budget_of_any_level_refuses_what_is_beyond_it(budgets: Budgets, named: str) -> None:
    meter = metering(budgets)
    for _ in range(2):
        assert (await ask(meter)).warnings == ()
    said = await refused(meter)
    assert f"budget of {named} is spent" in said
    assert "gateway.yaml:7 sampling.budget" in said


async def test_budgets_of_others_are_not_touched() -> None:
    meter = metering(Budgets(tools={"other": rule(0.1)}, servers={"other": rule(0.1)},
                             kinds={"elicitation": rule(0.1)}, principals={"bob": rule(0.1)},
                             smart_discovery=rule(0.1)))  # fmt: skip
    for _ in range(3):
        await ask(meter)
    assert meter.spent(ADA) == Spent(0.0, 1.5, 120)
    assert {entry["spent_usd"] for entry in meter.status()} == {0.0}


async def test_smart_discoverys_budget_is_for_what_that_level_decides() -> None:
    meter = metering(Budgets(smart_discovery=rule(0.5)))
    decided = Account("sampling", "desk", level="smart_discovery")
    await ask(meter)
    await ask(meter, decided)
    await refused(meter, decided)
    await ask(meter)


async def test_callers_without_a_key_are_one_principal() -> None:
    meter = metering(Budgets(each_principal=rule(0.5)))
    await ask(meter, Account("sampling", "desk"))
    assert "principal (no key)" in await refused(meter, Account("sampling", "desk", client="another"))
    await ask(meter)


async def test_a_soft_budget_warns_in_the_answer_always_and_in_the_log_once_a_day() -> None:
    days = Days()
    meter = metering(Budgets(servers={"desk": rule(0.5, hard=False)}), days)
    with capture_logs() as logs:
        assert (await ask(meter)).warnings == ()
        for _ in range(3):
            (warning,) = (await ask(meter)).warnings
            assert "budget of server desk is spent" in warning
        assert [(entry["event"], entry["log_level"]) for entry in logs] == [("budget_exceeded", "warning")]
        days.now += timedelta(days=1)
        assert (await ask(meter)).warnings == ()
        assert (await ask(meter)).warnings != ()
    assert len(logs) == 2


async def test_a_budget_begins_anew_at_midnight_utc() -> None:
    days = Days()
    meter = metering(Budgets(kinds={"sampling": rule(0.5)}), days)
    await ask(meter)
    await refused(meter)
    days.now += timedelta(hours=1)
    await ask(meter)


async def test_requests_on_their_way_count_so_that_many_at_once_do_not_overrun_a_budget() -> None:
    meter = metering(Budgets(kinds={"sampling": rule(0.5)}))
    slow = Paid(gate=asyncio.Event())
    first = asyncio.create_task(ask(meter, llm=slow))
    await slow.reached.wait()
    await refused(meter)
    first.cancel()
    await asyncio.wait([first])
    # What was cancelled told no tokens, and holds nothing back.
    await ask(meter)


async def test_what_has_no_price_counts_by_its_tokens_and_is_shown_as_unpriced() -> None:
    meter = metering(Budgets(kinds={"sampling": rule(1.0, 100)}))
    for _ in range(3):
        await ask(meter, llm=Paid(cost=None))
    assert meter.spent(ADA).fraction == 1.2
    await refused(meter)
    (row,) = meter.ledger.rows(["model"])
    assert row == {
        "model": "m",
        "requests": 3,
        "input_tokens": 90,
        "output_tokens": 30,
        "usd": 0.0,
        "unpriced": 3,
    }


def charge(ledger: Any, day: str = "2026-07-28", **account: Any) -> None:
    answer = Completion(text("yes"), "m", "p", "endTurn", Usage(3, 2), cost_usd=0.25)
    ledger.charge(day, Account("sampling", **{"server": "desk", **account}), answer, ["all"])


def test_the_ledger_sums_by_any_of_its_columns_and_by_call() -> None:
    ledger = Ledgers.make()
    charge(ledger, tool="ask", principal="ada", call=1)
    charge(ledger, tool="ask", principal="bob", call=2)
    charge(ledger, tool="tell", principal="ada", call=2)
    charge(ledger, "2026-07-29", tool="ask", principal="ada", call=3)
    by_tool = {row["tool"]: row["usd"] for row in ledger.rows(["tool"])}
    assert by_tool == {"ask": 0.75, "tell": 0.25}
    assert {row["day"]: row["requests"] for row in ledger.rows(["day"])} == {
        "2026-07-28": 3,
        "2026-07-29": 1,
    }
    assert [(row["call"], row["usd"]) for row in ledger.rows(["call"])] == [(1, 0.25), (2, 0.5), (3, 0.25)]
    of_day = ledger.rows(["principal", "server"], "2026-07-28")
    assert [(row["principal"], row["server"], row["requests"]) for row in of_day] == [
        ("ada", "desk", 2),
        ("bob", "desk", 1),
    ]
    assert ledger.spent("2026-07-28", "all").usd == 0.75
    with pytest.raises(ValueError, match="cannot sum by colour"):
        ledger.rows(["colour"])


def test_names_that_clients_choose_cannot_fill_the_ledger() -> None:
    ledger = Ledgers.make(keep_days=2, max_rows=3)
    for number in range(10):
        charge(ledger, client=f"client {number}")
    rows = {row["client"]: row["requests"] for row in ledger.rows(["client"])}
    assert rows == {"client 0": 1, "client 1": 1, "client 2": 1, "(others)": 7}
    for day in ("2026-07-29", "2026-07-30"):
        charge(ledger, day)
    assert [row["day"] for row in ledger.rows(["day"])] == ["2026-07-29", "2026-07-30"]
    assert ledger.spent("2026-07-28", "all").requests == 0
