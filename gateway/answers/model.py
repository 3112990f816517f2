"""An input request, what answers it, and the record of how it was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from gateway.calls.model import Call
from gateway.policy.model import Kind, Outcome, Route

Json = dict[str, Any]
SourceName = Literal["llm", "client"]

KIND_OF: dict[str, Kind] = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation"}
"""The kind of each method a server may ask with (`roots/list` has none: it is the client's)."""


@dataclass(frozen=True, slots=True)
class InputRequest:
    """What a server asks back.

    `call` is the call that caused it, None when it belongs to no call. `deferrable` says
    that the server can wait for an answer that comes with a retry of the call (a server of
    the modern era); `asked` counts how often a retry came back without the answer, and `note`
    is what the client's last round of it left behind (see `gateway.answers.deferred`).
    """

    server: str
    method: str
    params: Json
    call: Call | None
    deferrable: bool = False
    asked: int = 0
    note: Mapping[str, Any] = field(default_factory=dict[str, Any])


Origin = Literal["llm", "client", "both"]
"""Where an answer comes from: one leg, or two that were combined."""


CacheUse = Literal["hit", "joined"]
"""How an answer was had for nothing: it was kept, or an identical request was on its way."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The raw result as it goes to the server, before stamping.

    `logprob` is the mean natural logarithm of its tokens' probabilities, where the party tells
    them; `consensus` is how far other samples of the same model agree with it, from 0 to 1, and
    `technique` how it came about where that was not at once; `confidence` is that in a form which the
    LLM has filled in. `combined` says, in the metadata's
    words, how it was made of two. `cost_usd` is None where it is not known; `selection` explains how
    the model was chosen; `warnings` are of soft budgets.
    """

    source: Origin
    result: Json
    model: str | None = None
    provider: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    attempts: tuple[Json, ...] = ()
    logprob: float | None = None
    consensus: float | None = None
    technique: Json | None = None
    confidence: Json | None = None
    combined: Json | None = None
    cost_usd: float | None = None
    cache: CacheUse | None = None
    selection: Json | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deferred:
    """The answer comes from the client, by a retry of its call.

    `note` travels with the call's state; `gateway.answers.deferred` reads it when the answer comes.
    """

    note: Json = field(default_factory=dict[str, Any])


DEFERRED = Deferred()


class LegEnded(Exception):
    """A leg ended without an answer.

    `reason` is told to the asking server; `detail` (a provider's own words, for instance)
    stays in the gateway's records. `code` is of the taxonomy in `docs/errors.md`; `result` is
    the client's own words where the outcome is final (a declined elicitation), to be passed
    on as they are. A rejection has the client's `PeerError` as its cause.
    """

    def __init__(
        self,
        outcome: Outcome,
        reason: str,
        *,
        code: str | None = None,
        result: Json | None = None,
        attempts: tuple[Json, ...] = (),
        detail: str = "",
    ) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason
        self.code = code
        self.result = result
        self.attempts = attempts
        self.detail = detail


class Answerer(Protocol):
    """A party that can answer: the calling client, or the gateway's LLM."""

    source: SourceName

    async def answer(self, request: InputRequest, route: Route) -> Answer | Deferred:
        """Answer within the route's limit for this leg.

        Raises:
            LegEnded: for every ending that is not an answer.
        """
        ...


@dataclass(slots=True)
class Leg:
    """How one answerer fared, for the record. `detail` is never told to a server."""

    source: SourceName
    outcome: Outcome
    seconds: float
    reason: str = ""
    code: str | None = None
    model: str | None = None
    provider: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    attempts: tuple[Json, ...] = ()
    detail: str = ""
    technique: Json | None = None
    confidence: Json | None = None
    cost_usd: float | None = None
    cache: CacheUse | None = None
    model_selection: Json | None = None
    warnings: tuple[str, ...] = ()


DecisionOutcome = Literal[
    "answered",
    "deferred",
    "declined",
    "dismissed",
    "rejected",
    "unanswered",
    "refused",
    "limited",
    "cancelled",
    "broken",
]
"""How a question ended for its server.

``dismissed`` is the user's own `cancel`; ``cancelled`` is a call that ended before its
question did. ``limited`` is a bound that was reached, ``broken`` a fault of the gateway.
"""


@dataclass(slots=True)
class Decision:
    """One input request and what became of it: the line in the log, and `/api/decisions`.

    `at` is UTC in ISO 8601, `seconds` the time from question to answer. `session` is a
    fingerprint: the session id itself is as good as a password. `kind` is ``roots`` for
    `roots/list` and the bare method for one the gateway does not know.
    """

    id: str
    at: str
    server: str
    kind: str
    method: str
    call: int | None
    target: str | None
    client: str | None
    principal: str | None
    session: str | None
    strategy: str | None
    level: str | None
    path: str | None
    trail: list[Json] = field(default_factory=list[Json])
    legs: list[Leg] = field(default_factory=list[Leg])
    source: str | None = None
    combined: Json | None = None
    outcome: DecisionOutcome = "broken"
    seconds: float = 0.0
    error: str | None = None


class Recorder(Protocol):
    """Keeps decisions."""

    def record(self, decision: Decision) -> None:
        """Take a finished decision; must not block or raise."""
        ...
