"""What the rest of the gateway knows of a language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to a model, in the words of `sampling/createMessage`.

    `messages` are SamplingMessage objects as a server sent them (role, and content that is
    one block or a list of blocks: text, image, audio, tool_use, tool_result).
    `max_tokens` is already bounded by policy. `model_preferences` are advice that no provider
    follows yet: the configured model answers. `schema` asks for a JSON object that
    satisfies this JSON Schema. `tools`/`tool_choice` are the request's own. `logprobs` asks for
    `Completion.logprob`, of providers that tell it.
    """

    messages: tuple[Mapping[str, Any], ...]
    max_tokens: int
    system: str | None = None
    temperature: float | None = None
    stop_sequences: tuple[str, ...] = ()
    model_preferences: Mapping[str, Any] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: Mapping[str, Any] | None = None
    schema: Mapping[str, Any] | None = None
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer, as the provider counted them (None: not told)."""

    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one provider. `error` is None for the one that answered."""

    provider: str
    model: str
    seconds: float
    error: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer.

    `content` is one MCP content block (``{"type": "text", "text": …}``) or a list of
    blocks (with tool_use). `stop_reason` is MCP's: ``endTurn``, ``stopSequence``,
    ``maxTokens``, ``toolUse``, or the provider's own word. `logprob` is the mean natural
    logarithm of the probabilities of the answer's tokens; None where it was not asked for, or
    the provider does not tell.
    """

    content: Mapping[str, Any] | list[Mapping[str, Any]]
    model: str
    provider: str
    stop_reason: str
    usage: Usage = field(default_factory=Usage)
    attempts: tuple[Attempt, ...] = ()
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one request to the chain.

    `timeout` bounds the whole leg in seconds; `max_attempts` is the number of tries at each
    provider, 1 meaning no retry.
    """

    timeout: float
    max_attempts: int = 1


class Provider(Protocol):
    """One model service: client, credentials and lifecycle."""

    name: str
    model: str

    async def complete(self, prompt: Prompt, *, timeout: float) -> Completion:
        """Answer once, without retrying. `timeout` bounds the whole answer in seconds.

        Cancelling the task stops the work: a request's connection is closed, a generation ends.

        Raises:
            ProviderError: with its code, and whether trying again may help.
        """
        ...

    async def aclose(self) -> None:
        """Release connections and memory."""
        ...


class Llm(Protocol):
    """The chain of providers: what an answerer asks."""

    @property
    def available(self) -> bool:
        """Whether any provider is configured."""
        ...

    async def complete(self, prompt: Prompt, budget: Budget) -> Completion:
        """Answer by the first provider that can.

        Raises:
            ProviderError: every provider failed; `attempts` of the error list each try.
        """
        ...

    async def warm(self) -> None:
        """Load what the first request would have to wait for.

        Raises:
            ProviderError: a model in the process cannot be loaded.
        """
        ...

    async def aclose(self) -> None:
        """Close every provider."""
        ...
