"""The JSON-RPC side of one connection: what we asked, what we are asked, and whose it is.

Every transport and era shares this. A `Channel` moves messages; the conversation matches
responses to requests, gives each question and notification to the call it belongs to or to
the connection's listener, and ends everything when the connection does.
"""

from __future__ import annotations

import asyncio
import logging
import reprlib
from collections.abc import Callable, Coroutine
from typing import Any, cast

from gateway.calls.model import Asked, LaterAnswer, Scope
from gateway.config.resolved import ServerConfig
from gateway.errors import (
    BackchannelError,
    CallError,
    ConnectionLost,
    LimitExceeded,
    NotTaken,
    QuestionRefused,
)
from gateway.upstream.channel import Channel, Pending, Watch
from gateway.upstream.nonsense import MOST_OF_A_BATCH, Nonsense, Refusals, meant_for
from gateway.upstream.port import Connection, Json, Listener
from gateway.upstream.tasks import without_task
from gateway.wire import jsonrpc
from gateway.wire.correlation import Incoming, Outgoing

log = logging.getLogger(__name__)

SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"
CLOSED_BY_US = "closed by the gateway"
_OF_THE_SERVER = frozenset(
    {
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/tasks/status",
    }
)
"""News of the server itself, also on the stream of a call; whatever else comes there is the call's."""
_NOTIFYING = 10.0
_SHOWN = 200


