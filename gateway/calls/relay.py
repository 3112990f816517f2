"""The one way through: find the server, carry the call, answer what it asks on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from gateway.answers import outgoing
from gateway.answers.model import Deferred, InputRequest
from gateway.calls import afresh, nesting
from gateway.calls.afresh import Afresh
from gateway.calls.alarms import Alarms
from gateway.calls.deadlines import Deadline
from gateway.calls.elicitations import COMPLETE, Elicitations
from gateway.calls.model import (
    Asked,
    Call,
    Caller,
    CallOutcome,
    Json,
    LaterAnswer,
    Resume,
    Scope,
    Suspended,
)
from gateway.config.resolved import ServerConfig
from gateway.errors import CallTimedOut, UrlElicitationRequired
from gateway.policy.model import Setting, Source


class Target(Protocol):
    """Where a call goes: see `gateway.upstream.catalog`."""

    @property
    def server(self) -> str:
        """The owner's configured name."""
        ...

    @property
    def params(self) -> Json:
        """The call's parameters under the server's own names."""
        ...

    @property
    def exposed(self) -> str:
        """What the client called it by."""
        ...

    @property
    def annotations(self) -> tuple[tuple[str, bool], ...]:
        """The hints that the server gives of a tool."""
        ...


class Locator(Protocol):
    """Finds the owner of what a call names."""

    async def locate(self, method: str, params: Json, caller: Caller) -> Target:
        """Return the target; raises UnknownTarget or ServerUnavailable."""
        ...

    def server_of(self, method: str, params: Json, caller: Caller) -> str | None:
        """Return the owner's name as far as it is known without asking any server."""
        ...


class Carrier(Protocol):
    """Carries calls to servers."""

    async def call(self, call: Call, scope: Scope) -> CallOutcome:
        """Send the call on a lane that may carry it, and return its outcome."""
        ...

    def may_park(self, server: str, caller: Caller, tool: str | None) -> bool:
        """Whether the server may have to wait, its call open, until the client retries."""
        ...


class Answers(Protocol):
    """Answers input requests."""

    async def answer(self, request: InputRequest) -> Json | Deferred:
        """Return the raw answer; raises QuestionError or PeerError when there is none."""
        ...

    async def settle(self, call: Call, note: Mapping[str, Any], answer: Json) -> Json:
        """Take the answer to a deferred question that a retry brought; return it as the server gets it."""
        ...


class CallScope:
    """What a server may do to its caller while one call is in flight."""

    def __init__(self, call: Call, answers: Answers, deadline: Deadline, elicitations: Elicitations) -> None:
        self.call = call
        self._elicitations = elicitations
        self._answers = answers
        self._deadline = deadline

    async def question(self, asked: Asked, *, deferrable: bool) -> Json | LaterAnswer:
        """Put one input request to policy; the server's clock stands still meanwhile."""
        request = InputRequest(
            self.call.server, asked.method, asked.params, self.call, deferrable, asked.asked, asked.note
        )
        self._elicitations.shown(self.call, asked.params)
        with self._deadline.paused():
            answer = await self._answers.answer(request)
        return LaterAnswer(answer.note) if isinstance(answer, Deferred) else answer

    def notification(self, method: str, params: Json) -> None:
        """Pass progress or a log message on to the caller, a completed elicitation to who was shown it."""
        if method == COMPLETE:
            self._elicitations.completed(self.call.server, params)
            return
        self.call.caller.notify(method, params)


