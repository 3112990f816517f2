"""One lane: a connection, the calls it carries, and whose is what the server says out of turn."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gateway.calls.deadlines import Deadline
from gateway.calls.model import Caller, Capability, ChannelClosed, Identity, Json, LaterAnswer, Profile, Scope
from gateway.errors import ConnectionLost, QuestionRefused, ServerUnavailable
from gateway.upstream.budget import Budget
from gateway.upstream.lanes import LaneView, Want
from gateway.upstream.port import Asked, Connection
from gateway.upstream.profiles import LaneKey

logger = logging.getLogger(__name__)

_numbers = itertools.count(1)

PROGRESS: Final = "notifications/progress"
_NOBODYS: Final = frozenset({PROGRESS, "notifications/tasks/status"})
"""Progress that names no call, and the status of tasks, which are offered to neither side."""
MESSAGE: Final = "notifications/message"
_SHOWN: Final = 2000
"""Characters of a server's log message that the gateway's own log keeps."""


@dataclass(slots=True, eq=False)
class Running:
    """One call on a lane. `scope` is None for the gateway's own requests, which ask nothing.

    `level` is of the log messages that its client wants, `deadline` is the call's time limit.
    While it is `waiting` for its turn the server has not been sent it.
    """

    key: LaneKey
    caller: Caller | None = None
    scope: Scope | None = None
    level: str | None = None
    deadline: Deadline | None = None
    questions: set[asyncio.Task[Any]] = field(default_factory=set[asyncio.Task[Any]])
    over: bool = False
    waiting: bool = False

    @property
    def overdue(self) -> bool:
        """Whether it was the time limit that ended the call."""
        return self.deadline is not None and self.deadline.expired


class LaneOwner(Protocol):
    """Who takes what a server says that is no call's."""

    async def unsolicited(self, lane: Lane, asked: Asked) -> Json:
        """Answer a question that belongs to no call; raises QuestionRefused where policy says so."""
        ...

    def news(self, lane: Lane, method: str, params: Json) -> bool:
        """Take a notification about the server itself (a list changed, …); False if it is not one."""
        ...

    def logged(self, identity: Identity, params: Json) -> None:
        """Take a log message outside any call, on a connection that is one client session's alone."""
        ...


