"""What rows are made of: samples with their median and spread, and the reasons where there are none."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One measured quantity: a sample of each run, in `unit`."""

    samples: tuple[float, ...]
    unit: str

    @property
    def median(self) -> float:
        """The middle sample."""
        return statistics.median(self.samples)

    @property
    def low(self) -> float:
        """The least sample."""
        return min(self.samples)

    @property
    def high(self) -> float:
        """The greatest sample."""
        return max(self.samples)


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, of which gateway, in named columns; or `no`, and why not.

    `notes` are sentences that the reader needs to understand the figures.
    """

    measurement: str
    gateway: str
    figures: Mapping[str, Figure] = field(default_factory=dict[str, Figure])
    no: str = ""
    notes: Sequence[str] = ()


@dataclass
class Samples:
    """Collects samples run by run; `rows` makes one row a gateway of them."""

    measurement: str
    units: Mapping[str, str]
    """The columns, in their order, and their units."""
    taken: dict[str, dict[str, list[float]]] = field(default_factory=dict[str, dict[str, list[float]]])
    refused: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, gateway: str, **samples: float) -> None:
        """Keep one run's samples, by column."""
        for column, sample in samples.items():
            self.taken.setdefault(gateway, {}).setdefault(column, []).append(sample)

    def refuse(self, gateway: str, reason: str) -> None:
        """Say why a gateway has no figures here; what it has so far is dropped."""
        self.refused[gateway] = reason
        self.taken.pop(gateway, None)

    def rows(self, order: Sequence[str]) -> list[Row]:
        """One row for each gateway of `order` that was measured or refused."""
        found: list[Row] = []
        for name in order:
            if name in self.refused:
                found.append(Row(self.measurement, name, no=self.refused[name]))
            elif columns := self.taken.get(name):
                figures = {
                    column: Figure(tuple(columns[column]), unit)
                    for column, unit in self.units.items()
                    if column in columns
                }
                found.append(Row(self.measurement, name, figures))
        return found


def find(rows: Sequence[Row], measurement: str, gateway: str, column: str) -> Figure | None:
    """Return one figure of a table, or None where there is none."""
    for row in rows:
        if (row.measurement, row.gateway) == (measurement, gateway):
            return row.figures.get(column)
    return None
