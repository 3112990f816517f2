"""`python -m benchmarks.speed`: this gateway beside other gateways, in one run on one machine.

Prints one table. `scripts/benchmark` installs first what it needs: wrk, nginx, and the other
gateways, each in an environment of its own. What is not there is named in the table, not left out.

How a measurement is added: docs/performance.md, "Adding a measurement".
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.speed import table
from benchmarks.speed.figures import Row
from benchmarks.speed.gateways.port import Gateway, NotInstalled
from benchmarks.speed.gateways.registry import GATEWAYS
from benchmarks.speed.rows.registry import ROWS
from benchmarks.speed.stand import Options, Stand


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--quick", action="store_true", help="one run of one second: to try it, not to publish")
    made.add_argument(
        "--only", action="append", choices=list(ROWS), metavar="ROW", help=f"one of {', '.join(ROWS)}"
    )
    made.add_argument(
        "--gateway",
        action="append",
        choices=[gateway.name for gateway in GATEWAYS],
        metavar="NAME",
        help="measure only this one; may be repeated",
    )
    made.add_argument("--runs", type=int, default=5, metavar="N", help="runs of each measurement (default 5)")
    made.add_argument("--seconds", type=int, default=3, metavar="S", help="seconds of each load (default 3)")
    made.add_argument("--json", type=Path, metavar="FILE", help="write every sample there too")
    made.add_argument(
        "--markdown", type=Path, metavar="FILE", help="put the table between this file's markers"
    )
    made.add_argument(
        "--install", action="store_true", help="install the other gateways, and measure nothing"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    given = parser().parse_args(arguments)
    chosen = [each for each in GATEWAYS if not given.gateway or each.name in given.gateway]
    if given.install:
        install(chosen)
        return
    options = Options(1, 1.0, True) if given.quick else Options(given.runs, float(given.seconds))
    words = sys.argv[1:] if arguments is None else arguments
    about = machine(shlex.join(["python", "-m", "benchmarks.speed", *words]))
    rows, pinned = asyncio.run(measure(options, chosen, given.only or list(ROWS)))
    about |= {
        "cores": pinned,
        "runs": f"{options.runs}, each load {options.seconds:g} s, gateways taking turns",
    }
    gateways = [(each.name, version(each), each.about) for each in chosen]
    text = table.render(rows, about, gateways)
    print(text)
    if given.json:
        given.json.write_text(json.dumps(table.as_json(rows, about, gateways), indent=1))
    if given.markdown:
        table.place(text, given.markdown)


async def measure(
    options: Options, players: Sequence[Gateway], names: Sequence[str]
) -> tuple[list[Row], str]:
    """Make the measurements of these names; returns their rows, and which core did what."""
    rows: list[Row] = []
    async with Stand(options, players) as stand:
        for name in names:
            stand.say(f"--- {name}")
            rows += await ROWS[name](stand)
        return rows, stand.pinning.words


def install(gateways: Sequence[Gateway]) -> None:
    """Install what is missing, and say what cannot be."""
    for gateway in gateways:
        try:
            gateway.install()
            print(f"speed: {gateway.name} {gateway.version()}", file=sys.stderr)
        except NotInstalled as error:
            print(f"speed: {gateway.name}: {error}", file=sys.stderr)


def version(gateway: Gateway) -> str:
    """Its version, or that it is not there."""
    try:
        return gateway.version()
    except NotInstalled:
        return "not installed"


def machine(command: str) -> dict[str, str]:
    """What it was measured with: everything a reader needs to compare."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or "unknown",
    )
    memory = next(
        (int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0
    )
    return {
        "command": f"`{command}`",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{cpu}, {os.cpu_count()} cores, {memory / 1024**2:.0f} GiB, Linux {platform.release()}",
        "load before": f"{os.getloadavg()[0]:.2f} (a machine that does something else measures that too)",
        "Python": platform.python_version(),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    main()
