"""One parked call: its questions, its rounds, and the clients' requests that come for it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gateway.calls.model import (
    MAX_RETRIES,
    CallOutcome,
    ChannelClosed,
    Identity,
    Json,
    Profile,
    Unanswered,
)
from gateway.errors import BackchannelError, CallCancelled

logger = logging.getLogger(__name__)

_KEPT_MESSAGES: Final = 32
"""Log messages kept between two rounds."""

_KEPT_BYTES: Final = 256 * 1024
"""Bytes of all that is kept between two rounds; what is larger by itself is not kept."""

PROGRESS: Final = "notifications/progress"


class Client(Protocol):
    """One request of the client that waits for a call: where its messages go meanwhile."""

    @property
    def identity(self) -> Identity:
        """Whose request it is."""
        ...

    @property
    def profile(self) -> Profile:
        """What this client declared it can be asked."""
        ...

    @property
    def progress_token(self) -> str | int | None:
        """The request's own progress token, None if it wants no progress."""
        ...

    def notify(self, method: str, params: Json) -> None:
        """Queue a notification on this request's stream."""
        ...


@dataclass(slots=True, eq=False)
class _Question:
    """An open question. `shown` says that a round has carried it; `missed` counts retries without it."""

    method: str
    params: Json
    limit: float
    answer: asyncio.Future[Json]
    shown: bool = False
    missed: int = 0


@dataclass(slots=True)
class _Kept:
    """What the server said while no request of the client was there to hear it.

    The last progress, and the last log messages with their sizes.
    """

    progress: Json | None = None
    messages: deque[tuple[str, Json, int]] = field(default_factory=deque[tuple[str, Json, int]])
    bytes: int = 0

    def add(self, method: str, params: Json, size: int) -> None:
        """Keep a notification, at the cost of the oldest where it needs room."""
        if size > _KEPT_BYTES:
            logger.info("%s of %d bytes came while its client was away; dropped", method, size)
            return
        if method == PROGRESS:
            self.progress = params
            return
        self.messages.append((method, params, size))
        self.bytes += size
        while len(self.messages) > _KEPT_MESSAGES or self.bytes > _KEPT_BYTES:
            self.bytes -= self.messages.popleft()[2]


_MOST_MOMENTS: Final = 10
"""How often a round waits for a server that keeps asking."""


