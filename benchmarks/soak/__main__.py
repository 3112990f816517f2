"""`python -m benchmarks.soak`: run it, print its report, end with status 1 if it was breached."""

from __future__ import annotations

import argparse
import asyncio
import sys

from benchmarks.soak.ledger import Bounds
from benchmarks.soak.report import report
from benchmarks.soak.run import Plan, soak


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rate", type=float, default=120.0, help="actions a second of all clients together")
    parser.add_argument("--log", action="store_true", help="show the end of the gateway's log too")
    given = parser.parse_args()
    plan = Plan(given.minutes * 60, given.seed, given.clients, given.rate)
    ledger, log = asyncio.run(soak(plan))
    page, good = report(plan, ledger, Bounds())
    print(page)
    if given.log or not good:
        print(f"\nthe end of the gateway's log:\n{log}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
