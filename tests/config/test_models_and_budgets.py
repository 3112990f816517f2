"""The catalogue, budgets and the cache: what is refused, and what is warned about."""

from __future__ import annotations

import pytest

LLM = "sampling:\n  llm_config: {provider: ollama, models: [small, large]}\n"
MODELS = (
    "models:\n  - {name: small, input_usd_per_million: 1, output_usd_per_million: 2}\n  - {name: large}\n"
)


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("sampling:\n  llm_config: {provider: ollama, model: a, models: [b]}\n",
         "sampling.llm_config.models", "stands beside `model`"),
        ("sampling:\n  llm_config: {provider: ollama, models: []}\n",
         "sampling.llm_config.models", "names no model"),
        ("sampling:\n  llm_config: {provider: ollama, models: [a, b, a]}\n",
         "sampling.llm_config.models", "names 'a' twice"),
        ("sampling:\n  llm_config: {provider: local, models: [a]}\n",
         "sampling.llm_config.models", "no meaning for provider local"),
        (LLM + "models:\n  - {name: small, input_usd_per_million: 1}\n",
         "models[0]", "only one of its two prices"),
        (LLM + "models:\n  - {input_usd_per_million: 1, output_usd_per_million: 1}\n",
         "models[0]", "'name' is missing"),
        (LLM + "models:\n  - {name: small}\n  - {name: small, provider: ollama}\n",
         "models[1]", "'small' is already described"),
        (LLM + "models:\n  - {name: small, speed: 7}\n", "models[0].speed", "less than or equal to 1"),
        (LLM + "  budget: {on_exceeded: soft}\n", "sampling.budget", "limits nothing"),
        (LLM + "  budget: {usd_per_day: 0}\n", "sampling.budget.usd_per_day", "greater than 0"),
        (LLM + "  budget: {usd_per_day: 1, on_exceeded: loud}\n", "sampling.budget.on_exceeded", "'loud'"),
        (LLM + "  cache: {when: sometimes}\n", "sampling.cache.when", "'sometimes'"),
        (LLM + "costs: {each_principal: {}}\n", "costs.each_principal", "limits nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(folder, text: str, path: str, words: str) -> None:
    problem = folder.problem(text)
    assert problem.path == path
    assert words in problem.message
    assert problem.fix


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LLM + "models:\n  - {name: smal}\n  - {name: large}\n", "no provider offers 'smal'"),
        (LLM + "models:\n  - {name: smal}\n  - {name: large}\n", "did you mean 'small'"),
        (LLM + "models:\n  - {name: large}\n", "'small' is not in `models`"),
        (LLM + "  budget: {usd_per_day: 1}\n" + MODELS, "cannot count what 'large' costs"),
        ("sampling:\n  budget: {usd_per_day: 1}\n", "no LLM is configured"),
        (LLM + MODELS + "costs: {principals: {nobody: {tokens_per_day: 1}}}\n", "nobody called 'nobody'"),
    ],
)
def test_what_will_not_do_what_it_says_is_warned_about(folder, text: str, words: str) -> None:
    assert any(words in warning for warning in folder.load(text).warnings)


def test_a_catalogue_that_fits_its_providers_is_taken_in_silence(folder) -> None:
    config = folder.load(LLM + "  budget: {tokens_per_day: 5}\n" + MODELS)
    assert config.warnings == ()
    assert config.sampling_llm.providers[0].offers == ("small", "large")
    assert config.sampling_llm.models == config.elicitation_llm.models
    assert [model.input_price for model in config.sampling_llm.models] == [1.0, None]


def test_the_same_model_of_two_providers_may_have_two_entries(folder) -> None:
    small = "  - {name: small, provider: ollama}\n  - {name: small, provider: openai}\n"
    assert len(folder.load(f"{LLM}models:\n{small}  - {{name: large}}\n").sampling_llm.models) == 3


def test_a_budget_of_a_tool_and_of_a_server_are_read_where_they_stand(folder) -> None:
    folder.write("capabilities/tools.yaml", "tools:\n  - {name: ask, budget: {usd_per_day: 2}}\n")
    servers = "external_mcp:\n  servers:\n    - {name: one, command: run, budget: {tokens_per_day: 3}}\n"
    budgets = folder.load(LLM + servers).costs.budgets
    assert (budgets.tools["ask"].usd, str(budgets.tools["ask"].source)) == (
        2.0,
        "capabilities/tools.yaml:2 tools[0].budget",
    )
    assert budgets.servers["one"].tokens == 3


def test_older_variables_set_the_breaker_and_the_cache(folder) -> None:
    environ = {
        "MCP_CB_FAILURE_THRESHOLD": "3",
        "MCP_CB_RECOVERY_TIMEOUT": "7",
        "MCP_CB_SUCCESS_THRESHOLD": "1",
    }
    config = folder.load(LLM, **environ, MCP_ENABLE_CACHE="false")
    breaker = config.sampling_llm.providers[0].circuit_breaker
    assert (breaker.failure_threshold, breaker.recovery_timeout, breaker.success_threshold) == (3, 7.0, 1)
    assert config.sampling_cache.enabled is False
