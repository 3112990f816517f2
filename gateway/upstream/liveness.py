"""Whether a connection is still alive after a call on it timed out.

A server that is slow with one call answers others; one that is stuck answers nothing, and every call on
its connection would have to time out by itself. So it is asked something that it must answer at once
(2025-11-25, basic/utilities/ping); if it does not, the connection is given up, and the next call gets
a new one: over stdio, a new process.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from gateway.errors import BackchannelError
from gateway.upstream.clock import Clock, all_done
from gateway.upstream.lane import Lane
from gateway.upstream.port import Connection

logger = logging.getLogger(__name__)

PING_SECONDS: Final = 10.0
"""Seconds that a server has to answer a ping before its connection is given up."""


async def check(lane: Lane, transport: str, clock: Clock) -> None:
    """Ask a lane's server for a sign of life, and give its connection up if there is none."""
    connection = lane.connection
    if connection is None or connection.closed.is_set():
        return
    method = "ping"
    if connection.hello.era == "modern":
        if transport != "stdio":
            return  # Each request goes its own way there: nothing can be stuck for the others.
        method = "server/discover"
    asking = asyncio.create_task(_ask(connection, method))
    try:
        if not await all_done([asking], PING_SECONDS, clock) and not connection.closed.is_set():
            reason = f"it was stuck: {method} was not answered within {PING_SECONDS:g} s of a call's time-out"
            logger.warning(
                "server '%s' is given up on one connection, and %d other calls on it: %s",
                lane.server,
                lane.running,
                reason,
            )
            connection.give_up(reason)
    finally:
        asking.cancel()
        await asyncio.wait({asking})


async def _ask(connection: Connection, method: str) -> None:
    try:
        await connection.call(method, {})
    except BackchannelError as error:
        # An error is an answer, too; and a connection that ended needs none.
        logger.debug("server '%s' answered %s with: %s", connection.server, method, error)
