"""The options of `when`: each with a value that holds for the question asked, and one that does not.

All are put to one gateway: every value has a tool of its own, whose cases say that the client answers
where it holds, and else the LLM.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.options.stand import Row, Stand, held, put, sampling
from tests.support.parties import who

Json = dict[str, Any]
CLIENT, LLM = "client_forwarded", "gateway_handled"
QUESTION = sampling("x" * 400, modelPreferences={"hints": [{"name": "opus-4"}]})
"""Of 400 characters; the client is called Desk, its key is Ann's, its tool says that it only reads."""


@dataclass(frozen=True)
class Condition:
    """`at` is the place inside `when`; `beside` what stands there, too."""

    option: str
    at: str
    holds: Any
    fails: Any
    beside: Json | None = None


def hours(first: int, last: int) -> str:
    """The time of day from so many hours from now to so many."""
    now = datetime.now(UTC)
    start, end = now + timedelta(hours=first), now + timedelta(hours=last)
    return f"{start:%H:%M}-{end:%H:%M}"


def days(*ahead: int) -> list[str]:
    return [f"{datetime.now(UTC) + timedelta(days=day):%a}".lower() for day in ahead]


CONDITIONS = [
    Condition("RawWhen.between", "between", hours(-2, 2), hours(3, 5)),
    Condition("RawWhen.weekdays", "weekdays", days(0, 1), days(3, 4)),
    Condition("RawWhen.timezone", "timezone", "UTC", "Etc/GMT+6", {"between": hours(-2, 2)}),
    Condition("RawWhen.client", "client", "desk", "cursor*"),
    Condition("RawWhen.principal", "principal", "an?", "bob"),
    Condition("RawWhen.model_hint", "model_hint", "opus*", "sonnet*"),
    Condition("RawPrompt.min_characters", "prompt.min_characters", 400, 401),
    Condition("RawPrompt.max_characters", "prompt.max_characters", 400, 399),
    Condition("RawPrompt.min_tokens", "prompt.min_tokens", 100, 101),
    Condition("RawPrompt.max_tokens", "prompt.max_tokens", 100, 99),
    Condition("RawAnnotations.readOnlyHint", "annotations.readOnlyHint", True, False),
    Condition("RawAnnotations.destructiveHint", "annotations.destructiveHint", False, True),
    Condition("RawAnnotations.idempotentHint", "annotations.idempotentHint", True, False),
    Condition("RawAnnotations.openWorldHint", "annotations.openWorldHint", False, True),
    Condition("RawSpent.fraction", "spent.fraction", 0.000001, 0.5),
    Condition("RawSpent.usd", "spent.usd", 0.000001, 1000),
    Condition("RawSpent.tokens", "spent.tokens", 1, 1_000_000),
]


def tools() -> list[Json]:
    """Two tools for each condition: the even one has the value that holds."""
    entries: list[Json] = []
    for condition in CONDITIONS:
        for value in (condition.holds, condition.fails):
            when: Json = dict(condition.beside or {})
            put(when, condition.at, value)
            cases = [{"when": when, "use": CLIENT}, {"use": LLM}]
            entries.append({"name": f"raw__reads-{len(entries)}", "sampling_strategy": cases})
    return entries


async def play(s: Stand) -> Json:
    """Spend something; then ask through each tool, and tell who answered by option."""
    await s.answer(sampling("first"))
    return {
        condition.option: tuple(
            [who(await s.answer(QUESTION, f"raw__reads-{2 * number + other}")) for other in (0, 1)]
        )
        for number, condition in enumerate(CONDITIONS)
    }


ALL = Row(
    "RawWhen",
    "tools",
    (tools(), None),
    (None, None),
    play,
    base={
        "sampling.budget": {"tokens_per_day": 1_000_000},
        "models": [{"name": "gpt-test", "input_usd_per_million": 1, "output_usd_per_million": 1}],
    },
    key=True,
)


async def _under_load(s: Stand) -> str:
    """Who answers while two questions are in flight, of which one waits for its place at the LLM."""
    (chain, _) = s.gateway.gateway.chains()
    told = await s.at_once(
        2,
        lambda _: len(s.requests) == 1 and chain.queued == 1,
        lambda done: done == 1 or chain.queued == 2,
    )
    return told[-1]


def _load(option: str, name: str, values: tuple[int, int]) -> Row:
    cases = [{"when": {"load": {name: value}}, "use": CLIENT} for value in values]
    return Row(
        option,
        "tools",
        tuple([{"name": "raw__ask", "sampling_strategy": [case, {"use": LLM}]}] for case in cases),
        ("client", "llm"),
        _under_load,
        base={"sampling.llm_config.max_concurrent": 1},
        one=held,
    )


ROWS: list[Row] = [
    _load("RawLoad.in_flight", "in_flight", (2, 3)),
    _load("RawLoad.queued", "queued", (1, 2)),
    Row(
        "RawCase.use",
        "sampling.default_sampling_strategy",
        ([{"use": LLM}], [{"use": CLIENT}]),
        ("llm", "client"),
        lambda s: s.who(),
    ),
]