class Lane:
    """A lane's state. It is the `Listener` of its connection; `gateway.upstream.pool` drives it.

    `pin` is the client session it belongs to. `opened` yields the connection, or the
    `ServerUnavailable` that explains why there is none.
    """

    def __init__(
        self,
        server: str,
        profile: Profile,
        owner: LaneOwner,
        now: Callable[[], float],
        *,
        pin: Identity | None = None,
        control: bool = False,
        exact: bool = False,
        fresh: bool = False,
    ) -> None:
        self.id = next(_numbers)
        self.server = server
        self.profile = profile
        self.pin = pin
        self.control = control
        self.exact = exact
        self.fresh = fresh
        self.connection: Connection | None = None
        self.opened: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self.opened.add_done_callback(_retrieve)
        self.task: asyncio.Task[None] | None = None
        self.told_level: str | None = None
        """The log level that the server was asked for on this connection."""
        self._owner = owner
        self._now = now
        self._running: dict[int, Running] = {}
        self._idle_since: float | None = now()
        self._bound: str | None = None
        self._served: str | None = None
        self._mixed = False
        self._budget = Budget()

    def __repr__(self) -> str:
        state = "opening" if self.connection is None else "closed" if self.closed else "open"
        kinds = [name for name in ("control", "exact", "fresh") if getattr(self, name)]
        if self.pin is not None:
            kinds.append(f"of {self.pin.key[:8]}")
        if self._bound is not None:
            kinds.append("bound")
        return f"<Lane {self.id} {' '.join((state, *kinds))}, {len(self._running)} running>"

    @property
    def closed(self) -> bool:
        """Whether its connection has ended."""
        return self.connection is not None and self.connection.closed.is_set()

    @property
    def live(self) -> Connection | None:
        """Its connection, if that is open."""
        return None if self.closed else self.connection

    @property
    def running(self) -> int:
        """How many requests it carries."""
        return len(self._running)

    @property
    def levels(self) -> tuple[str | None, ...]:
        """The log levels that its calls want."""
        return tuple(running.level for running in self._running.values())

    def set_level(self, key: str, level: str) -> bool:
        """Change what the running calls of a client want; False if there are none."""
        own = [each for each in self._running.values() if each.scope and each.caller]
        mine = [each for each in own if each.caller and each.caller.identity.key == key]
        for running in mine:
            running.level = level
        return bool(mine)

    def view(self) -> LaneView:
        """Return what a decision may know of this lane."""
        asking = self._oldest()
        return LaneView(
            id=self.id,
            profile=self.profile,
            pin=None if self.pin is None else self.pin.key,
            control=self.control,
            exact=self.exact,
            fresh=self.fresh,
            key=None if asking is None else asking.key,
            running=len(self._running),
            bound=self._bound,
            idle_since=self._idle_since,
        )

    def welcomes(self, want: Want) -> bool:
        """Whether a call may join it as the latest one did, without a decision among all lanes.

        The rules are those of `gateway.upstream.lanes`, for a call that raises questions. Making a view for
        them would cost more than all the rest of finding a lane.
        """
        if self.closed or self.connection is None or self.fresh or want.fresh or want.quiet:
            return False
        pin = None if self.pin is None else self.pin.key
        if self.profile != want.key.profile or pin != want.pin or self._bound not in (None, want.key.party):
            return False
        asking = None if self.exact else self._oldest()
        return asking is None or asking.key == want.key

    def enter(self, running: Running) -> None:
        """Let a call onto the lane."""
        self._running[id(running)] = running
        self._idle_since = None
        if "roots" in self.profile and self.pin is None and not self.exact:
            # The server remembers whose roots it was told.
            self._bound = running.key.party
        if running.scope is not None and running.caller is not None:
            key = running.caller.identity.key
            self._mixed = self._mixed or self._served not in (None, key)
            self._served = key

    def leave(self, running: Running, *, abandoned: bool) -> None:
        """Take a call off the lane. `abandoned`: the server has not answered it, and may still ask."""
        if self._running.pop(id(running), None) is None:
            return
        running.over = True
        unsettled = abandoned or bool(running.questions)
        if unsettled and running.scope is not None and not self.exact and self.pin is None:
            self._bound = self._bound or running.key.party
        for question in running.questions:
            question.cancel()
        if not self._running:
            self._idle_since = self._now()

    def connected(self, connection: Connection) -> None:
        """Take the connection that was dialed for this lane."""
        self.connection = connection
        if not self.opened.done():
            self.opened.set_result(connection)

    def failed(self, error: ServerUnavailable) -> None:
        """Tell everybody who waits for the connection that there will be none."""
        if not self.opened.done():
            self.opened.set_exception(error)

    async def ready(self) -> Connection:
        """Return the connection, once it is open.

        Raises:
            ServerUnavailable: it could not be opened.
            ConnectionLost: it has ended.
        """
        connection = await asyncio.shield(self.opened)
        if connection.closed.is_set():
            raise ConnectionLost(self.server, connection.why_closed)
        return connection

    async def question(self, connection: Connection, asked: Asked) -> Json:  # noqa: ARG002
        """Answer a request that names no call: it is the oldest call's.

        If that call ends first, the question passes to the next call that runs under the same
        key. Without a call it is the owner's to answer or refuse.
        """
        self._check_declared(asked)
        running = self._oldest()
        if running is None:
            return await self._outside(asked)
        key = running.key
        while running is not None and running.key == key:
            work = self._put(running, asked)
            task: asyncio.Task[Json | LaterAnswer] = asyncio.ensure_future(work)
            running.questions.add(task)
            try:
                return _now_or_never(await task)
            except asyncio.CancelledError:
                if not running.over or _cancelled_from_outside():
                    raise
            finally:
                running.questions.discard(task)
            running = self._oldest()
        raise QuestionRefused(f"the call during which server '{self.server}' asked has ended")

    def notification(self, connection: Connection, method: str, params: Json) -> None:  # noqa: ARG002
        """Take a notification that names no call.

        Progress names its call or is nobody's, and there are no tasks. Log messages and the rest go to
        the caller only if this lane has never served another: a late message must not reach the next one.
        """
        if method in _NOBODYS or self._owner.news(self, method, params):
            return
        running = self._hearer(method)
        if running is not None and running.scope is not None:
            running.scope.notification(method, params)
        elif method == MESSAGE and self.pin is not None:
            self._owner.logged(self.pin, params)
        elif method == MESSAGE:
            if not self._budget.spend():
                return
            level, data = params.get("level"), str(params.get("data"))
            logger.info("server '%s' says [%s]: %s", self.server, level, data[:_SHOWN])
        else:
            logger.debug("server '%s' sent %s outside any call; dropped", self.server, method)

    def _hearer(self, method: str) -> Running | None:
        """Return whose a notification is that names no call; None where that cannot be said."""
        if self._mixed:
            return None
        if not self.exact:
            return self._oldest()
        # Servers of 2026-07-28 log for requests that asked for it, and before they answer them.
        asking = (running for running in self._running.values() if running.scope and running.level)
        return next(asking, None) if method == MESSAGE else None

    def _oldest(self) -> Running | None:
        calls = (each for each in self._running.values() if each.scope is not None and not each.waiting)
        return next(calls, None)

    def _put(self, running: Running, asked: Asked) -> Coroutine[Any, Any, Json | LaterAnswer]:
        assert running.scope is not None  # _oldest() returns no other
        return running.scope.question(asked, deferrable=False)

    def _check_declared(self, asked: Asked) -> None:
        """Refuse what this lane's profile does not offer, before anybody is looked for."""
        if self.exact:
            raise QuestionRefused(
                f"server '{self.server}' speaks 2026-07-28 and may ask only in a call's result"
            )
        needed = _bit(asked)
        if needed is not None and needed not in self.profile:
            raise QuestionRefused(f"{needed} was not declared to server '{self.server}' on this connection")

    async def _outside(self, asked: Asked) -> Json:
        """Answer a question while no call runs that it could belong to."""
        caller = next((r.caller for r in self._running.values() if r.caller is not None), None)
        if asked.method == "roots/list" and self.pin is not None and caller is not None:
            # Asked right after initialization, while the gateway lists on this client's behalf.
            with contextlib.suppress(ChannelClosed):  # then the session has a stream of its own
                return await caller.ask(asked.method, asked.params)
        return await self._owner.unsolicited(self, asked)


def _bit(asked: Asked) -> Capability | None:
    """Return the capability that a request needs; None for methods the gateway does not know."""
    if asked.method == "sampling/createMessage":
        return "sampling.tools" if asked.params.get("tools") else "sampling"
    if asked.method == "elicitation/create":
        return "elicitation.url" if asked.params.get("mode") == "url" else "elicitation.form"
    return "roots" if asked.method == "roots/list" else None


def _now_or_never(answer: Json | LaterAnswer) -> Json:
    if isinstance(answer, LaterAnswer):
        raise QuestionRefused("this server waits for its answer, and the client can only give it later")
    return answer


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _retrieve(future: asyncio.Future[Connection]) -> None:
    """Look at a failure that perhaps nobody waits for, so that it is not reported as forgotten."""
    if not future.cancelled():
        future.exception()
