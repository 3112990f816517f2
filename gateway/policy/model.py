"""The words of policy: kinds, strategies, what the levels say, and the route that comes out.

Everything here is immutable and knows no I/O. `gateway.policy.resolve.resolve` turns
`Facts` and a `Policy` into a `Route` or a `Refusal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from enum import StrEnum
from typing import Generic, Literal, TypeVar

Kind = Literal["sampling", "elicitation"]
KINDS: tuple[Kind, ...] = ("sampling", "elicitation")

Combine = Literal["best", "merge"]
LevelName = Literal["tool", "server", "organization", "smart_discovery", "built_in"]

Hint = Literal["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"]
"""What a server may say of a tool (`ToolAnnotations`); untrusted, like all that servers say."""

T = TypeVar("T", covariant=True)


class Strategy(StrEnum):
    """Which answerers are tried and in which order. Values are the YAML names."""

    LLM = "magictunnel_handled"
    CLIENT = "client_forwarded"
    LLM_FIRST = "magictunnel_first"
    CLIENT_FIRST = "client_first"
    PARALLEL = "parallel"
    HYBRID = "hybrid"


ALIASES: Mapping[str, Strategy] = {
    "gateway_handled": Strategy.LLM,
    "gateway_first": Strategy.LLM_FIRST,
}
"""Other YAML spellings of a strategy."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a setting was written: file as named by the user, line from 1, YAML path."""

    file: str
    path: str
    line: int | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place} {self.path}".strip()


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """A configured value together with the place it comes from."""

    value: T
    source: Source


@dataclass(frozen=True, slots=True)
class Window:
    """A time of day, in minutes from midnight, the end not included; one that ends earlier goes over it."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold, all of it; empty and None ask for nothing. See `gateway.policy.conditions`.

    `windows` and `days` (Monday is 0) are read in `zone`, which is UTC where it is None; a window over
    midnight belongs to the day on which it begins. Of `client`, `principal` and `hints`, which are globs,
    one must match. `spent_*`, `in_flight` and `queued` hold from that amount on, `min_*` and `max_*`
    include their bound.
    """

    windows: tuple[Window, ...] = ()
    days: tuple[int, ...] = ()
    zone: tzinfo | None = None
    client: tuple[str, ...] = ()
    principal: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    min_characters: int | None = None
    max_characters: int | None = None
    min_tokens: int | None = None
    max_tokens: int | None = None
    annotations: tuple[tuple[Hint, bool], ...] = ()
    spent_fraction: float | None = None
    spent_usd: float | None = None
    spent_tokens: int | None = None
    in_flight: int | None = None
    queued: int | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One entry of a list of strategies: `use` it where `when` holds, always where that is None."""

    use: Strategy
    when: Condition | None = None
    source: Source = field(default=Source("", ""), compare=False)


Choice = Strategy | tuple[Case, ...]
"""A strategy, or entries of which the first that holds names one; the last holds always."""


TechniqueName = Literal["single_shot", "chain_of_thought", "consensus", "iterative"]


@dataclass(frozen=True, slots=True)
class Technique:
    """How the LLM makes an answer to a sampling request; see `gateway.answers.techniques`.

    `samples` and `temperature` are for ``consensus``, `rounds` for ``iterative``.
    """

    name: TechniqueName = "single_shot"
    samples: int = 3
    temperature: float = 0.7
    rounds: int = 1


@dataclass(frozen=True, slots=True)
class Layer:
    """What one place in the configuration says about one kind; None means unset.

    Times are seconds. `fallback_to_llm` is the guide's `fallback_to_magictunnel`.
    `path` is where the strategy would be written, for the trail of an unset layer.
    """

    path: str
    strategy: Setting[Choice] | None = None
    fallback_to_llm: Setting[bool] | None = None
    client_timeout: Setting[float] | None = None
    llm_timeout: Setting[float] | None = None
    max_attempts: Setting[int] | None = None
    technique: Setting[Technique] | None = None
    min_confidence: Setting[float] | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each signal of an answer's confidence counts; see `gateway.answers.confidence`."""

    stop: float = 1.0
    certainty: float = 1.0
    format: float = 2.0
    directness: float = 1.0
    soundness: float = 2.0
    agreement: float = 2.0
    judge: float = 3.0


