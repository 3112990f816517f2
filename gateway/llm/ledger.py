"""What was spent, in memory: a few days of rows, and what budgets have used up today and yesterday."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from gateway.llm.port import Account, Completion, Spending

COLUMNS: Final = ("day", "kind", "server", "tool", "client", "principal", "provider", "model")
"""What rows are kept by, and can be summed by; beside these the last calls, as ``call``."""
OTHERS: Final = "(others)"
KEPT_CALLS: Final = 1000
_SCOPE_DAYS: Final = 2

Row = tuple[str | None, ...]


class MemoryLedger:
    """A `Ledger` that forgets with the process.

    A day has at most `max_rows` rows, of which the client's name, which clients choose, makes
    most; beyond them a day's spending is kept by kind alone.
    """

    def __init__(self, keep_days: int = 31, max_rows: int = 10_000) -> None:
        self._keep_days = keep_days
        self._max_rows = max_rows
        self._days: OrderedDict[str, dict[Row, Spending]] = OrderedDict()
        self._scopes: OrderedDict[str, defaultdict[str, Spending]] = OrderedDict()
        self._calls: OrderedDict[int, Spending] = OrderedDict()
        self._on_the_way: defaultdict[str, Spending] = defaultdict(Spending)

    def alone(self) -> AbstractContextManager[None]:
        """See `Ledger.alone`: there is nobody else."""
        return nullcontext()

    def charge(self, day: str, account: Account, completion: Completion, scopes: Sequence[str]) -> None:
        """See `Ledger.charge`."""
        spent = spending_of(completion)
        rows = self._days.setdefault(day, {})
        row = row_of(day, account, completion)
        if row not in rows and len(rows) >= self._max_rows:
            row = row_of(day, account, None)
        before = rows.get(row)
        rows[row] = spent if before is None else before + spent
        of_scopes = self._scopes.setdefault(day, defaultdict(Spending))
        for scope in scopes:
            of_scopes[scope] += spent
        if account.call is not None:
            self._calls[account.call] = self._calls.get(account.call, Spending()) + spent
        _forget(self._days, self._keep_days)
        _forget(self._scopes, _SCOPE_DAYS)
        _forget(self._calls, KEPT_CALLS)

    def spent(self, day: str, scope: str) -> Spending:
        """See `Ledger.spent`."""
        scopes = self._scopes.get(day)
        return scopes.get(scope, Spending()) if scopes is not None else Spending()

    def rows(self, by: Sequence[str], day: str | None = None) -> Sequence[Mapping[str, Any]]:
        """See `Ledger.rows`. By ``call`` alone: the last thousand calls.

        Raises:
            ValueError: a column that there is not.
        """
        if list(by) == ["call"]:
            return [{"call": call, **shown(spent)} for call, spent in self._calls.items()]
        days = [self._days.get(day, {})] if day is not None else self._days.values()
        return summed((kept for rows in days for kept in rows.items()), by)

    def on_the_way(self, scope: str) -> Spending:
        """See `Ledger.on_the_way`."""
        return self._on_the_way.get(scope, Spending())

    def reserve(self, scopes: Sequence[str], most: Spending) -> None:
        """See `Ledger.reserve`."""
        for scope in scopes:
            self._on_the_way[scope] += most

    def release(self, scopes: Sequence[str], most: Spending) -> None:
        """See `Ledger.release`."""
        for scope in scopes:
            left = self._on_the_way[scope] + -most
            if left.input_tokens <= 0:
                del self._on_the_way[scope]
            else:
                self._on_the_way[scope] = left


def spending_of(completion: Completion) -> Spending:
    """Return what one answer came to."""
    usage, cost = completion.usage, completion.cost_usd
    return Spending(1, usage.input_tokens or 0, usage.output_tokens or 0, cost or 0.0, int(cost is None))


def row_of(day: str, account: Account, completion: Completion | None) -> Row:
    """Return the row that an answer is kept in; without an answer, the one for all that finds no room."""
    if completion is None:
        return (day, account.kind, *([OTHERS] * (len(COLUMNS) - 2)))
    return (
        *(day, account.kind, account.server, account.tool, account.client, account.principal),
        *(completion.provider, completion.model),
    )


def summed(kept: Iterable[tuple[Row, Spending]], by: Sequence[str]) -> list[dict[str, Any]]:
    """Sum rows by some of their columns.

    Raises:
        ValueError: a column that there is not.
    """
    unknown = sorted(set(by) - set(COLUMNS))
    if unknown:
        known = ", ".join(COLUMNS)
        raise ValueError(f"cannot sum by {', '.join(unknown)}; there are {known}, and call alone")
    places = [COLUMNS.index(name) for name in by]
    sums: dict[Row, Spending] = {}
    for row, spent in kept:
        key = tuple(row[place] for place in places)
        sums[key] = sums.get(key, Spending()) + spent
    return [{**dict(zip(by, key, strict=True)), **shown(spent)} for key, spent in sums.items()]


def shown(spent: Spending) -> dict[str, Any]:
    """Return what was spent, for `/api/costs`."""
    return {
        "requests": spent.requests,
        "input_tokens": spent.input_tokens,
        "output_tokens": spent.output_tokens,
        "usd": round(spent.usd, 8),
        "unpriced": spent.unpriced,
    }


def _forget(kept: OrderedDict[Any, Any], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
