"""The options of the levels: who is asked, within which limits, and what stays refused."""

from __future__ import annotations

from typing import Any

import mcp_types as types

from tests.llm.dialects import openai_said
from tests.support.options.stand import (
    ABSENT,
    FAILING,
    FILLING,
    REFUSED,
    SPEAKING,
    Play,
    Row,
    Stand,
    held,
    llm,
)
from tests.support.parties import ELICITATION, SAMPLING, Person
from tests.support.scripted_http import answer

BUSY = types.ErrorData(code=-32603, message="busy")
CLIENT, LLM = "client_forwarded", "gateway_handled"
SPENT = {"tokens_per_day": 1}
ROUTING = "external_mcp.external_routing"
SERVER = "external_mcp.servers.0"
NO_STRATEGY = {"sampling.default_sampling_strategy": None, "elicitation.default_elicitation_strategy": None}
FAILED, REFUSED_CODE = "error -32603", "error -32601"
ARRAY = {
    "method": "elicitation/create",
    "params": {
        "message": "Which colours?",
        "requestedSchema": {
            "type": "object",
            "properties": {"colour": {"type": "array", "items": {"enum": ["llm", "red"]}}},
        },
    },
}


async def _reason(s: Stand) -> str:
    """The limit that a client which never answers is told to have passed."""
    return (await s.error()).split("client: ")[1].split(" (")[0]


async def _form_reason(s: Stand) -> str:
    return (await s.error(ELICITATION)).split("client: ")[1].split(" (")[0]


async def _first_asked(s: Stand) -> list[int]:
    await s.who()
    return [len(service.requests) for service in s.services.values()]


async def _form_asked(s: Stand) -> list[int]:
    await s.answer(ELICITATION)
    return [len(service.requests) for service in s.services.values()]


async def _shown(s: Stand) -> str:
    """What the client's user reads."""
    await s.answer(ELICITATION)
    return s.person.asked[0].message


async def _complex(s: Stand) -> str:
    return "error" if "error" in await s.answer(ARRAY) else "llm"


async def _deep(s: Stand) -> str:
    """A call that says it is made to answer a question asks one itself."""
    meta = {"backchannel/depth": 1, "backchannel/root": "r"}
    result = await s.client.call_tool("raw__ask", {"requests": {"q": SAMPLING}}, meta=meta)
    return "error" if "error" in result.structured_content["answers"]["q"] else "llm"


def limit(seconds: float) -> str:
    return f"the client did not answer within {seconds:g} s"


def of_limits(model: str, kind: str, at: str, timeout: str) -> list[Row]:
    """The rows of what holds the one who is asked, at one place, where the field of the time is `timeout`."""
    request, one = (SAMPLING, SPEAKING) if kind == "sampling" else (ELICITATION, FILLING)
    strategy = f"{kind}.default_{kind}_strategy"
    return [
        Row(
            f"{model}.{timeout}",
            f"{at}.{timeout}",
            (0.05, 0.1),
            (limit(0.05), limit(0.1)),
            _reason if kind == "sampling" else _form_reason,
            base={strategy: CLIENT},
            silent=True,
            one=one,
        ),
        Row(
            f"{model}.fallback_to_magictunnel",
            f"{at}.fallback_to_magictunnel",
            (True, False),
            ("llm", FAILED),
            lambda s: s.who(request),
            base={strategy: "client_first"},
            person=Person(fails=BUSY),
            one=one,
        ),
        Row(
            f"{model}.max_retry_attempts",
            f"{at}.max_retry_attempts",
            (0, 1),
            ([1, 0], [2, 0]),
            _first_asked if kind == "sampling" else _form_asked,
            one=FAILING,
        ),
    ]


def of_kind(model: str, kind: str) -> list[Row]:
    """The rows of what stands alike under `sampling` and under `elicitation`."""
    request = SAMPLING if kind == "sampling" else ELICITATION
    strategy = f"default_{kind}_strategy"
    at = f"{kind}.{strategy}"
    one = {"one": FILLING} if kind == "elicitation" else {}
    who = lambda s: s.who(request)  # noqa: E731
    asked = _first_asked if kind == "sampling" else _form_asked

    def row(option: str, place: str, values: Any, seen: Any, play: Play, **more: Any) -> Row:
        return Row(option, place, values, seen, play, **{**one, **more})

    return [
        row(f"{model}.enabled", f"{kind}.enabled", (True, False), ("llm", REFUSED_CODE), who),
        row(f"{model}.{strategy}", at, (LLM, CLIENT), ("llm", "client"), who),
        *of_limits(model, kind, kind, "default_timeout_seconds"),
        row(
            f"{model}.llm_configs",
            f"{kind}.llm_configs",
            ([llm("one"), llm("two")], [llm("two"), llm("one")]),
            ([1, 0], [0, 1]),
            asked,
            base={f"{kind}.llm_config": None},
            **({"two": FILLING} if kind == "elicitation" else {}),
        ),
    ]


