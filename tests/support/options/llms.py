"""The options of the LLM: which one is asked and how, what it may cost, and what becomes of two answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.llm.dialects import openai_said
from tests.support.options.stand import (
    ABSENT,
    FAILING,
    REFUSED,
    SPEAKING,
    Row,
    Stand,
    held,
    llm,
    sampling,
)
from tests.support.parties import SAMPLING
from tests.support.scripted_http import Exchange, answer

Json = dict[str, Any]
SPENT = {"tokens_per_day": 1}
FAILED = "error -32603"
AT = "sampling.llm_config"
NO_RETRY = {"sampling.max_retry_attempts": 0}
TWO_MODELS = llm(model=None, models=["small", "big"])
CHEAP = {"costPriority": 1}
MARKS = answer(openai_said("9 2"))
HYBRID = {"sampling.default_sampling_strategy": "hybrid", "sampling.hybrid.combine": "best"}


async def _path(s: Stand) -> str:
    await s.answer(SAMPLING)
    return s.services["one"].requests[0].path.removeprefix("/v1")


async def _key(s: Stand) -> str:
    await s.answer(SAMPLING)
    return s.services["one"].requests[0].headers["authorization"]


async def _services(s: Stand) -> list[int]:
    await s.answer(SAMPLING)
    return [len(service.requests) for service in s.services.values()]


async def _together(s: Stand) -> list[int]:
    """How many of two questions reach the service at once, and how many wait."""
    (chain, _) = s.gateway.gateway.chains()
    counts: list[int] = []

    def reached(_: int) -> bool:
        counts[:] = [len(s.requests), chain.queued]
        return sum(counts) == 2

    await s.at_once(2, reached)
    return counts


async def _queue(s: Stand) -> list[str]:
    (chain, _) = s.gateway.gateway.chains()
    return sorted(await s.at_once(2, lambda done: len(s.requests) + chain.queued + done == 2))


async def recovering(exchange: Exchange) -> None:
    """Fail once."""
    await (FAILING if len(exchange.server.requests) == 1 else SPEAKING)(exchange)


async def _circuit(s: Stand) -> str:
    """The state of the circuit after a failure and a success."""
    for text in ("one", "two"):
        await s.answer(sampling(text))
    return (await s.gateway.api("/api/llm"))["sampling"][0]["circuit"]["state"]


def model(field: str, values: tuple[Any, Any], seen: tuple[str, str], preferences: Json, **known: Any) -> Row:
    """A row of the catalogue: which of the models `small` and `big` the service is asked for."""
    prices = ("input_usd_per_million", "output_usd_per_million")
    other = dict.fromkeys(prices, 10) if field in prices else {}
    base = {AT: TWO_MODELS, "models": [{"name": "big", **known}, {"name": "small", **other}]}
    play = lambda s: s.sent("model", modelPreferences=preferences)  # noqa: E731
    return Row(f"RawModel.{field}", f"models.0.{field}", values, seen, play, base=base)


def breaker(field: str, values: tuple[Any, Any], seen: tuple[Any, Any], play: Any, **rules: Any) -> Row:
    base = {**NO_RETRY, AT: llm(circuit_breaker={"failure_threshold": 1, **rules})}
    at = f"{AT}.circuit_breaker.{field}"
    one = FAILING if field != "success_threshold" else recovering
    return Row(f"RawCircuitBreaker.{field}", at, values, seen, play, base=base, one=one)


def cache(field: str, values: tuple[Any, Any], seen: tuple[int, int], *texts: str, **more: Any) -> Row:
    """How many requests reach the service, asked for each text."""
    params = more.pop("params", {"temperature": 0})
    play = lambda s: s.counted(*texts, **params)  # noqa: E731
    return Row(f"RawCache.{field}", f"sampling.cache.{field}", values, seen, play, **more)


async def _two_servers(s: Stand) -> int:
    for tool in ("raw__ask", "twin__ask"):
        await s.answer(sampling(temperature=0), tool)
    return len(s.requests)


def weight(field: str) -> Row:
    """How much one signal counts shows in the score that the server is told."""
    text = "I think it is 5. 2 + 2 = 5."
    said = openai_said(text, finish="length")
    said["choices"][0]["logprobs"] = {
        "content": [{"token": "x", "logprob": -1.0, "bytes": None, "top_logprobs": []}]
    }
    judge = {"sampling.hybrid.judge": True} if field == "judge" else {}
    if field == "judge":
        said["choices"][0]["message"]["content"] = "9 2"

    async def play(s: Stand) -> bool:
        params = {"systemPrompt": "Answer in JSON only."}
        told = await s.answer(sampling("What is 2 + 2? Answer in JSON.", **params))
        confidence = told["result"]["_meta"]["backchannel/routing"]["local_metadata"]["confidence"]
        signal, others = confidence["signals"][field], confidence["signals"]
        rest = [value for name, value in others.items() if name != field]
        assert signal != sum(rest) / len(rest), f"{field} says what all others say"
        return abs(confidence["score"] - signal) < 0.03

    at = f"sampling.hybrid.weights.{field}"
    base = {**HYBRID, **judge}
    return Row(f"RawWeights.{field}", at, (0, 100), (False, True), play, base=base, one=answer(said))


async def _rows_of_costs(s: Stand) -> list[str]:
    for tool in ("raw__writes-1", "raw__writes-2"):
        await s.answer(sampling(tool), tool)
    headers = {"authorization": "Bearer key-of-ann"}
    return sorted(row["tool"] for row in (await s.gateway.api("/api/costs?by=tool", **headers))["rows"])


async def _days_of_costs(s: Stand) -> int:
    """How many days are shown once it has become tomorrow."""
    metering = s.gateway.gateway._metering
    await s.answer(sampling("today"))
    metering._now = lambda: datetime.now(UTC) + timedelta(days=1)
    await s.answer(sampling("tomorrow"))
    return len((await s.gateway.api("/api/costs?by=day"))["rows"])


ROWS: list[Row] = [
    Row("RawLlm.provider", f"{AT}.provider", ("openai", "ollama"), ("/chat/completions", "/api/chat"), _path),
    Row("RawLlm.model", f"{AT}.model", ("one", "two"), ("one", "two"), lambda s: s.sent("model")),
    Row(
        "RawLlm.models",
        f"{AT}.models",
        (["one", "two"], ["two", "one"]),
        ("one", "two"),
        lambda s: s.sent("model"),
        base={AT: llm(model=None)},
    ),
    Row(
        "RawLlm.api_key_env",
        f"{AT}.api_key_env",
        ("TEST_LLM_KEY", "OTHER_KEY"),
        ("Bearer sk-one", "Bearer sk-other"),
        _key,
    ),
    Row("RawLlm.base_url", f"{AT}.base_url", ("@one", "@two"), ([1, 0], [0, 1]), _services),
    Row(
        "RawLlm.timeout_seconds",
        f"{AT}.timeout_seconds",
        (0.05, 30),
        (FAILED, "llm"),
        lambda s: s.patient(),
        base=NO_RETRY,
        one=held,
    ),
    Row(
        "RawLlm.max_tokens",
        f"{AT}.max_tokens",
        (7, 40),
        (7, 40),
        lambda s: s.sent("max_completion_tokens", "max_tokens"),
    ),
    Row("RawLlm.temperature", f"{AT}.temperature", (0.1, 0.9), (0.1, 0.9), lambda s: s.sent("temperature")),
    Row(
        "RawLlm.model_path",
        "elicitation.llm_config.model_path",
        (ABSENT, "no-such-file.gguf"),
        ("llm", REFUSED),
        lambda s: s.who(),
        base={"elicitation.llm_config": {"provider": "local"}},
    ),
    Row("RawLlm.max_concurrent", f"{AT}.max_concurrent", (1, 2), ([1, 1], [2, 0]), _together, one=held),
    Row(
        "RawLlm.max_queued",
        f"{AT}.max_queued",
        (0, 1),
        (sorted((FAILED, "llm")), ["llm", "llm"]),
        _queue,
        base={f"{AT}.max_concurrent": 1, **NO_RETRY},
        one=held,
    ),
    breaker("enabled", (True, False), (1, 2), lambda s: s.counted("a", "b")),
    breaker("failure_threshold", (1, 2), (1, 2), lambda s: s.counted("a", "b")),
    breaker("recovery_timeout", (60, 0.001), (1, 2), lambda s: s.counted("a", "b")),
    breaker("success_threshold", (1, 2), ("closed", "half_open"), _circuit, recovery_timeout=0.001),
    model("name", ("big", "other"), ("big", "small"), {"intelligencePriority": 1}, intelligence=1),
    model(
        "provider",
        ("openai", "anthropic"),
        ("big", "small"),
        {"intelligencePriority": 1},
        intelligence=1,
    ),
    model("aliases", ([], ["opus"]), ("small", "big"), {"hints": [{"name": "opus"}]}),
    model("cost", (1, 0), ("big", "small"), {"costPriority": 1}),
    model("speed", (1, 0), ("big", "small"), {"speedPriority": 1}),
    model("intelligence", (1, 0), ("big", "small"), {"intelligencePriority": 1}),
    model(
        "input_usd_per_million", (1, 1000), ("big", "small"), {"costPriority": 1}, output_usd_per_million=1
    ),
    model(
        "output_usd_per_million", (1, 1000), ("big", "small"), {"costPriority": 1}, input_usd_per_million=1
    ),
    model("context_window", (100_000, 10), ("big", "small"), {"hints": [{"name": "big"}]}),
    Row(
        "RawBudget.tokens_per_day",
        "sampling.budget.tokens_per_day",
        (1, 1_000_000),
        (["llm", FAILED], ["llm", "llm"]),
        lambda s: s.twice(),
    ),
    Row(
        "RawBudget.usd_per_day",
        "sampling.budget.usd_per_day",
        (0.000001, 1000),
        (["llm", FAILED], ["llm", "llm"]),
        lambda s: s.twice(),
        base={"models": [{"name": "gpt-test", "input_usd_per_million": 1, "output_usd_per_million": 1}]},
    ),
    Row(
        "RawBudget.on_exceeded",
        "sampling.budget.on_exceeded",
        ("hard", "soft"),
        (["llm", FAILED], ["llm", "llm"]),
        lambda s: s.twice(),
        base={"sampling.budget": SPENT},
    ),
    Row(
        "RawCosts.each_principal",
        "costs.each_principal",
        (ABSENT, SPENT),
        (["llm", "llm"], ["llm", FAILED]),
        lambda s: s.twice(),
        key=True,
    ),
    Row(
        "RawCosts.principals",
        "costs.principals",
        ({"bob": SPENT}, {"ann": SPENT}),
        (["llm", "llm"], ["llm", FAILED]),
        lambda s: s.twice(),
        key=True,
    ),
    Row(
        "RawCosts.max_rows",
        "costs.max_rows",
        (1, 10),
        (["(others)", "raw__writes-1"], ["raw__writes-1", "raw__writes-2"]),
        _rows_of_costs,
        key=True,
    ),
    Row("RawCosts.keep_days", "costs.keep_days", (1, 2), (1, 2), _days_of_costs),
    cache("enabled", (True, False), (1, 2), "same", "same"),
    cache("when", ("temperature_0", "always"), (2, 1), "same", "same", params={"temperature": 1}),
    cache("ttl_seconds", (60, 0.0001), (1, 2), "same", "same"),
    cache("max_entries", (1, 2), (3, 2), "one", "two", "one"),
    cache("max_bytes", (1, 1_000_000), (2, 1), "same", "same"),
    Row("RawCache.shared", "sampling.cache.shared", (False, True), (2, 1), _two_servers, twin=True),
    Row(
        "RawHybrid.combine",
        "sampling.hybrid.combine",
        ("best", "merge"),
        (1, 2),
        lambda s: s.counted(),
        base={"sampling.default_sampling_strategy": "hybrid"},
    ),
    Row(
        "RawHybrid.judge",
        "sampling.hybrid.judge",
        (False, True),
        (1, 3),
        lambda s: s.counted(),
        base=HYBRID,
        one=MARKS,
    ),
    *[
        weight(field)
        for field in ("stop", "certainty", "format", "directness", "soundness", "agreement", "judge")
    ],
    Row(
        "RawSampling.hybrid",
        "sampling.hybrid",
        ({"combine": "best"}, {"combine": "best", "judge": True}),
        (1, 3),
        lambda s: s.counted(),
        base={"sampling.default_sampling_strategy": "hybrid"},
        one=MARKS,
    ),
]
