"""What was spent, in a file that several workers of one gateway share; it ends with the gateway.

SQLite in WAL mode: readers never wait, writers wait for each other for the time of one small
transaction. Nothing is synced, since nobody reads it after a crash of the machine.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from gateway.llm.ledger import KEPT_CALLS, Row, row_of, shown, spending_of, summed
from gateway.llm.port import Account, Completion, Spending

_WAIT: Final = 5.0
"""Seconds that one worker's transaction waits for another's."""
_AMOUNTS: Final = "requests, input_tokens, output_tokens, usd, unpriced"
_COLUMNS: Final = "requests INTEGER, input_tokens INTEGER, output_tokens INTEGER, usd REAL, unpriced INTEGER"
_TABLES: Final = f"""
    CREATE TABLE IF NOT EXISTS rows (day TEXT, row TEXT, {_COLUMNS}, PRIMARY KEY (day, row)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS scopes (
        day TEXT, scope TEXT, {_COLUMNS}, PRIMARY KEY (day, scope)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS calls (
        number INTEGER PRIMARY KEY AUTOINCREMENT, worker INTEGER, call INTEGER, {_COLUMNS},
        UNIQUE (worker, call)
    );
    CREATE TABLE IF NOT EXISTS on_the_way (
        scope TEXT, worker INTEGER, {_COLUMNS}, PRIMARY KEY (scope, worker)
    ) WITHOUT ROWID;
"""
_SCOPE_DAYS: Final = 2


class SharedLedger:
    """A `Ledger` at `path`. What a worker that died had on its way is struck out when its place is taken."""

    def __init__(self, path: Path, worker: int, keep_days: int = 31, max_rows: int = 10_000) -> None:
        self._worker = worker
        self._keep_days = keep_days
        self._max_rows = max_rows
        self._db = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        with self.alone():
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            self._db.execute("DELETE FROM on_the_way WHERE worker = ?", (worker,))
            # Calls are counted by each process from 1.
            self._db.execute("DELETE FROM calls WHERE worker = ?", (worker,))

    @contextmanager
    def alone(self) -> Generator[None]:
        """See `Ledger.alone`."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def charge(self, day: str, account: Account, completion: Completion, scopes: Sequence[str]) -> None:
        """See `Ledger.charge`."""
        spent = spending_of(completion)
        with self.alone():
            row = json.dumps(row_of(day, account, completion))
            if not self._has_room(day, row):
                row = json.dumps(row_of(day, account, None))
            self._add("rows", "day, row", (day, row), spent)
            for scope in scopes:
                self._add("scopes", "day, scope", (day, scope), spent)
            if account.call is not None:
                self._add("calls", "worker, call", (self._worker, account.call), spent)
            self._forget()

    def spent(self, day: str, scope: str) -> Spending:
        """See `Ledger.spent`."""
        found = self._db.execute(
            f"SELECT {_AMOUNTS} FROM scopes WHERE day = ? AND scope = ?", (day, scope)
        ).fetchone()
        return Spending(*found) if found else Spending()

    def on_the_way(self, scope: str) -> Spending:
        """See `Ledger.on_the_way`."""
        return sum(
            (
                Spending(*found)
                for found in self._db.execute(f"SELECT {_AMOUNTS} FROM on_the_way WHERE scope = ?", (scope,))
            ),
            Spending(),
        )

    def reserve(self, scopes: Sequence[str], most: Spending) -> None:
        """See `Ledger.reserve`."""
        with self.alone():
            for scope in scopes:
                self._add("on_the_way", "scope, worker", (scope, self._worker), most)

    def release(self, scopes: Sequence[str], most: Spending) -> None:
        """See `Ledger.release`."""
        with self.alone():
            self.reserve(scopes, -most)
            # Sums of fractions may leave a trace.
            self._db.execute("DELETE FROM on_the_way WHERE input_tokens <= 0")

    def rows(self, by: Sequence[str], day: str | None = None) -> Sequence[Mapping[str, Any]]:
        """See `Ledger.rows`. By ``call`` alone: the last thousand calls, each with its worker.

        Raises:
            ValueError: a column that there is not.
        """
        if list(by) == ["call"]:
            found = self._db.execute(f"SELECT worker, call, {_AMOUNTS} FROM calls ORDER BY number")
            return [
                {"worker": worker, "call": call, **shown(Spending(*amounts))}
                for worker, call, *amounts in found
            ]
        return summed(self._kept(day), by)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _kept(self, day: str | None) -> Iterable[tuple[Row, Spending]]:
        where, values = ("", ()) if day is None else (" WHERE day = ?", (day,))
        for row, *amounts in self._db.execute(
            f"SELECT row, {_AMOUNTS} FROM rows{where} ORDER BY day", values
        ):
            yield tuple(json.loads(row)), Spending(*amounts)

    def _has_room(self, day: str, row: str) -> bool:
        known = "SELECT 1 FROM rows WHERE day = ? AND row = ?"
        if self._db.execute(known, (day, row)).fetchone():
            return True
        (count,) = self._db.execute("SELECT count(*) FROM rows WHERE day = ?", (day,)).fetchone()
        return count < self._max_rows

    def _add(self, table: str, names: str, key: tuple[object, ...], spent: Spending) -> None:
        amounts = (spent.requests, spent.input_tokens, spent.output_tokens, spent.usd, spent.unpriced)
        marks = ", ".join("?" * (len(key) + len(amounts)))
        added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in _AMOUNTS.split(", "))
        self._db.execute(
            f"INSERT INTO {table} ({names}, {_AMOUNTS}) VALUES ({marks}) "
            f"ON CONFLICT ({names}) DO UPDATE SET {added}",
            (*key, *amounts),
        )

    def _forget(self) -> None:
        """Keep the latest days, and the latest calls."""
        for table, days in (("rows", self._keep_days), ("scopes", _SCOPE_DAYS)):
            self._db.execute(
                f"DELETE FROM {table} WHERE day NOT IN "
                f"(SELECT DISTINCT day FROM {table} ORDER BY day DESC LIMIT ?)",
                (days,),
            )
        self._db.execute(
            "DELETE FROM calls WHERE number <= (SELECT max(number) FROM calls) - ?", (KEPT_CALLS,)
        )
