"""One ledger for several workers. What every ledger does is tested in `test_budgets`."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.llm.port import Account, Completion, Spending, Usage
from gateway.llm.shared_ledger import SharedLedger
from tests.llm.dialects import text

DAY = "2026-07-28"
MOST = Spending(0, 100, 0, 0.5)


def charge(ledger: SharedLedger, call: int = 1) -> None:
    answer = Completion(text("yes"), "m", "p", "endTurn", Usage(3, 2), cost_usd=0.25)
    ledger.charge(DAY, Account("sampling", "desk", call=call), answer, ["sampling"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "costs.sqlite"


def test_what_one_worker_spends_and_may_spend_counts_for_all(path: Path) -> None:
    first, second = SharedLedger(path, 0), SharedLedger(path, 1)
    first.reserve(["sampling"], MOST)
    second.reserve(["sampling"], MOST)
    assert second.on_the_way("sampling") == first.on_the_way("sampling") == MOST + MOST
    first.release(["sampling"], MOST)
    assert second.on_the_way("sampling") == MOST
    charge(first)
    charge(second)
    assert first.spent(DAY, "sampling") == second.spent(DAY, "sampling") == Spending(2, 6, 4, 0.5)
    (row,) = second.rows(["server"])
    assert (row["server"], row["requests"]) == ("desk", 2)
    # Each process counts its calls by itself.
    by_call = [(row["worker"], row["call"], row["requests"]) for row in first.rows(["call"])]
    assert by_call == [(0, 1, 1), (1, 1, 1)]


def test_a_worker_that_died_holds_nothing_back_once_its_place_is_taken(path: Path) -> None:
    dead, other = SharedLedger(path, 0), SharedLedger(path, 1)
    for ledger in (dead, other):
        ledger.reserve(["sampling"], MOST)
    charge(dead)
    SharedLedger(path, 0)
    assert other.on_the_way("sampling") == MOST
    assert other.spent(DAY, "sampling").requests == 1


def test_nobody_else_changes_anything_between_a_look_and_what_follows_from_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.llm.shared_ledger._WAIT", 0)
    first, second = SharedLedger(path, 0), SharedLedger(path, 1)
    with first.alone():
        assert first.on_the_way("sampling") == Spending()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            second.reserve(["sampling"], MOST)
        first.reserve(["sampling"], MOST)
    with pytest.raises(LookupError), second.alone():
        second.reserve(["sampling"], MOST)
        raise LookupError
    assert second.on_the_way("sampling") == MOST
