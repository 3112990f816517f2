"""What policy costs a call that raises no question: nothing configured against everything at once."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.speed.figures import Row
from benchmarks.speed.gateways.port import Behind
from benchmarks.speed.provider import KEY, providing
from benchmarks.speed.rows.flatness import compare
from benchmarks.speed.rows.questions import ERAS
from benchmarks.speed.stand import Stand

Json = dict[str, Any]

WEIGHED: list[Json] = [
    {"when": {"prompt": {"min_tokens": 20_000}}, "use": "client_forwarded"},
    {"when": {"between": "22:00-06:00", "timezone": "Europe/Berlin"}, "use": "magictunnel_first"},
    {"use": "hybrid"},
]
"""A strategy that has to look at the moment and at the question."""


ASKABLE: Json = {"sampling": {}, "elicitation": {}}
"""What the clients declare: with less there would be nothing to decide."""


def everything(provider: Json) -> Json:
    """Every level says something of both kinds; budgets, a cache, techniques and decisions are on."""
    kinds: Json = {
        kind: {f"default_{kind}_strategy": "hybrid", "llm_config": provider}
        for kind in ("sampling", "elicitation")
    }
    routing = {
        kind: {"default_strategy": WEIGHED, "server_strategies": {"bench": "parallel"}, "timeout_seconds": 30}
        for kind in ("sampling", "elicitation")
    }
    smart = {"enabled": True, "default_sampling_strategy": "client_first"}
    return {
        **kinds,
        "smart_discovery": smart,
        "external_mcp": {"external_routing": {"enabled": True, **routing}},
    }


async def measure(stand: Stand) -> list[Row]:
    """Compare the two, for clients of both eras that can be asked anything."""
    os.environ.setdefault(KEY, "sk-bench-0123456789")
    rows: list[Row] = []
    async with providing() as provider:
        for era in ERAS:
            bare = Behind(era)
            full = Behind(era, config=everything(provider.config()))
            what = f"a call without a question, no policy against every level and condition, {era}"
            rows += await compare(stand, what, bare, full, ASKABLE)
    return rows
