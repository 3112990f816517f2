"""What a transport is to a conversation: it carries messages, and requests that wait for responses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.calls.model import Scope
from gateway.errors import BackchannelError
from gateway.upstream.port import Json
from gateway.wire.jsonrpc import RequestId

Watch = Callable[[str, Json], None]
"""Takes the notifications of one subscription, their stamp still on."""


class Cancellable(Protocol):
    """Work that can be stopped: a task, or an exchange that needs none."""

    def cancel(self) -> object:
        """Stop; idempotent, raises nothing."""
        ...


@dataclass(slots=True, eq=False)
class Pending:
    """One request of ours in flight.

    `token` is the caller's own progress token; on the wire our request id stands for it.
    `exchange` is what the transport does for this request, where it can be told to stop. `watch` takes
    the notifications of a subscription that this request opens.
    """

    id: RequestId
    method: str
    future: asyncio.Future[Json]
    scope: Scope | None
    watch: Watch | None
    token: Any = None
    exchange: Cancellable | None = None
    questions: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def fail(self, error: BackchannelError) -> None:
        """End the wait for the response with `error`, unless it has ended."""
        if not self.future.done():
            self.future.set_exception(error)


class Channel(Protocol):
    """Moves messages to the server; what comes back goes to `Conversation.take`."""

    async def send(self, message: Json, pending: Pending | None) -> None:
        """Send a message; `pending` is given for a request that expects a response.

        Raises:
            CallError: it could not be sent.
        """
        ...

    async def abandon(self, pending: Pending) -> None:
        """Tell the server that a request is no longer wanted; bounded in time, raises nothing."""
        ...

    async def aclose(self) -> None:
        """Close the transport and everything it started; bounded in time, idempotent."""
        ...
