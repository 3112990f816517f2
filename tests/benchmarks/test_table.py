from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.speed import table
from benchmarks.speed.figures import Figure, Row, Samples
from benchmarks.speed.gateways.registry import BACKCHANNEL, BARE
from benchmarks.speed.rows.loads import ECHOES
from benchmarks.speed.rows.loads import Behind as BehindOf


def echo(era: str, gateway: str, connections: int, **columns: tuple[float, ...]) -> Row:
    kind = next(kind for kind in ECHOES if kind.connections == connections)
    named = {
        name.replace("_", " ").replace("rate", "requests/s"): Figure(s, "/s") for name, s in columns.items()
    }
    return Row(kind.named(BehindOf(era)), gateway, named)  # type: ignore[arg-type]


def test_a_cell_shows_the_median_and_the_spread_of_the_runs() -> None:
    assert table.cell(Figure((30.0, 10.0, 20.0), "µs")) == "20.0 µs (10.0–30.0)"
    assert table.cell(Figure((12_345.6,), "/s")) == "12,346"


def test_samples_of_a_gateway_that_fails_later_are_dropped() -> None:
    samples = Samples("echo", {"p50": "µs"})
    samples.add("one", p50=1.0)
    samples.add("two", p50=2.0)
    samples.refuse("one", "3 of 9 responses wrong")
    first, second = samples.rows(["one", "two", "three"])
    assert (first.gateway, first.no, first.figures) == ("one", "3 of 9 responses wrong", {})
    assert second.figures["p50"].samples == (2.0,)


def test_gateways_that_cannot_play_are_named_with_the_reason() -> None:
    rows = [
        Row("echo", "fast", {"p50": Figure((1.0,), "µs")}),
        Row("echo", "old", no="handshake only"),
        Row("echo", "older", no="handshake only"),
    ]
    text = "\n".join(table.section("echo", rows))
    assert "| fast | 1.00 µs |" in text
    assert "- no old, older: handshake only" in text
    assert "| old" not in text


@pytest.mark.parametrize(("ours", "said"), [(8_000.0, "kept"), (7_900.0, "NOT kept")])
def test_throughput_is_judged_by_the_ratio_of_the_medians(ours: float, said: str) -> None:
    rows = [
        echo("modern", table.BARE, 16, rate=(10_000.0, 9_000.0, 11_000.0)),
        echo("modern", table.OURS, 16, rate=(ours, ours, ours)),
    ]
    (judged,) = [line for line in table.ratios(rows) if line.startswith("| modern")]
    assert judged.endswith(f"| at least 0.8 | {said} |")


@pytest.mark.parametrize(("ours", "said"), [(130.0, "kept"), (131.0, "NOT kept")])
def test_latency_is_judged_by_what_is_added_to_the_direct_way(ours: float, said: str) -> None:
    rows = [
        echo("handshake", table.BARE, 1, added_p50=(100.0,)),
        echo("handshake", table.OURS, 1, added_p50=(ours,)),
    ]
    (judged,) = [line for line in table.ratios(rows) if line.startswith("| handshake")]
    assert judged.endswith(f"| at most 1.3 | {said} |")


def test_the_ratios_name_gateways_and_columns_that_there_are() -> None:
    assert {table.OURS, table.BARE} == {BACKCHANNEL.name, BARE.name}
    measured = {kind.named(BehindOf(era)) for era in ("modern", "handshake") for kind in ECHOES}
    assert {ratio.measurement for ratio in table.RATIOS} <= measured
    assert table.ratios([]) == []


def test_the_table_replaces_what_stands_between_the_markers(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.place("new\n", path)
    assert path.read_text() == f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n"
    path.write_text("nothing")
    with pytest.raises(ValueError, match="no lines"):
        table.place("new", path)
