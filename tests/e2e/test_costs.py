"""What answers cost is counted, shown, and held to budgets; which model is asked is a choice with reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.llm.dialects import anthropic_said, openai_said, user
from tests.support.llm_gateway import asking_of
from tests.support.parties import llm_config
from tests.support.scripted_http import ScriptedHttp, answer, scripted_http

Json = dict[str, Any]
PRICED = {"name": "gpt-test", "input_usd_per_million": 1000, "output_usd_per_million": 2000}
COST = (11 * 1000 + 7 * 2000) / 1e6
"""Of one scripted answer: 11 tokens in, 7 out."""


def config(service: ScriptedHttp, strategy: str = "magictunnel_handled", **more: Any) -> Json:
    return {
        "models": [PRICED],
        "sampling": {"llm_config": llm_config(service), "default_sampling_strategy": strategy},
        **more,
    }


async def test_what_an_answer_cost_is_shown_by_every_column(tmp_path: Path) -> None:
    keys = {"ADA_KEY": "k-ada-1"}
    auth = {"auth": {"keys": [{"principal": "ada", "key_env": "ADA_KEY"}]}}
    async with scripted_http(otherwise=answer(openai_said("yes"))) as service:
        async with asking_of(tmp_path, config(service, **auth), keys, key="k-ada-1") as asked:
            for text in ("one", "two"):
                await asked.text(text)
            leg = await asked.last_leg()
            assert leg["cost_usd"] == pytest.approx(COST)
            columns = "kind,server,tool,client,principal,provider,model"
            (row,) = (await asked.api(f"/api/costs?by={columns}"))["rows"]
            (by_day,) = (await asked.api("/api/costs"))["rows"]
            by_call = (await asked.api("/api/costs?by=call"))["rows"]
    assert {name: row[name] for name in ("kind", "server", "tool", "principal", "provider")} == {
        "kind": "sampling",
        "server": "raw",
        "tool": "raw__ask",
        "principal": "ada",
        "provider": "openai",
    }
    assert row["client"]
    assert (row["requests"], row["input_tokens"], row["output_tokens"]) == (2, 22, 14)
    assert row["usd"] == by_day["usd"] == pytest.approx(2 * COST)
    assert [one["usd"] for one in by_call] == [pytest.approx(COST)] * 2


async def test_a_sum_by_what_there_is_not_says_what_there_is(tmp_path: Path) -> None:
    async with scripted_http() as service, asking_of(tmp_path, config(service)) as asked:
        with pytest.raises(Exception, match="400"):
            await asked.api("/api/costs?by=colour")


@pytest.mark.parametrize("place", ["tool", "server", "organization", "principal"])
async def test_a_hard_budget_of_each_level_hands_the_next_question_to_the_client(
    tmp_path: Path, place: str
) -> None:
    async with scripted_http(answer(openai_said("the llm"))) as service:
        whole = config(service, "magictunnel_first")
        budget = {"usd_per_day": COST}
        if place == "tool":
            (tmp_path / "capabilities").mkdir()
            (tmp_path / "capabilities" / "ask.yaml").write_text(
                f"tools:\n  - {{name: raw__ask, budget: {{usd_per_day: {COST}}}}}\n"
            )
        elif place == "server":
            whole["external_mcp"] = {"servers": [{"budget": budget}]}
        elif place == "organization":
            whole["sampling"]["budget"] = budget
        else:
            whole["costs"] = {"each_principal": budget}
        async with asking_of(tmp_path, whole) as asked:
            assert await asked.text("Hello") == "the llm"
            assert await asked.text("Hello again") == "the client speaking"
            (decision, _) = (await asked.api("/api/decisions"))["decisions"]
            budgets = (await asked.api("/api/costs"))["budgets"]
    llm, client = decision["legs"]
    assert (llm["outcome"], llm["code"], client["outcome"]) == ("failed", "E012", "success")
    assert "is spent" in llm["detail"]
    assert len(service.requests) == 1
    assert [one["exceeded"] for one in budgets] == ([] if place == "principal" else [True])


async def test_where_nobody_else_may_answer_the_server_is_told_that_the_budget_is_spent(tmp_path) -> None:
    async with scripted_http(answer(openai_said("the llm"))) as service:
        whole = config(service)
        whole["sampling"]["budget"] = {"tokens_per_day": 18}
        async with asking_of(tmp_path, whole) as asked:
            await asked.text("Hello")
            error = (await asked.sampling(user("Hello again")))["error"]
    assert (error["code"], error["data"]["code"], error["data"]["recoverable"]) == (-32603, "E012", False)
    assert "midnight" in error["data"]["suggestedAction"]


async def test_a_soft_budget_answers_on_and_says_so_in_the_decision(tmp_path: Path) -> None:
    async with scripted_http(otherwise=answer(openai_said("the llm"))) as service:
        whole = config(service)
        whole["sampling"]["budget"] = {"usd_per_day": COST, "on_exceeded": "soft"}
        async with asking_of(tmp_path, whole) as asked:
            await asked.text("Hello")
            assert (await asked.last_leg())["warnings"] == []
            assert await asked.text("Hello again") == "the llm"
            (warning,) = (await asked.last_leg())["warnings"]
    assert "the day's budget of sampling is spent" in warning


async def test_smart_discoverys_budget_holds_where_its_strategy_decides(tmp_path: Path) -> None:
    async with scripted_http(answer(openai_said("the llm"))) as service:
        whole = config(service)
        del whole["sampling"]["default_sampling_strategy"]
        whole["smart_discovery"] = {
            "default_sampling_strategy": "magictunnel_first",
            "budget": {"tokens_per_day": 1},
        }
        async with asking_of(tmp_path, whole) as asked:
            assert await asked.text("Hello") == "the llm"
            assert await asked.text("Hello again") == "the client speaking"


async def test_what_was_spent_can_decide_who_answers(tmp_path: Path) -> None:
    async with scripted_http(answer(openai_said("the llm"))) as service:
        whole = config(service)
        whole["sampling"]["budget"] = {"usd_per_day": 2 * COST}
        whole["sampling"]["default_sampling_strategy"] = [
            {"when": {"spent": {"fraction": 0.5}}, "use": "client_forwarded"},
            {"use": "magictunnel_handled"},
        ]
        async with asking_of(tmp_path, whole) as asked:
            assert await asked.text("Hello") == "the llm"
            assert await asked.text("Hello again") == "the client speaking"


@pytest.mark.parametrize(
    ("preferences", "asked_model"),
    [
        (None, "gpt-large"),
        ({"hints": [{"name": "mini"}]}, "gpt-mini"),
        ({"hints": [{"name": "nobody"}, {"name": "sonnet"}]}, "claude-sonnet"),
        ({"hints": [{"name": "gemini"}]}, "claude-sonnet"),
        ({"speedPriority": 1.0}, "gpt-mini"),
        ({"intelligencePriority": 1.0}, "claude-sonnet"),
    ],
)
async def test_a_servers_preferences_choose_the_model(tmp_path: Path, preferences, asked_model) -> None:
    async with (
        scripted_http(otherwise=answer(openai_said("openai"))) as first,
        scripted_http(otherwise=answer(anthropic_said("anthropic"))) as second,
    ):
        openai = llm_config(first, models=["gpt-large", "gpt-mini"])
        del openai["model"]
        anthropic = llm_config(second, provider="anthropic", model="claude-sonnet", base_url=second.url)
        whole: Json = {
            "models": [
                {"name": "gpt-large", "speed": 0.4, "intelligence": 0.7},
                {"name": "gpt-mini", "speed": 0.9, "intelligence": 0.3},
                {"name": "claude-sonnet", "speed": 0.5, "intelligence": 0.9, "aliases": ["gemini-pro"]},
            ],
            "sampling": {
                "llm_configs": [openai, anthropic],
                "default_sampling_strategy": "magictunnel_handled",
            },
        }
        async with asking_of(tmp_path, whole) as asked:
            more = {} if preferences is None else {"modelPreferences": preferences}
            await asked.text("Hello", **more)
            leg = await asked.last_leg()
        (sent,) = [*first.requests, *second.requests]
    assert sent.json["model"] == asked_model
    assert leg["model_selection"]["chosen"].endswith(f"/{asked_model}")
    assert leg["attempts"][0]["model"] == asked_model
    assert {one["model"] for one in leg["model_selection"]["candidates"]} == {
        "openai/gpt-large",
        "openai/gpt-mini",
        "anthropic/claude-sonnet",
    }


async def test_a_request_that_no_models_context_holds_is_told_to_be_too_long(tmp_path: Path) -> None:
    async with scripted_http() as service:
        whole = {**config(service), "models": [{"name": "gpt-test", "context_window": 100}]}
        async with asking_of(tmp_path, whole) as asked:
            error = (await asked.sampling(user("word " * 100)))["error"]
            detail = (await asked.last_leg())["detail"]
        assert service.requests == []
    assert error["data"]["code"] == "E006"
    assert "its context window has 100" in detail
