"""What the rest of the gateway knows of a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.policy.model import Kind, LevelName, Spent


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to a model, in the words of `sampling/createMessage`.

    `messages` are SamplingMessage objects as a server sent them (role, and content that is
    one block or a list of blocks: text, image, audio, tool_use, tool_result).
    `max_tokens` is already bounded by policy. `model_preferences` choose among the configured
    models (`gateway.llm.selection`). `schema` asks for a JSON object that
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

    def shown(self) -> dict[str, Any]:
        """Return its fields."""
        return {
            "provider": self.provider,
            "model": self.model,
            "seconds": self.seconds,
            "error": self.error,
            "code": self.code,
        }


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer.

    `content` is one MCP content block (``{"type": "text", "text": …}``) or a list of
    blocks (with tool_use). `stop_reason` is MCP's: ``endTurn``, ``stopSequence``,
    ``maxTokens``, ``toolUse``, or the provider's own word. `logprob` is the mean natural
    logarithm of the probabilities of the answer's tokens; None where it was not asked for, or
    the provider does not tell. `cost_usd` is None where the model has no price. `selection`
    explains how the model was chosen, None where there was no choice. `warnings` are of soft budgets.
    """

    content: Mapping[str, Any] | list[Mapping[str, Any]]
    model: str
    provider: str
    stop_reason: str
    usage: Usage = field(default_factory=Usage)
    attempts: tuple[Attempt, ...] = ()
    logprob: float | None = None
    cost_usd: float | None = None
    selection: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a chain would do with a prompt: the models it would ask, in order, as ``provider/model``.

    `temperature` is what the first would be asked with if the prompt names none. `tokens` and
    `cost_usd` are the most that its answer can come to, the prompt estimated; None: no price.
    """

    models: tuple[str, ...] = ()
    temperature: float | None = None
    tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """Who spends: the question's kind and level, its server and tool, its call and whose call it is."""

    kind: Kind
    server: str
    tool: str | None = None
    client: str | None = None
    principal: str | None = None
    call: int | None = None
    level: LevelName | None = None


@dataclass(frozen=True, slots=True)
class Spending:
    """What was spent: requests that were answered, their tokens, their cost; `unpriced` had no price."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Spending) -> Spending:
        return Spending(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.usd + other.usd,
            self.unpriced + other.unpriced,
        )

    def __neg__(self) -> Spending:
        return Spending(-self.requests, -self.input_tokens, -self.output_tokens, -self.usd, -self.unpriced)


class Ledger(Protocol):
    """Remembers what was spent. In memory; what is kept elsewhere has to answer as fast."""

    def charge(self, day: str, account: Account, completion: Completion, scopes: Sequence[str]) -> None:
        """Add one answer to a day (``2026-07-28``, UTC), and to what each of `scopes` has spent on it."""
        ...

    def spent(self, day: str, scope: str) -> Spending:
        """Return what a scope has spent on a day."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Keep whoever else uses this ledger from changing it while the block runs; it must not wait."""
        ...

    def reserve(self, scopes: Sequence[str], most: Spending) -> None:
        """Count what a request on its way may still spend of each of `scopes`."""
        ...

    def release(self, scopes: Sequence[str], most: Spending) -> None:
        """Count it no more: the request has ended."""
        ...

    def on_the_way(self, scope: str) -> Spending:
        """Return what requests on their way may still spend of a scope."""
        ...

    def rows(self, by: Sequence[str], day: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Return sums by some of the columns, of one day or of all that are kept.

        Raises:
            ValueError: a column that there is not.
        """
        ...


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

    def plan(self, prompt: Prompt, *, estimated: bool = True) -> Plan:
        """Say what `complete` would do, without doing it; not `estimated`, without what it may come to."""
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


class Meter(Protocol):
    """Counts what is spent on a chain, and holds it to budgets."""

    def charged(self, llm: Llm, account: Account) -> Llm:
        """Return the chain as this account may use it.

        Its `complete` raises `ProviderError` E012 where a hard budget is spent.
        """
        ...

    def spent(self, account: Account) -> Spent:
        """Return what was spent today, and how much of the account's tightest budget that is."""
        ...