class ParkedCall:
    """A call in a task of its own, and the `Caller` that it is carried for.

    `round` counts the times that its client was given questions. `admit` is asked for a place
    before the first question is taken; it raises ChannelClosed where there is none. `size`
    tells how many bytes a message takes. `due` is how many seconds the client still had to
    come back when the call ended: 0 if a request of it was there. `gathering` is how many seconds
    a round waits after its first question for those that its server asks together with it.
    """

    defers = True

    def __init__(
        self,
        identity: Identity,
        profile: Profile,
        admit: Callable[[ParkedCall], None],
        size: Callable[[Json], int],
        gathering: float = 0.0,
    ) -> None:
        self.id = secrets.token_urlsafe(12)
        self.identity = identity
        self.profile = profile
        self.round = 0
        self.task: asyncio.Task[CallOutcome] | None = None
        self.given_up: BackchannelError | None = None
        self.due = 0.0
        self._admit = admit
        self._size = size
        self._gathering = gathering
        self._taken = 0
        self._number = 0
        self._open: dict[str, _Question] = {}
        self._clients: list[Client] = []
        self._kept = _Kept()
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        state = "over" if self.over else f"round {self.round}, {len(self._open)} open"
        return f"<ParkedCall of {self.identity.key} {state}>"

    @property
    def over(self) -> bool:
        """Whether the call has ended, however."""
        return self.given_up is not None or (self.task is not None and self.task.done())

    def start(self, work: Awaitable[CallOutcome], ended: Callable[[ParkedCall], None]) -> None:
        """Run the call. `ended` is told once, when it is over."""

        def done(task: asyncio.Task[CallOutcome]) -> None:
            self._report(task)
            if self._timer is not None:
                self.due = max(0.0, self._timer.when() - asyncio.get_running_loop().time())
            self._disarm()
            self._changed.set()
            ended(self)

        self.task = asyncio.ensure_future(work)
        self.task.add_done_callback(done)

    def give_up(self, error: BackchannelError) -> None:
        """Cancel the call; whoever comes for it is told `error`, and no answer counts any more."""
        if not self.over and self.task is not None:
            self.given_up = error
            # The task may be a while about telling its server: its questions end now.
            for question in self._open.values():
                question.answer.cancel()
            self._open.clear()
            self.task.cancel()
            self._changed.set()

    async def ask(self, method: str, params: Json) -> Json:  # noqa: ARG002
        """Never possible: see `park`."""
        raise ChannelClosed(f"a client that answers by retrying cannot be sent {method} directly")

    async def park(self, method: str, params: Json, limit: float) -> Json:
        """Put a question into the client's next round; see `gateway.calls.model.Caller.park`."""
        self._admit(self)
        self._number += 1
        key = f"question-{self._number}"
        question = _Question(method, params, limit, asyncio.get_running_loop().create_future())
        self._open[key] = question
        self._changed.set()
        if not self._clients:
            self._arm()
        try:
            return await question.answer
        finally:
            # Withdrawn by its server, or its call is ending: an answer that comes late finds nothing.
            self._open.pop(key, None)

    def notify(self, method: str, params: Json) -> None:
        """Pass a notification to the requests that wait for this call, or keep it for the next."""
        for client in self._clients:
            _deliver(client, method, params)
        if self._clients:
            return
        self._kept.add(method, params, self._size(params))

    @contextmanager
    def attached(self, client: Client) -> Generator[None]:
        """Let a request of the client wait for this call; if it breaks off, so does the call.

        Of several requests that wait together only the last one's end is the call's.
        """
        if not self.over:
            self._disarm()
        self._clients.append(client)
        kept, self._kept = self._kept, _Kept()
        if kept.progress is not None:
            _deliver(client, PROGRESS, kept.progress)
        for method, params, _ in kept.messages:
            _deliver(client, method, params)
        try:
            yield
        except asyncio.CancelledError:
            if len(self._clients) == 1:
                reason = "its client closed the response stream"
                self.give_up(CallCancelled(f"the call was cancelled: {reason}; start it again"))
            raise
        finally:
            self._clients.remove(client)
            if not self._clients and self._open and not self.over:
                self._arm()

    def take(self, at: int, answers: Mapping[str, Json]) -> int:
        """Take a retry's answers if they are of the current round and come first.

        Returns the round after which there is something new for this retry.
        """
        if at < self.round:
            # The current round, if it still waits for its answers.
            return self.round - 1 if self._open and self._taken < self.round else self.round
        if self._taken < at:
            self._taken = at
            for key, question in list(self._open.items()):
                if question.shown:
                    self._settle(key, question, answers)
        return at

    async def next_round(self, since: int) -> Mapping[str, Json] | None:
        """Wait for what comes after round `since`: questions by key, or None when the call is over.

        What the server asks together goes into one round: whatever is open once nothing more has come
        for a moment.
        """
        gathered = 0 if self._gathering else _MOST_MOMENTS
        seen = 0
        while not self.over:
            shown = self._shown()
            if shown and self._taken < self.round:
                # Given out, and not answered yet: another request of the client has brought us here.
                if self.round > since:
                    return shown
            elif len(self._open) > seen and gathered < _MOST_MOMENTS:
                gathered += 1
                seen = len(self._open)
                await asyncio.sleep(self._gathering)
                continue
            elif self._open:
                self.round += 1
                for question in self._open.values():
                    question.shown = True
                return self._shown()
            self._changed.clear()
            await self._changed.wait()
        return None

    def expire(self, seconds: float, then: Callable[[], None]) -> None:
        """Call `then` after a time, unless the call is forgotten before."""
        self._disarm()
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def forget(self) -> None:
        """Stop the clock of a call that nobody can come for any more."""
        self._disarm()

    def _report(self, task: asyncio.Task[CallOutcome]) -> None:
        """Log a defect that no request is there to run into."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, BackchannelError) and not self._clients:
            logger.error("%r failed; this is a defect of the gateway", self, exc_info=error)

    def _settle(self, key: str, question: _Question, answers: Mapping[str, Json]) -> None:
        if key in answers:
            del self._open[key]
            if not question.answer.done():
                question.answer.set_result(answers[key])
            return
        question.missed += 1
        if question.missed >= MAX_RETRIES:
            del self._open[key]
            if not question.answer.done():
                question.answer.set_exception(
                    Unanswered(f"the client retried {question.missed} times without answering")
                )

    def _shown(self) -> dict[str, Json]:
        shown: dict[str, Json] = {}
        for key, question in self._open.items():
            if question.shown:
                shown[key] = {"method": question.method, "params": question.params}
        return shown

    def _arm(self) -> None:
        """Give the client until the first limit of its open questions to come back."""
        if self._timer is None and self._open:
            limit = min(question.limit for question in self._open.values())
            self._timer = asyncio.get_running_loop().call_later(limit, self._reap, limit)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _reap(self, limit: float) -> None:
        self._timer = None
        logger.info("%r is given up: its client did not retry within %g s", self, limit)
        text = f"the call was cancelled, since its client did not answer within {limit:g} s; start it again"
        self.give_up(CallCancelled(text))


def _deliver(client: Client, method: str, params: Json) -> None:
    """Give a request its message, progress under its own token."""
    if method != PROGRESS:
        client.notify(method, params)
    elif client.progress_token is not None:
        restored: dict[str, Any] = {**params, "progressToken": client.progress_token}
        client.notify(method, restored)
