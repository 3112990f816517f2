"""The table: rows as Markdown, the ratios they are judged by, and its place in a document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from benchmarks.speed.figures import Figure, Row, find

BEGIN, END = "<!-- generated: speed -->", "<!-- end -->"
OURS, BARE = "backchannel", "bare proxy"


@dataclass(frozen=True)
class Ratio:
    """A promise: a column of ours over the same of the bare proxy, at least or at most a bound."""

    about: str
    measurement: str
    column: str
    sense: Literal["at least", "at most"]
    bound: float

    def kept(self, value: float) -> bool:
        """Whether a value keeps the promise."""
        return value >= self.bound if self.sense == "at least" else value <= self.bound


RATIOS = tuple(
    ratio
    for era in ("modern", "handshake")
    for ratio in (
        Ratio(
            f"{era}, 16 connections: throughput, gateway over bare proxy",
            f"{era} tools/call, 16 connections",
            "requests/s",
            "at least",
            0.8,
        ),
        Ratio(
            f"{era}, 1 connection: added p50, gateway over bare proxy",
            f"{era} tools/call, 1 connection",
            "added p50",
            "at most",
            1.3,
        ),
    )
)


def number(value: float) -> str:
    """Write a number with as many digits as mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def cell(figure: Figure) -> str:
    """Median and spread."""
    unit = "" if figure.unit == "/s" else f" {figure.unit}"
    if len(figure.samples) == 1:
        return f"{number(figure.median)}{unit}"
    return f"{number(figure.median)}{unit} ({number(figure.low)}–{number(figure.high)})"


def section(measurement: str, rows: Sequence[Row]) -> list[str]:
    """One measurement: a line a gateway, with reasons where there are no figures."""
    columns: list[str] = []
    for row in rows:
        columns += [column for column in row.figures if column not in columns]
    lines = [f"### {measurement[0].upper()}{measurement[1:]}", ""]
    if columns:
        lines += [line("", *columns), line("---", *["---:"] * len(columns))]
        lines += [
            line(row.gateway, *[cell(row.figures[name]) if name in row.figures else "" for name in columns])
            for row in rows
            if row.figures
        ]
        lines.append("")
    if refusals := reasons(rows):
        lines += [*refusals, ""]
    for note in dict.fromkeys(note for row in rows for note in row.notes):
        lines += [note, ""]
    return lines


def reasons(rows: Iterable[Row]) -> list[str]:
    """Why gateways have no figures, those with the same reason together."""
    together: dict[str, list[str]] = {}
    for row in rows:
        if not row.figures:
            together.setdefault(row.no or "not measured", []).append(row.gateway)
    return [f"- no {', '.join(names)}: {_plain(reason)}" for reason, names in together.items()]


def ratios(rows: Sequence[Row]) -> list[str]:
    """The promises that can be judged by these rows, each with its value and whether it is kept."""
    found: list[str] = []
    for ratio in RATIOS:
        ours = find(rows, ratio.measurement, OURS, ratio.column)
        bare = find(rows, ratio.measurement, BARE, ratio.column)
        if ours is None or bare is None or not bare.median:
            continue
        value = ours.median / bare.median
        each = [one / other for one, other in zip(ours.samples, bare.samples, strict=False) if other]
        spread = f" ({min(each):.2f}–{max(each):.2f})" if len(each) > 1 else ""
        said = "kept" if ratio.kept(value) else "NOT kept"
        found.append(line(ratio.about, f"{value:.2f}{spread}", f"{ratio.sense} {ratio.bound:g}", said))
    if not found:
        return []
    head = [line("Ratio of medians", "value (run by run)", "bound", ""), line("---", "---:", "---", "---")]
    return ["### Ratios", "", *head, *found, ""]


def render(rows: Sequence[Row], about: Mapping[str, str], gateways: Sequence[tuple[str, str, str]]) -> str:
    """The whole table: how it was measured, what was measured, the figures, and the ratios."""
    lines = [
        line("", "measured on"),
        line("---", "---"),
        *[line(key, said) for key, said in about.items()],
        "",
    ]
    lines += [line("gateway", "version", ""), line("---", "---", "---")]
    lines += [line(name, version, words) for name, version, words in gateways]
    lines += ["", "Medians of all runs, in brackets the least and the greatest.", ""]
    for measurement, group in groupby(rows, key=lambda row: row.measurement):
        lines += section(measurement, list(group))
    lines += ratios(rows)
    return "\n".join(lines).rstrip() + "\n"


def line(*cells: str) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"


def place(text: str, path: Path) -> None:
    """Replace what stands between the markers of a document.

    Raises:
        ValueError: the document has no markers.
    """
    document = path.read_text()
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no lines {BEGIN} and {END}, between which the table belongs")
    path.write_text(f"{before}{begin}\n\n{text}\n{end}{after}")


def as_json(rows: Sequence[Row], about: Mapping[str, str], gateways: Sequence[tuple[str, str, str]]) -> Any:
    """The same for machines: every sample."""
    return {
        "about": dict(about),
        "gateways": [{"name": name, "version": version, "about": words} for name, version, words in gateways],
        "rows": [
            {
                "measurement": row.measurement,
                "gateway": row.gateway,
                "no": row.no or None,
                "figures": {
                    name: {"unit": figure.unit, "median": figure.median, "samples": figure.samples}
                    for name, figure in row.figures.items()
                },
            }
            for row in rows
        ],
    }


def _plain(text: str) -> str:
    """One line that Markdown takes as it is."""
    return " ".join(text.split()).replace("<", "&lt;").replace("|", "\\|")
