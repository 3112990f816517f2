"""The options of how the LLM makes an answer: they show in how often, and with what, its service is asked."""

from __future__ import annotations

from typing import Any

from tests.llm.dialects import openai_said
from tests.support.options.stand import ABSENT, Row, Stand
from tests.support.parties import SAMPLING
from tests.support.scripted_http import Exchange, answer

THRICE = {"technique": "consensus", "samples": 3}
TWICE = {"technique": "consensus", "samples": 2}
TOOL = {"name": "raw__ask", "sampling_technique": THRICE}
SERVER = "external_mcp.servers.0"
ROUTING = "external_mcp.external_routing.sampling"


async def _revising(exchange: Exchange) -> None:
    """Another answer each time, so that there is always something to improve."""
    await answer(openai_said(f"Draft {len(exchange.server.requests)} is wrong; write it anew."))(exchange)


async def _temperatures(s: Stand) -> set[float]:
    await s.answer(SAMPLING)
    return {request["temperature"] for request in s.requests}


def row(option: str, at: str, values: tuple[Any, Any] = (ABSENT, THRICE), seen: Any = (1, 3)) -> Row:
    return Row(option, at, values, seen, lambda s: s.counted())


ROWS: list[Row] = [
    row("RawSampling.default_sampling_technique", "sampling.default_sampling_technique"),
    row("RawSamplingRouting.default_technique", f"{ROUTING}.default_technique"),
    row("RawSamplingRouting.server_techniques", f"{ROUTING}.server_techniques", ({}, {"raw": THRICE})),
    row("RawServer.sampling_technique", f"{SERVER}.sampling_technique"),
    row(
        "RawTool.sampling_technique", "tools", (ABSENT, [{"name": "raw__ask", "sampling_technique": THRICE}])
    ),
    row("RawSmartDiscovery.default_sampling_technique", "smart_discovery.default_sampling_technique"),
    row(
        "RawTechnique.technique",
        "sampling.default_sampling_technique.technique",
        ("single_shot", "iterative"),
        (1, 3),
    ),
    row(
        "RawTechnique.samples",
        "sampling.default_sampling_technique",
        (TWICE, THRICE),
        (2, 3),
    ),
    Row(
        "RawTechnique.temperature",
        "sampling.default_sampling_technique",
        ({**TWICE, "temperature": 0.3}, {**TWICE, "temperature": 0.6}),
        ({0.3}, {0.6}),
        _temperatures,
    ),
    Row(
        "RawTechnique.rounds",
        "sampling.default_sampling_technique",
        ({"technique": "iterative", "rounds": 1}, {"technique": "iterative", "rounds": 2}),
        (3, 5),
        lambda s: s.counted(),
        one=_revising,
    ),
]