class Conversation:
    """One connection's requests, questions and notifications.

    `connection` is set once the handshake is done; before that a server may only ping.
    `answers` is False in the modern era, where servers must not send requests.
    """

    def __init__(
        self,
        config: ServerConfig,
        listener: Listener,
        channel: Channel,
        max_nesting: int = jsonrpc.MAX_NESTING,
    ) -> None:
        self.config = config
        self.connection: Connection | None = None
        self.answers = True
        self.closed = asyncio.Event()
        self.why_closed = ""
        self.on_end: list[Callable[[], None]] = []
        self._listener = listener
        self._channel = channel
        self._outgoing = Outgoing()
        self._incoming = Incoming(self._reply)
        self._pending: dict[str, Pending] = {}
        self._refusals = Refusals(self._reply)
        self._nonsense = Nonsense(config.name)
        self._max_nesting = max_nesting

    def __repr__(self) -> str:
        state = f"closed: {self.why_closed}" if self.closed.is_set() else "open"
        return f"<Conversation with {self.config.name}, {len(self._pending)} pending, {state}>"

    @property
    def server(self) -> str:
        """The configured name of the server."""
        return self.config.name

    async def request(
        self,
        method: str,
        params: Json | None,
        scope: Scope | None = None,
        *,
        watch: Watch | None = None,
        quiet: bool = False,
    ) -> Json:
        """Send a request and return its raw result.

        Cancelling the task tells the server, unless `quiet`.

        Raises:
            PeerError: the server's error.
            ConnectionLost: the connection ended, or was over already; NotTaken if that is all that happened.
            CallError: the transport failed for this request alone.
        """
        if self.closed.is_set():
            raise self.lost()
        request_id, future = self._outgoing.open()
        pending = Pending(request_id, method, future, scope, watch)
        self._pending[str(request_id)] = pending
        message = jsonrpc.request(request_id, method, _with_own_token(params, pending))
        try:
            await self._channel.send(message, pending)
            return await future
        except asyncio.CancelledError:
            if quiet and pending.exchange is not None:
                pending.exchange.cancel()
            elif not quiet and (not future.done() or future.cancelled()):
                # Cancelling the task has cancelled the future it waited for; a response settles it.
                await self._channel.abandon(pending)
            raise
        except CallError as error:
            if self.closed.is_set() and not isinstance(error, NotTaken):
                raise self.lost() from error
            raise
        finally:
            self._close(pending)

    async def notify(self, method: str, params: Json | None = None) -> None:
        """Send a notification within 10 seconds; a connection that is over or breaks is not an error."""
        if self.closed.is_set():
            return
        try:
            async with asyncio.timeout(_NOTIFYING):
                await self._channel.send(jsonrpc.notification(method, params), None)
        except (TimeoutError, CallError) as error:
            log.debug("server %s was not told %s: %s", self.server, method, error)

    def take(self, message: Any, pending: Pending | None = None) -> None:
        """Dispatch one decoded message; `pending` is the request whose own stream brought it.

        Never raises and never waits, whatever the server sent.
        """
        # Revision 2025-03-26 allows batches.
        batch = cast("list[Any]", message) if isinstance(message, list) else (message,)
        if len(batch) > MOST_OF_A_BATCH:
            self._nonsense.note(f"a batch of more than {MOST_OF_A_BATCH} messages", batch)
            return
        for part in batch:
            self._take_one(part, pending)

    def take_text(self, data: bytes | str, pending: Pending | None = None) -> None:
        """Decode and dispatch; what is not JSON is logged, and ends the call it clearly answers."""
        try:
            message = jsonrpc.decode(data, self._max_nesting)
        except jsonrpc.Undecodable as error:
            self._unreadable(data, error, pending)
            return
        self.take(message, pending)

    def take_body(self, data: bytes, pending: Pending) -> None:
        """Dispatch a body that is all there will be of a request's response: it ends with it."""
        try:
            message = jsonrpc.decode(data, self._max_nesting)
        except jsonrpc.Undecodable as error:
            pending.fail(self._no_answer(pending, error))
            return
        if not self._outgoing.settle(pending.id, message):
            self.take(message, pending)
        if not pending.future.done():
            what = f"server '{self.server}' answered {pending.method} without a response to it"
            pending.fail(CallError(what))

    def run(self, pending: Pending, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a request's exchange as a task; however it ends, the request ends too."""
        task = asyncio.create_task(work)
        pending.exchange = task
        task.add_done_callback(lambda done: self._exchanged(pending, done))
        return task

    def end(self, reason: str) -> None:
        """The connection is over: set `closed` and fail everything in flight. Idempotent."""
        if self.closed.is_set():
            return
        self.why_closed = reason
        self.closed.set()
        self._outgoing.fail_all(self.lost())
        self._incoming.cancel_all()
        self._refusals.cancel()
        for pending in list(self._pending.values()):
            if pending.exchange is not None:
                pending.exchange.cancel()
        for callback in self.on_end:
            callback()

    async def aclose(self) -> None:
        """Wait for the questions that were being answered to be taken back."""
        self.end(CLOSED_BY_US)
        await self._incoming.aclose()

    def lost(self) -> ConnectionLost:
        """Return the error for a call that this connection cannot finish."""
        return ConnectionLost(self.server, self.why_closed)

    def _take_one(self, message: Any, pending: Pending | None) -> None:
        kind = jsonrpc.kind_of(message)
        if kind == "response":
            self._response(message, pending)
        elif kind == "notification":
            self._notification(message["method"], message.get("params") or {}, pending)
        elif kind == "request":
            self._question(message, pending)
        else:
            self._nonsense.note("what is not a JSON-RPC message", message)

    def _unreadable(self, data: bytes | str, error: jsonrpc.Undecodable, pending: Pending | None) -> None:
        self._nonsense.note(f"what is {error}", data[:_SHOWN])
        raw = data.encode(errors="replace") if isinstance(data, str) else data
        waiting = self._pending if pending is None else (str(pending.id),)
        if (named := meant_for(raw, waiting)) is not None:
            answered = pending or self._pending[named]
            answered.fail(self._no_answer(answered, error))

    def _no_answer(self, pending: Pending, error: jsonrpc.Undecodable) -> CallError:
        return CallError(f"server '{self.server}' answered {pending.method} with what is {error}")

    def _close(self, pending: Pending) -> None:
        self._outgoing.close(pending.id)
        self._pending.pop(str(pending.id), None)
        for task in list(pending.questions):
            task.cancel()
        if not pending.future.done():
            pending.future.cancel()
        elif not pending.future.cancelled():
            pending.future.exception()  # seen, whether or not the caller still waits

    def _exchanged(self, pending: Pending, done: asyncio.Task[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if isinstance(error, BackchannelError):
            pending.fail(error)
        elif error is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "an exchange with a server failed", "exception": error, "task": done}
            )
            pending.fail(CallError(f"the gateway failed to read the answer of server '{self.server}'"))
        else:
            pending.fail(ConnectionLost(self.server, "the response stream ended without a response"))

    def _response(self, message: Json, pending: Pending | None) -> None:
        if pending is not None and "error" in message and str(message.get("id")) not in self._pending:
            # The stream says which request this answers; the error of one that the server
            # could not read carries no id, or one of its own making.
            message = {**message, "id": pending.id}
        if not self._outgoing.resolve(message):
            # An error without an id says that the server could not read something of ours.
            level = logging.WARNING if message.get("id") is None else logging.DEBUG
            log.log(level, "server %s answered what nobody waits for: %s", self.server, reprlib.repr(message))

    def _notification(self, method: str, params: Json, pending: Pending | None) -> None:
        if method == "notifications/cancelled":
            self._cancelled(params)
        elif method == "notifications/progress":
            self._progress(params)
        elif (watching := self._watching(params, pending)) is not None:
            self._deliver(watching, method, params)
        elif pending is not None and pending.scope is not None and method not in _OF_THE_SERVER:
            self._deliver(pending.scope.notification, method, params)
        elif self.connection is not None:
            self._deliver(self._listener.notification, self.connection, method, params)
        else:
            log.debug("server %s sent %s before it was connected", self.server, method)

    def _progress(self, params: Json) -> None:
        pending = self._pending.get(str(params.get("progressToken")))
        if pending is None or pending.scope is None or pending.token is None:
            log.debug("server %s reported progress that belongs to no call", self.server)
            return
        restored = {**params, "progressToken": pending.token}
        self._deliver(pending.scope.notification, "notifications/progress", restored)

    def _watching(self, params: Json, pending: Pending | None) -> Watch | None:
        if pending is not None:
            return pending.watch
        meta = params.get("_meta")
        if not isinstance(meta, dict):
            return None
        named = self._pending.get(str(cast("Json", meta).get(SUBSCRIPTION_ID)))
        return None if named is None else named.watch

    def _cancelled(self, params: Json) -> None:
        request_id = params.get("requestId")
        if self._incoming.cancel(request_id):
            return
        subscription = self._pending.get(str(request_id))
        if subscription is not None and subscription.watch is not None:
            subscription.fail(ConnectionLost(self.server, "it ended the subscription"))

    def _question(self, message: Json, pending: Pending | None) -> None:
        request_id, method = message["id"], message["method"]
        if not self.answers:
            # Modern servers must not send requests, and there is no form to answer one in.
            self._nonsense.note("a request, which its era does not have", method)
            return
        if request_id in self._incoming:
            # Answering it twice would settle the first with the second's answer.
            self._nonsense.note("a second request with the id of one that is open", method)
            return
        if len(self._incoming) >= self.config.max_concurrent_questions:
            if not self._refusals.put(request_id, self._too_many()):
                self._nonsense.note("more requests than it reads answers to", method)
            return
        if method == "ping":
            work = _pong()
        else:
            params = without_task(method, message.get("params") or {})
            work = self._answer(Asked(method, params), pending)
        task = self._incoming.start(request_id, work)
        if pending is not None:
            pending.questions.add(task)
            task.add_done_callback(pending.questions.discard)

    async def _answer(self, asked: Asked, pending: Pending | None) -> Json:
        if pending is not None and pending.scope is not None:
            answer = await pending.scope.question(asked, deferrable=False)
            if isinstance(answer, LaterAnswer):
                raise QuestionRefused(f"{asked.method} cannot be answered while the call is open")
            return answer
        if self.connection is None:
            raise QuestionRefused(f"{asked.method} is not served before the handshake is done")
        return await self._listener.question(self.connection, asked)

    def _too_many(self) -> LimitExceeded:
        return LimitExceeded(
            f"more than {self.config.max_concurrent_questions} questions are open at once; "
            f"see max_concurrent_questions of server '{self.server}'"
        )

    async def _reply(self, response: Json) -> None:
        try:
            await self._channel.send(response, None)
        except CallError as error:
            log.warning("server %s did not take the answer to its question: %s", self.server, error)

    def _deliver(self, receiver: Callable[..., None], *args: Any) -> None:
        # A named task boundary: whatever a receiver makes of a server's notification, the
        # stream it came on carries on, for the other calls on it.
        try:
            receiver(*args)
        except Exception:
            log.exception("a notification of server %s could not be passed on", self.server)


def _with_own_token(params: Json | None, pending: Pending) -> Json | None:
    """Put our request id in the place of the caller's progress token."""
    meta = None if params is None else params.get("_meta")
    if params is None or not isinstance(meta, dict) or "progressToken" not in meta:
        return params
    fields = cast("Json", meta)
    pending.token = fields["progressToken"]
    return {**params, "_meta": {**fields, "progressToken": pending.id}}


async def _pong() -> Json:
    return {}
