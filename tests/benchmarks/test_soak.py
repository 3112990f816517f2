"""The soak itself, for ten seconds: servers die, an LLM fails, clients come and go, and that is all."""

from __future__ import annotations

import pytest

from benchmarks.soak.ledger import Bounds
from benchmarks.soak.report import report
from benchmarks.soak.run import Plan, soak


@pytest.mark.extensive
@pytest.mark.timeout(120)
async def test_ten_seconds_of_everything_bring_no_error_that_was_not_injected() -> None:
    plan = Plan(10.0, seed=3, clients=8, rate=30.0)
    ledger, log = await soak(plan)
    page, good = report(plan, ledger, Bounds())
    assert good, f"{page}\n\n{log}"
    assert ledger.faults
    assert len(ledger.outcomes) > 100
