"""How much one server may ask: per call, and at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway import codes
from gateway.answers.model import InputRequest
from gateway.answers.outgoing import depth_of_question
from gateway.calls.model import Call
from gateway.calls.nesting import Tally
from gateway.errors import QuestionError, QuestionTooDeep


@dataclass(frozen=True, slots=True)
class ServerBounds:
    """Bounds of one server: input requests of one call, and requests in flight for it at once."""

    max_questions: int = 32
    max_concurrent_questions: int = 32


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """Everything that bounds questions.

    `servers` is by name, with the defaults for any other. `roots_timeout` is how many
    seconds a client has to answer `roots/list`. `max_question_depth` is how deep a question may stand
    whose answer needs another call (1: a call that is made to answer a question may ask none).
    """

    servers: Mapping[str, ServerBounds] = field(default_factory=dict[str, ServerBounds])
    roots_timeout: float = 30.0
    max_question_depth: int = 4


class Admitted:
    """A question's place, used as ``with``."""

    __slots__ = ("_gate", "_server")

    def __init__(self, gate: Gate, server: str) -> None:
        self._gate = gate
        self._server = server

    def __enter__(self) -> None:
        """Nothing: it is taken already."""

    def __exit__(self, *ended: object) -> None:
        self._gate.release(self._server)


class Gate:
    """Counts questions, and turns away those beyond a bound."""

    def __init__(self, limits: BrokerLimits) -> None:
        self._limits = limits
        self._open: dict[str, int] = {}
        self._legs: dict[asyncio.Task[Any], str] = {}
        self._tally = Tally()

    def __repr__(self) -> str:
        return f"<Gate {self._open}>"

    @property
    def open_questions(self) -> Mapping[str, int]:
        """Questions in flight by server; servers without any are absent."""
        return dict(self._open)

    def admit(self, request: InputRequest) -> Admitted:
        """Hold a place for a question until the block that begins with it ends, however it does.

        Raises:
            QuestionError: a bound is reached; the message names the setting.
        """
        bounds = self._limits.servers.get(request.server, ServerBounds())
        call = request.call
        if call is not None:
            call.questions += 1
            if call.questions > bounds.max_questions:
                self._refuse(request, "max_questions", f"{bounds.max_questions} questions in one call")
            self._check_nesting(request, call, bounds)
        if self._open.get(request.server, 0) >= bounds.max_concurrent_questions:
            most = f"{bounds.max_concurrent_questions} questions at once"
            self._refuse(request, "max_concurrent_questions", most)
        self._take(request.server)
        return Admitted(self, request.server)

    def extend(self, server: str, leg: asyncio.Task[Any]) -> None:
        """Count an LLM's leg that goes on after its question was put off: it keeps its place."""
        if not leg.done():
            self._take(server)
            self._legs[leg] = server
            leg.add_done_callback(self.give_back)

    def give_back(self, leg: asyncio.Task[Any]) -> None:
        """Free the place of a leg that has ended, or whose question is put again and takes one itself."""
        server = self._legs.pop(leg, None)
        if server is not None:
            self.release(server)

    def release(self, server: str) -> None:
        """Free a place of a server's question."""
        self._open[server] -= 1
        if not self._open[server]:
            del self._open[server]

    def _take(self, server: str) -> None:
        self._open[server] = self._open.get(server, 0) + 1

    def _check_nesting(self, request: InputRequest, call: Call, bounds: ServerBounds) -> None:
        """Refuse a question that answers to others have led to, too deep or once too often."""
        depth, deepest = depth_of_question(request), self._limits.max_question_depth
        if depth > deepest:
            raise QuestionTooDeep(
                f"server '{request.server}' asks at depth {depth}: answering one question led to the next, "
                f"{deepest} deep at most (limits.max_question_depth)",
                codes.told(codes.TOO_DEEP),
            )
        if call.root is not None and self._tally.count(call.rooted()) > bounds.max_questions and call.depth:
            most = f"{bounds.max_questions} questions in one call and in those made to answer it"
            self._refuse(request, "max_questions", most)

    def _refuse(self, request: InputRequest, setting: str, most: str) -> None:
        message = f"server '{request.server}' may ask at most {most} (its setting {setting})"
        raise QuestionError(message, codes.told(codes.RATE_LIMIT))
