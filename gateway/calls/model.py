"""A call, the client that made it, and what may come out of it.

No protocol era is known here: `gateway.downstream` builds callers and calls,
`gateway.upstream` carries them, and both translate to what their peer speaks.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from gateway.calls import nesting
from gateway.calls.deadlines import Deadline
from gateway.errors import BackchannelError

Json = dict[str, Any]

Capability = Literal[
    "sampling", "sampling.tools", "sampling.context", "elicitation.form", "elicitation.url", "roots"
]


@dataclass(frozen=True, slots=True)
class Extra:
    """Something beyond the protocol that a side named in its capabilities.

    `field` is where, `name` the extension's identifier, `settings` the object that came with it
    as JSON text with its keys in order.
    """

    field: Literal["extensions", "experimental"]
    name: str
    settings: str = "{}"


Profile = frozenset[Capability | Extra]
"""What a client can be asked: a fixed set of bits, and what it named beyond the protocol.

Of the latter a profile that is declared to a server holds what `gateway.upstream.extensions`
admits, so that a client's own text cannot make profiles without end.
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose call it is.

    `key` tells clients apart for lanes: the session, else the principal, else a value of the
    request's own. `principal` is None for an unauthenticated client. `name` is what the
    client calls itself, for records only.
    """

    key: str
    principal: str | None = None
    session: str | None = None
    name: str = ""


class Caller(Protocol):
    """The client side of one call."""

    @property
    def identity(self) -> Identity:
        """Whose call it is."""
        ...

    @property
    def profile(self) -> Profile:
        """What this client declared it can be asked."""
        ...

    @property
    def defers(self) -> bool:
        """Whether this client is asked in the call's result and answers by a retry."""
        ...

    async def ask(self, method: str, params: Json) -> Json:
        """Ask the client, on the call's own stream, and return its raw result.

        Cancelling the caller's task withdraws the question (`notifications/cancelled`).

        Raises:
            PeerError: the client answered with an error.
            ChannelClosed: nothing can reach this client.
        """
        ...

    async def park(self, method: str, params: Json, limit: float) -> Json:
        """Ask a client that answers by retrying, while the server keeps its call open.

        The question goes into the result of the client's request; its raw answer comes with a
        retry. A client that does not retry within `limit` seconds has its call cancelled.

        Raises:
            Unanswered: two retries came without an answer.
            ChannelClosed: this call cannot be parked, and why.
        """
        ...

    def notify(self, method: str, params: Json) -> None:
        """Queue a notification that belongs to the call, in order, without waiting.

        A client that is gone is not an error. A client that does not read loses the oldest
        progress first (`docs/architecture.md`, back-pressure).
        """
        ...


class Nobody:
    """The caller of what the gateway asks for itself: nobody stands behind it to be asked."""

    identity = Identity("gateway")
    profile: Profile = frozenset()
    defers = True

    async def ask(self, method: str, params: Json) -> Json:
        """Never possible."""
        raise ChannelClosed(f"nobody can be sent {method} with {len(params)} parameters")

    async def park(self, method: str, params: Json, limit: float) -> Json:  # noqa: ARG002
        """Never possible."""
        return await self.ask(method, params)

    def notify(self, method: str, params: Json) -> None:
        """Take no notice."""


class ChannelClosed(BackchannelError):
    """The client of a call cannot be reached for a question."""


MAX_RETRIES = 2
"""Retries of a call without an answer to a question after which the client's leg has failed."""


class Unanswered(BackchannelError):
    """The client retried its call as often as it may, without an answer to this question."""


_numbers = itertools.count(1)


@dataclass(slots=True)
class Call:
    """A client's request in flight through the gateway.

    `target` is the exposed name (tool, prompt) or the URI the call names; `server` and
    `params` are what the server is sent (its own name already restored). `questions`
    counts input requests over all rounds. `annotations` are the hints that the server gives of a tool.
    `depth` and `root` say of which question's answer the call is part (see `gateway.calls.nesting`);
    a call that states no root is one, and has a name once it is asked something. None: it says nothing of it.
    `deadline` is set once its clock runs.
    """

    method: str
    params: Json
    caller: Caller
    server: str
    target: str
    resume: Resume | None = None
    questions: int = 0
    deadline: Deadline | None = None
    annotations: tuple[tuple[str, bool], ...] = ()
    depth: int = 0
    root: str | None = None
    number: int = field(default_factory=lambda: next(_numbers))

    def rooted(self) -> str:
        """Return the name of the root that the call is part of."""
        self.root = self.root or nesting.new_root()
        return self.root

    @property
    def tool(self) -> str | None:
        """The exposed tool name, or None for calls that are not of a tool."""
        return self.target if self.method == "tools/call" else None


@dataclass(frozen=True, slots=True)
class Resume:
    """What a retried call brings: the server's own state, and answers by key."""

    state: str | None
    answers: Mapping[str, Json]
    round: int = 1
    questions: int = 0
    asked: Mapping[str, int] = field(default_factory=dict[str, int])
    """How often each still open key has been put to the client."""
    notes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """What the record of each open key's answer needs, for `gateway.answers`."""

    def lighter(self) -> Resume:
        """Return the same without the answers of the LLM that were to be combined with the client's."""
        notes = {
            key: {name: value for name, value in note.items() if name != SPARE}
            for key, note in self.notes.items()
        }
        return replace(self, notes=notes)


SPARE = "llm"
"""What a note can do without where there is no room for it."""


@dataclass(frozen=True, slots=True)
class ParkedAt:
    """Where a call waits that its server keeps open: its id, the round its client is in, the gateway's id."""

    call: str
    round: int
    owner: str


@dataclass(frozen=True, slots=True)
class Suspended:
    """A call that waits for its client: the requests to put to it, and what a retry needs."""

    requests: Mapping[str, Json]
    resume: Resume | ParkedAt


CallOutcome = Json | Suspended


@dataclass(frozen=True, slots=True)
class Asked:
    """An input request as it stood on the wire.

    `asked` counts retries that lacked its answer; `note` is what its last round left behind.
    """

    method: str
    params: Json
    asked: int = 0
    note: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class LaterAnswer:
    """The client will answer by retrying the call. `note` is what the record of its answer needs then."""

    note: Mapping[str, Any] = field(default_factory=dict[str, Any])


LATER = LaterAnswer()


class Scope(Protocol):
    """What a server may do to its caller while one call is in flight."""

    async def question(self, asked: Asked, *, deferrable: bool) -> Json | LaterAnswer:
        """Answer one input request with a raw result.

        Raises:
            PeerError: what to tell the server; QuestionError for the gateway's own refusals.
        """
        ...

    def notification(self, method: str, params: Json) -> None:
        """Take progress or a log message of this call; must not block."""
        ...