@dataclass(frozen=True, slots=True)
class Relay:
    """Carries clients' calls to their servers.

    `max_call_seconds` bounds a call in all, people's time included; each server's own
    `timeout` bounds the time it takes without its questions, or what `tools` says of the tool, by
    its exposed name. With `label_questions` a client is
    told which server asks; `elicitations` keeps which client was shown which URL.
    """

    locator: Locator
    carrier: Carrier
    answers: Answers
    servers: Mapping[str, ServerConfig]
    max_call_seconds: float
    label_questions: bool = True
    tools: Mapping[str, Setting[float]] = field(default_factory=dict[str, Setting[float]])
    elicitations: Elicitations = field(default_factory=Elicitations)
    _alarms: dict[float, Alarms] = field(default_factory=dict[float, Alarms])

    async def call(
        self, method: str, params: Json, caller: Caller, resume: Resume | None = None
    ) -> CallOutcome:
        """Carry one call to its end, or to the point where its client must answer first.

        Raises:
            CallError: no server could finish it; the message says why and what to do.
            PeerError: the server's own error, unchanged.
            QuestionError: nobody answered what a server that cannot be told so asked.
        """
        target = await self.locator.locate(method, params, caller)
        call = Call(method, target.params, caller, target.server, target.exposed, resume)
        call.annotations = target.annotations
        call.depth, call.root = nesting.place_of(params)
        if resume is not None:
            call.questions = resume.questions
            resume = call.resume = await self._settled(call, resume)
        if isinstance(resume, Afresh):
            afresh.accepted(call, resume)
            call.resume = None
        deadline = call.deadline = self._deadline(call)
        try:
            with deadline:
                scope = CallScope(call, self.answers, deadline, self.elicitations)
                outcome = await self._carried(call, scope, resume)
        except TimeoutError:
            if not deadline.expired:
                raise
            raise self._timed_out(call, deadline) from None
        finally:
            self.elicitations.over(call)
        return self._for_client(outcome, call) if isinstance(outcome, Suspended) else outcome

    def may_park(self, method: str, params: Json, caller: Caller) -> bool:
        """Whether a question of this call may have to wait for a retry while its server waits."""
        server = self.locator.server_of(method, params, caller)
        tool: Any = params.get("name") if method == "tools/call" else None
        return server is None or self.carrier.may_park(server, caller, tool)

    async def _carried(self, call: Call, scope: CallScope, resume: Resume | None) -> CallOutcome:
        """Send the call; a client that is asked in its result is put the URLs that must be visited first."""
        try:
            return await self.carrier.call(call, scope)
        except UrlElicitationRequired as error:
            if not call.caller.defers:
                for params in afresh.elicitations(error):
                    self.elicitations.shown(call, params)
                raise
            earlier = resume if isinstance(resume, Afresh) else None
            rounds = self.servers[call.server].max_rounds
            return await afresh.suspended(error, call, scope, earlier, rounds)

    async def _settled(self, call: Call, resume: Resume) -> Resume:
        """Record the answers that this retry brought, all at once: some are to be combined with the LLM's."""
        settling: dict[str, asyncio.Task[Json]] = {}
        async with asyncio.TaskGroup() as tasks:
            for key in resume.notes.keys() & resume.answers.keys():
                work = self.answers.settle(call, resume.notes[key], resume.answers[key])
                settling[key] = tasks.create_task(work)
        answers = {**resume.answers, **{key: settled.result() for key, settled in settling.items()}}
        notes = {key: note for key, note in resume.notes.items() if key not in settling}
        return replace(resume, answers=answers, notes=notes)

    def _for_client(self, outcome: Suspended, call: Call) -> Suspended:
        """Make the questions of a suspended call what its client is to be shown."""
        requests: dict[str, Json] = {}
        for key, raw in outcome.requests.items():
            asked = InputRequest(call.server, raw["method"], raw.get("params") or {}, call, deferrable=True)
            params = outgoing.for_client(asked, call.caller.profile, labelled=self.label_questions)
            requests[key] = {**raw, "params": params} if "params" in raw else raw
        return replace(outcome, requests=requests)

    def _deadline(self, call: Call) -> Deadline:
        seconds = self._seconds(call)
        alarms = self._alarms.get(seconds)
        if alarms is None:
            alarms = self._alarms[seconds] = Alarms(seconds)
        return Deadline(seconds, self.max_call_seconds, alarms)

    def _seconds(self, call: Call) -> float:
        """Return the seconds that the server has for a call."""
        own = self.tools.get(call.tool or "")
        return self.servers[call.server].timeout if own is None else own.value

    def _says(self, call: Call) -> Source:
        """Return the place that says so."""
        own = self.tools.get(call.tool or "")
        if own is not None:
            return own.source
        at = self.servers[call.server].source
        return Source(at.file, f"{at.path}.timeout_seconds", at.line)

    def _timed_out(self, call: Call, deadline: Deadline) -> CallTimedOut:
        seconds, setting = self._seconds(call), f"timeout_seconds ({self._says(call)})"
        if deadline.spent_in_all:
            seconds, setting = self.max_call_seconds, "limits.max_call_seconds"
        return CallTimedOut(
            f"server '{call.server}' did not finish {call.method} '{call.target}' within {seconds:g} s; "
            f"raise {setting} if it needs longer"
        )
