"""One handshake-era client, from `initialize` to its end, whatever transport carries it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Final, cast

from gateway import __version__
from gateway.calls.elicitations import COMPLETE
from gateway.calls.model import ChannelClosed, Identity, Json, Profile, Suspended
from gateway.config.resolved import Limits
from gateway.downstream.methods import RELAYED, Greeting, Methods
from gateway.downstream.outbox import Outbox
from gateway.downstream.profiles import profile_of
from gateway.downstream.subscriptions import Subscriptions
from gateway.downstream.translate import for_handshake, with_id
from gateway.downstream.work import InFlight, Ticket
from gateway.errors import ConnectionLost, InvalidCall
from gateway.wire import jsonrpc
from gateway.wire.correlation import Outgoing
from gateway.wire.jsonrpc import Json as Message
from gateway.wire.jsonrpc import RequestId
from gateway.wire.levels import is_level, passes, with_level

VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Handshake-era revisions, oldest first."""

GATEWAY_INFO: Final[Json] = {"name": "backchannel", "title": "Backchannel", "version": __version__}


_numbers = itertools.count(1)


class SessionCaller:
    """A session's client as one of its calls sees it: questions go onto the call's own stream."""

    defers = False

    def __init__(self, session: Session, outbox: Outbox) -> None:
        self._session = session
        self._outbox = outbox
        self._minted: list[str] = []
        self._open: set[RequestId] = set()

    @property
    def identity(self) -> Identity:
        """Whose call it is."""
        return self._session.identity

    @property
    def profile(self) -> Profile:
        """What the client declared in `initialize`."""
        return self._session.profile

    async def ask(self, method: str, params: Json) -> Json:
        """Ask on the call's stream; see `gateway.calls.model.Caller.ask`."""
        if self._outbox.closed or not self._outbox.reachable:
            raise ChannelClosed("the client's stream for this call is gone")
        params, minted = with_id(method, params)
        request_id, answer = self._session.outgoing.open()
        self._open.add(request_id)
        self._outbox.put(jsonrpc.request(request_id, method, params))
        try:
            result = await answer
            if minted is not None and result.get("action") == "accept":
                self._minted.append(minted)
            return result
        except (asyncio.CancelledError, ConnectionLost):
            self._withdraw(request_id)
            raise
        finally:
            self._open.discard(request_id)
            self._session.outgoing.close(request_id)

    def _withdraw(self, request_id: RequestId) -> None:
        if request_id in self._open:
            self._open.discard(request_id)
            withdrawn = {"requestId": request_id, "reason": "the question is no longer open"}
            self._outbox.put(jsonrpc.notification("notifications/cancelled", withdrawn))

    def over(self) -> None:
        """Withdraw what is still asked, while the stream of the call, which has ended, can still say so."""
        for request_id in list(self._open):
            self._withdraw(request_id)

    async def park(self, method: str, params: Json, limit: float) -> Json:
        """Ask on the call's stream as always: this client need not retry to answer."""
        async with asyncio.timeout(limit):
            return await self.ask(method, params)

    def notify(self, method: str, params: Json) -> None:
        """Queue progress, a log message or a completed elicitation on the call's stream."""
        if method == "notifications/message" and not passes(params, self._session.level):
            return
        if method == COMPLETE and (self._outbox.closed or not self._outbox.reachable):
            self._session.tell(method, params)
            return
        self._outbox.put(jsonrpc.notification(method, params))

    def completed(self) -> None:
        """Say of each elicitation whose id is ours that it is complete: the server finished the call."""
        for minted in self._minted:
            self.notify(COMPLETE, {"elicitationId": minted})