@dataclass(frozen=True, slots=True)
class Both:
    """What the strategies that ask both parties go by.

    `head_start` is how many seconds the LLM has before `parallel` asks a client that must not
    be raced. `combine` is what `hybrid` makes of two answers; `judge` has a model compare them.
    """

    head_start: float = 1.0
    combine: Combine = "merge"
    judge: bool = False
    weights: Weights = field(default_factory=Weights)


@dataclass(frozen=True, slots=True)
class KindPolicy:
    """All levels for one kind.

    `tools` is keyed by the exposed name (level 1); `tool_servers` names the servers that can
    own such a name, and a tool it does not list may be any server's. Level 2 is `server_overrides`
    (``server_strategies``), then `servers` (the servers file), then `external_default`;
    `external_enabled` false leaves level 2 out.
    """

    enabled: Setting[bool]
    organization: Layer
    smart_discovery: Layer
    smart_discovery_enabled: bool
    external_default: Layer
    external_enabled: bool = True
    tools: Mapping[str, Layer] = field(default_factory=dict[str, Layer])
    server_overrides: Mapping[str, Layer] = field(default_factory=dict[str, Layer])
    servers: Mapping[str, Layer] = field(default_factory=dict[str, Layer])
    unsolicited_llm: bool = False
    tool_servers: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    both: Both = field(default_factory=Both)


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole of what configuration says about who answers."""

    sampling: KindPolicy
    elicitation: KindPolicy

    def of(self, kind: Kind) -> KindPolicy:
        """Return the policy of one kind."""
        return self.sampling if kind == "sampling" else self.elicitation


@dataclass(frozen=True, slots=True)
class Spent:
    """What has been spent today: of the budget (1 is all of it), in US dollars, and in tokens."""

    fraction: float = 0.0
    usd: float = 0.0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What policy may know of one input request. `tool` is the exposed name.

    The rest is for conditions, and None where it is not known: `now` (with a time zone), what the
    client calls itself, whose key it brought (empty: none), the request's model hints, its text's
    length in characters, what its server says of the tool, what was spent, and how many questions
    of the server are in flight and how many wait for a place at the LLM.
    """

    kind: Kind
    server: str
    tool: str | None = None
    unsolicited: bool = False
    now: datetime | None = None
    client: str | None = None
    principal: str | None = None
    hints: tuple[str, ...] | None = None
    characters: int | None = None
    annotations: tuple[tuple[str, bool], ...] | None = None
    spent: Spent | None = None
    in_flight: int | None = None
    queued: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the trail: a level, the place looked at, and what it says ("unset")."""

    level: LevelName
    path: str
    value: str
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers, within which limits, and why.

    `client_timeout` and `llm_timeout` bound one leg in seconds; `max_attempts` bounds
    the attempts at one provider (1 means no retry). `path` and `origins` say where the
    strategy and each limit come from; `origins` pairs a field's name with its place.
    """

    kind: Kind
    strategy: Strategy
    level: LevelName
    path: str
    fallback_to_llm: bool
    client_timeout: float
    llm_timeout: float
    max_attempts: int
    trail: tuple[Step, ...]
    origins: tuple[tuple[str, str], ...] = ()
    both: Both = field(default_factory=Both)
    technique: Technique = field(default_factory=Technique)
    min_confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The gateway does not serve this request. `reason` names the setting to change."""

    kind: Kind
    reason: str
    trail: tuple[Step, ...] = ()


class Outcome(StrEnum):
    """How one leg ended, and so what may happen next (see `gateway.policy.outcomes`)."""

    SUCCESS = "success"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    DEFERRED = "deferred"
    """The client was asked in the call's own result; its answer comes with a retry."""
