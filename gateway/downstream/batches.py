"""JSON-RPC batches, which revision 2025-03-26 alone lets a client send (2025-03-26, basic, Batching)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from gateway.downstream.exchange import Exchange
from gateway.downstream.session import Session
from gateway.downstream.work import Ticket
from gateway.wire import jsonrpc
from gateway.wire.jsonrpc import Json

REVISION: Final = "2025-03-26"


def why_refused(batch: Sequence[Any], limit: int) -> str | None:
    """Say why a batch is refused as a whole, or None if its messages are taken one by one."""
    if not batch:
        return "a batch must have at least one message"
    if len(batch) > limit:
        return (
            f"a batch may have {limit} messages (limits.max_calls_per_client), and this one has {len(batch)}"
        )
    return None


def has_requests(batch: Sequence[Any]) -> bool:
    """Whether anything in a batch must be answered; what is no message at all must be, too."""
    return any(jsonrpc.kind_of(message) in ("request", "invalid") for message in batch)


def take(session: Session, batch: Sequence[Any]) -> None:
    """Hand a batch's notifications and responses to the session."""
    for message in batch:
        if jsonrpc.kind_of(message) in ("notification", "response"):
            session.take(message)


async def answer(session: Session, batch: Sequence[Any], exchange: Exchange) -> list[Json] | None:
    """Carry out a batch's requests side by side, and return the responses that have not been sent.

    Once the exchange is an event stream each response is sent as it comes. None is returned
    where there is nothing to send at the end.
    """
    unsent: list[Json] = []

    async def one(message: Any) -> None:
        response = await _answer(session, message, exchange)
        if response is None:
            return
        if exchange.streamed:
            exchange.outbox.put(response)
        else:
            unsent.append(response)

    async with asyncio.TaskGroup() as tasks:
        for message in batch:
            if jsonrpc.kind_of(message) in ("request", "invalid"):
                tasks.create_task(one(message))
    return unsent or None


async def _answer(session: Session, message: Any, exchange: Exchange) -> Json | None:
    if jsonrpc.kind_of(message) == "invalid":
        return jsonrpc.error(None, jsonrpc.INVALID_REQUEST, "not a JSON-RPC 2.0 message")
    if message["method"] == "initialize":
        return jsonrpc.error(
            message["id"], jsonrpc.INVALID_REQUEST, "initialize must not be part of a batch: send it alone"
        )
    return await session.answer(message, exchange.outbox, Ticket())
