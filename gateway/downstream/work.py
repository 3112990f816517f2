"""Requests being answered. The task boundary of the client side: whatever happens, one answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from gateway.calls.admission import ANONYMOUS
from gateway.downstream.load import Load
from gateway.errors import BackchannelError, Overloaded
from gateway.wire import faults, jsonrpc
from gateway.wire.jsonrpc import Json, RequestId

logger = logging.getLogger(__name__)


class Ticket:
    """One request in flight, as the party that may end it early holds it.

    One that `goes_on` with a call that was begun before is taken whatever the load; `refused` is why
    another was not.
    """

    __slots__ = ("_end", "_task", "goes_on", "refused")

    def __init__(self) -> None:
        self.goes_on = False
        self.refused: Overloaded | None = None
        self._task: asyncio.Task[object] | None = None
        self._end: BackchannelError | bool = False

    @property
    def ended(self) -> BackchannelError | bool:
        """False while running; True when cancelled by the client; else what to answer."""
        return self._end

    def cancel(self) -> None:
        """End the request because its client wants so: it is never answered."""
        self._finish(True)

    def fail(self, error: BackchannelError) -> None:
        """End the request and answer it with `error`."""
        self._finish(error)

    def bind(self, task: asyncio.Task[object] | None) -> None:
        """Name the task that does the work, or None when it is done."""
        self._task = task

    def _finish(self, end: BackchannelError | bool) -> None:
        if self._end is False and self._task is not None:
            self._end = end
            self._task.cancel()


class InFlight:
    """All requests being answered by this gateway, at most `per_client` of one client.

    Those that come without a session or a key cannot be told apart; `max_calls` alone bounds them.
    """

    def __init__(self, per_client: int, load: Load | None = None) -> None:
        self._per_client = per_client
        self.load = load or Load()
        self._of_client: dict[str, int] = {}
        self._tickets: set[Ticket] = set()
        self._stopping: BackchannelError | None = None
        self._idle: asyncio.Event | None = None

    def __len__(self) -> int:
        return len(self._tickets)

    async def answer(
        self, request_id: RequestId, work: Coroutine[Any, Any, Json], ticket: Ticket, client: str
    ) -> Json | None:
        """Return the response to a request, or None when its client cancelled it.

        Runs in the current task, which `ticket` can end. `client` says whose it is, for the bound.
        """
        refusal = self._refusal(client, ticket)
        if refusal is not None:
            work.close()
            self._note(refusal, ticket)
            return faults.error_response(request_id, refusal)
        task = asyncio.current_task()
        ticket.bind(task)
        self._tickets.add(ticket)
        self._of_client[client] = self._of_client.get(client, 0) + 1
        self.load.calls += 1
        try:
            return jsonrpc.result(request_id, await work)
        except BackchannelError as error:
            self._note(error, ticket)
            return faults.error_response(request_id, error)
        except asyncio.CancelledError:
            if ticket.ended is False or task is None:
                raise
            task.uncancel()
            end = ticket.ended
            return faults.error_response(request_id, end) if isinstance(end, BackchannelError) else None
        except Exception:  # the task boundary: a defect of ours costs this one answer
            logger.exception("answering request %r failed; this is a defect of the gateway", request_id)
            return jsonrpc.error(
                request_id,
                jsonrpc.INTERNAL_ERROR,
                "the gateway failed on this request; its log has the details",
            )
        finally:
            ticket.bind(None)
            self._tickets.discard(ticket)
            self._of_client[client] -= 1
            self.load.calls -= 1
            if not self._of_client[client]:
                del self._of_client[client]
            if self._idle is not None and not self._tickets:
                self._idle.set()

    def at_the_door(self, client: str | None) -> Overloaded | None:
        """Return why a new request is not taken; `client` is whose it is, as far as its head says so."""
        if client is None or client == ANONYMOUS or self._of_client.get(client, 0) < self._per_client:
            return self.load.refusal()
        return self._too_many(client)

    def _refusal(self, client: str, ticket: Ticket) -> BackchannelError | None:
        if self._stopping is not None:
            return self._stopping
        if client == ANONYMOUS or self._of_client.get(client, 0) < self._per_client:
            return None if ticket.goes_on else self.load.refusal()
        return self._too_many(client)

    def _too_many(self, client: str) -> Overloaded:
        return Overloaded(
            f"{self._per_client} calls of this client are in flight (limits.max_calls_per_client); "
            "wait for one to end, or raise it",
            "client",
            client,
        )

    def _note(self, error: BackchannelError, ticket: Ticket) -> None:
        if isinstance(error, Overloaded):
            ticket.refused = error
            self.load.refused(error)

    async def stop(self, error: BackchannelError, grace: float) -> None:
        """Refuse new requests, give those in flight `grace` seconds, then end them with `error`."""
        self._stopping = error
        if not self._tickets:
            return
        idle = self._idle = asyncio.Event()
        try:
            async with asyncio.timeout(grace):
                await idle.wait()
        except TimeoutError:
            for ticket in list(self._tickets):
                ticket.fail(error)
            await asyncio.sleep(0)