class Session:
    """State of one client connection in the handshake era.

    `general` takes what belongs to no call: the GET stream of Streamable HTTP, or the only
    stream of the other transports. `owns_calls` says that calls have streams of their own.
    """

    def __init__(
        self,
        session_id: str,
        principal: str | None,
        methods: Methods,
        in_flight: InFlight,
        subscriptions: Subscriptions,
        limits: Limits | None = None,
    ) -> None:
        limits = limits or Limits()
        self.id = session_id
        # The id is what the client proves itself with; records and lanes know the session by a number.
        self.tag = f"session-{next(_numbers)}"
        self.identity = Identity(self.tag, principal, self.tag)
        self.profile: Profile = frozenset()
        self.version = VERSIONS[-1]
        self.level: str | None = None
        self.general = Outbox(
            "general", backlog=limits.max_backlog_messages, limit=limits.max_backlog_bytes, replay=64
        )
        self.outgoing = Outgoing()
        self.initialized = False
        self.used = time.monotonic()
        self._methods = methods
        self._in_flight = in_flight
        self._subscriptions = subscriptions
        self._running: dict[str, Ticket] = {}
        self._ended = False

    def __repr__(self) -> str:
        return f"<Session {self.tag} {self.identity.name!r} {len(self._running)} running>"

    @property
    def busy(self) -> bool:
        """Whether a call of this session is running."""
        return bool(self._running)

    def touch(self) -> None:
        """Note that the client was heard of: its idle time starts anew."""
        self.used = time.monotonic()

    async def answer(self, message: Message, outbox: Outbox, ticket: Ticket | None = None) -> Message | None:
        """Answer one request, in the current task. None means that the client cancelled it."""
        self.touch()
        request_id: RequestId = message["id"]
        ticket = ticket or Ticket()
        ticket.goes_on = message["method"] == "ping"
        key = str(request_id)
        self._running[key] = ticket
        try:
            work = self._handle(message["method"], message.get("params") or {}, outbox)
            return await self._in_flight.answer(request_id, work, ticket, self.tag)
        finally:
            # A client may use one id for several requests: only our own entry is removed.
            if self._running.get(key) is ticket:
                del self._running[key]
            self.touch()

    def take(self, message: Message) -> None:
        """Take a response or a notification of the client; what nobody waits for is dropped."""
        self.touch()
        if jsonrpc.kind_of(message) == "response":
            self.outgoing.resolve(message)
            return
        params: Json = message.get("params") or {}
        if message["method"] == "notifications/cancelled":
            ticket = self._running.get(str(params.get("requestId")))
            if ticket is not None:
                ticket.cancel()
        elif message["method"] == "notifications/roots/list_changed":
            self._subscriptions.roots_changed(self.identity, params)

    def tell(self, method: str, params: Json | None = None) -> None:
        """Queue news of what has changed; no call's. A client that does not read keeps the latest of each.

        Nothing is news before `initialize` (2025-11-25, lifecycle): the client lists everything after it.
        """
        if not self.initialized:
            return
        what = params or {}
        about = (method, what.get("uri"), what.get("elicitationId"))
        self.general.put(jsonrpc.notification(method, params), about)

    def log(self, params: Json) -> None:
        """Queue a server's log message that is this session's but no call's, if its level is wanted."""
        if self.initialized and passes(params, self.level):
            self.general.put(jsonrpc.notification("notifications/message", params))

    async def end(self, reason: str) -> None:
        """End the session: its calls are cancelled, its questions closed. Idempotent."""
        if self._ended:
            return
        self._ended = True
        for ticket in list(self._running.values()):
            ticket.cancel()
        if not self._running:
            # The questions of a cancelled call go with it: its server is to be told of that, and not
            # that nobody answered. Those of no call end here, or with the session's own lanes.
            self.outgoing.fail_all(ConnectionLost("client", reason))
        self.general.close()
        await self._subscriptions.drop(self)

    async def _handle(self, method: str, params: Json, outbox: Outbox) -> Json:
        if method == "ping":
            return {}
        own = self._own_methods().get(method)
        caller = SessionCaller(self, outbox)
        if own is not None:
            return await own(params, caller)
        if self.level is not None and method in RELAYED:
            params = with_level(params, self.level)
        try:
            outcome = await self._methods.handle(method, params, caller)
        finally:
            caller.over()
        if isinstance(outcome, Suspended):
            raise InvalidCall("the call waits for its client, which cannot be asked that way in this era")
        caller.completed()
        return for_handshake(method, outcome)

    def _own_methods(self) -> dict[str, Callable[[Json, SessionCaller], Awaitable[Json]]]:
        return {
            "initialize": self._initialize,
            "logging/setLevel": self._set_level,
            "resources/subscribe": self._subscribe,
            "resources/unsubscribe": self._unsubscribe,
        }

    async def _initialize(self, params: Json, _: SessionCaller) -> Json:
        asked = params.get("protocolVersion")
        self.version = asked if asked in VERSIONS else VERSIONS[-1]
        self.profile = profile_of(params.get("capabilities"))
        info = params.get("clientInfo")
        name = cast("Json", info).get("name") if isinstance(info, dict) else None
        name = name if isinstance(name, str) else ""
        self.identity = Identity(self.tag, self.identity.principal, self.tag, name)
        result = initialize_result(self.version, await self._methods.greeting())
        self.initialized = True
        return result

    async def _set_level(self, params: Json, caller: SessionCaller) -> Json:
        if not is_level(params.get("level")):
            raise InvalidCall(f"logging/setLevel: unknown level {params.get('level')!r}")
        self.level = params["level"]
        await self._subscriptions.set_level(caller, params["level"])
        return {}

    async def _subscribe(self, params: Json, caller: SessionCaller) -> Json:
        await self._subscriptions.add(self, caller, _uri(params))
        return {}

    async def _unsubscribe(self, params: Json, caller: SessionCaller) -> Json:
        await self._subscriptions.remove(self, caller, _uri(params))
        return {}


def initialize_result(version: str, greeting: Greeting) -> Json:
    """Build InitializeResult for all servers together."""
    answer: Json = {
        "protocolVersion": version,
        "capabilities": greeting.capabilities,
        "serverInfo": GATEWAY_INFO,
    }
    if greeting.instructions is not None:
        answer["instructions"] = greeting.instructions
    return answer


def _uri(params: Json) -> str:
    uri = params.get("uri")
    if not isinstance(uri, str) or not uri:
        raise InvalidCall("the parameter 'uri' is missing")
    return uri
