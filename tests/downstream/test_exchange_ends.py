"""What is left of an exchange once it has been answered: nothing, and without collecting garbage."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import MutableMapping
from typing import Any

from gateway.downstream.exchange import Exchange


async def test_an_exchange_that_was_answered_at_once_is_freed_at_once() -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def work() -> tuple[dict[str, Any], int]:
        return {"jsonrpc": "2.0", "id": 1, "result": {}}, 200

    exchange = Exchange(receive, send, keepalive=15)
    freed = weakref.ref(exchange)
    gc.disable()
    try:
        await exchange.run(work(), lambda: None)
        del exchange
        assert freed() is None
    finally:
        gc.enable()
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