def levels(model: str, kind: str) -> list[Row]:
    """The rows of what the levels around it say of one kind."""
    request, one = (SAMPLING, SPEAKING) if kind == "sampling" else (ELICITATION, FILLING)
    strategy = f"default_{kind}_strategy"
    who = lambda s: s.who(request)  # noqa: E731
    twice = lambda s: s.twice(request)  # noqa: E731
    smart = {**NO_STRATEGY, "smart_discovery": {strategy: CLIENT}}

    def row(option: str, place: str, values: Any, seen: Any, play: Play, **more: Any) -> Row:
        return Row(option, place, values, seen, play, one=one, **more)

    return [
        row(f"{model}.budget", f"{kind}.budget", (ABSENT, SPENT), (["llm"] * 2, ["llm", FAILED]), twice),
        row(
            f"{model}.unsolicited",
            f"{kind}.unsolicited",
            ("own_llm", "refuse"),
            ("llm", REFUSED_CODE),
            lambda s: s.outside(request),
            base={f"{SERVER}.isolation": "session"},
        ),
        row(
            f"RawSmartDiscovery.{strategy}",
            f"smart_discovery.{strategy}",
            (LLM, CLIENT),
            ("llm", "client"),
            who,
            base=smart,
        ),
        row(
            f"RawServer.{kind}_strategy",
            f"{SERVER}.{kind}_strategy",
            (LLM, CLIENT),
            ("llm", "client"),
            who,
        ),
        row(
            f"RawTool.{kind}_strategy",
            "tools",
            tuple([{"name": "raw__ask", f"{kind}_strategy": value}] for value in (LLM, CLIENT)),
            ("llm", "client"),
            who,
        ),
    ]


def of_routing(model: str, kind: str) -> list[Row]:
    """The rows of level 2 for one kind."""
    at = f"{ROUTING}.{kind}"
    request, one = (SAMPLING, SPEAKING) if kind == "sampling" else (ELICITATION, FILLING)
    who = lambda s: s.who(request)  # noqa: E731
    named: list[tuple[str, Any]] = [("default_strategy", CLIENT), ("server_strategies", {"raw": CLIENT})]
    return [
        *[
            Row(f"{model}.{field}", f"{at}.{field}", (ABSENT, value), ("llm", "client"), who, one=one)
            for field, value in named
        ],
        *of_limits(model, kind, at, "timeout_seconds"),
    ]


def floor(option: str, at: str, values: tuple[Any, Any] = (0, 1)) -> Row:
    """The row of one place that says how far a form of the LLM's must be believed."""
    return Row(option, at, values, ("llm", FAILED), lambda s: s.form(), one=FILLING)


ROWS: list[Row] = [
    *of_kind("RawSampling", "sampling"),
    *of_kind("RawElicitation", "elicitation"),
    *levels("RawSampling", "sampling"),
    *levels("RawElicitation", "elicitation"),
    Row(
        "RawSampling.llm_config",
        "sampling.llm_config",
        (llm(), None),
        ("llm", REFUSED_CODE),
        lambda s: s.who(),
    ),
    Row(
        "RawElicitation.llm_config",
        "elicitation.llm_config",
        (ABSENT, llm("two")),
        ([1, 0], [0, 1]),
        _form_asked,
        one=FILLING,
        two=FILLING,
    ),
    Row(
        "RawSampling.parallel_head_start_ms",
        "sampling.parallel_head_start_ms",
        (0, 60_000),
        (True, False),
        lambda s: s.asked(SAMPLING),
        base={"sampling.default_sampling_strategy": "parallel"},
        mode="2026-07-28",
        one=held,
    ),
    Row(
        "RawElicitation.parallel_head_start_ms",
        "elicitation.parallel_head_start_ms",
        (0, 60_000),
        (True, False),
        lambda s: s.asked(ELICITATION),
        base={"elicitation.default_elicitation_strategy": "parallel"},
        one=FILLING,
    ),
    Row(
        "RawElicitation.max_schema_complexity",
        "elicitation.max_schema_complexity",
        ("Simple", "WithArrays"),
        ("error", "llm"),
        _complex,
        one=answer(openai_said('{"colour": ["llm"]}')),
    ),
    Row(
        "RawElicitation.max_repairs",
        "elicitation.max_repairs",
        (0, 2),
        ([1, 0], [3, 0]),
        _form_asked,
    ),
    floor("RawElicitation.min_confidence", "elicitation.min_confidence"),
    floor("RawElicitationRouting.min_confidence", f"{ROUTING}.elicitation.min_confidence"),
    floor("RawServer.elicitation_min_confidence", f"{SERVER}.elicitation_min_confidence"),
    floor(
        "RawTool.elicitation_min_confidence",
        "tools",
        tuple([{"name": "raw__ask", "elicitation_min_confidence": share}] for share in (0, 1)),
    ),
    Row(
        "RawGateway.label_questions",
        "label_questions",
        (True, False),
        ("[raw] Which colour?", "Which colour?"),
        _shown,
        base={"elicitation.default_elicitation_strategy": CLIENT},
    ),
    Row(
        "RawElicitation.enable_hybrid_elicitation",
        "elicitation.enable_hybrid_elicitation",
        (True, False),
        ("client", REFUSED),
        lambda s: s.form(),
        base={"elicitation.default_elicitation_strategy": "hybrid"},
        one=FILLING,
    ),
    Row(
        "RawElicitation.enable_response_combination",
        "elicitation.enable_response_combination",
        (True, False),
        ({"colour": "client green", "note": "by the llm"}, {"colour": "client green"}),
        lambda s: s.content(),
        base={"elicitation.default_elicitation_strategy": "hybrid"},
        one=FILLING,
    ),
    Row(
        "RawElicitation.hybrid",
        "elicitation.hybrid.combine",
        ("merge", "best"),
        ({"colour": "client green", "note": "by the llm"}, {"colour": "client green"}),
        lambda s: s.content(),
        base={"elicitation.default_elicitation_strategy": "hybrid"},
        one=FILLING,
    ),
    Row(
        "RawSmartDiscovery.enabled",
        "smart_discovery.enabled",
        (True, False),
        ("llm", "client"),
        lambda s: s.who(),
        base={**NO_STRATEGY, "smart_discovery.default_sampling_strategy": LLM},
    ),
    Row(
        "RawSmartDiscovery.proxy_timeout_secs",
        "smart_discovery.proxy_timeout_secs",
        (0.05, 0.1),
        (limit(0.05), limit(0.1)),
        _reason,
        base={**NO_STRATEGY, "smart_discovery.default_sampling_strategy": CLIENT},
        silent=True,
    ),
    Row(
        "RawSmartDiscovery.budget",
        "smart_discovery.budget",
        (ABSENT, SPENT),
        (["llm"] * 2, ["llm", FAILED]),
        lambda s: s.twice(),
        base={**NO_STRATEGY, "smart_discovery.default_sampling_strategy": LLM},
    ),
    Row(
        "RawExternalRouting.enabled",
        f"{ROUTING}.enabled",
        (True, False),
        ("client", "llm"),
        lambda s: s.who(),
        base={f"{ROUTING}.sampling.default_strategy": CLIENT},
    ),
    *of_routing("RawSamplingRouting", "sampling"),
    *of_routing("RawElicitationRouting", "elicitation"),
    Row(
        "RawServer.budget",
        f"{SERVER}.budget",
        (ABSENT, SPENT),
        (["llm"] * 2, ["llm", FAILED]),
        lambda s: s.twice(),
    ),
    Row(
        "RawTool.budget",
        "tools",
        (ABSENT, [{"name": "raw__ask", "budget": SPENT}]),
        (["llm"] * 2, ["llm", FAILED]),
        lambda s: s.twice(),
    ),
    Row(
        "RawLimits.max_question_depth",
        "limits.max_question_depth",
        (1, 2),
        ("error", "llm"),
        _deep,
    ),
    Row(
        "RawLimits.max_tokens_per_question",
        "limits.max_tokens_per_question",
        (7, 40),
        (7, 40),
        lambda s: s.sent("max_completion_tokens", "max_tokens"),
    ),
]
