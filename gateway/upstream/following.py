"""What clients want to keep hearing of from one server: updates of resources.

A server keeps that per connection. A client with a lane of its own has them there; the others
share the control lane, each resource subscribed to once for all of them. A new connection is
told again what the one before it was told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from gateway.calls.model import Caller, Json
from gateway.errors import BackchannelError, CallError, CallTimedOut
from gateway.upstream.clock import Clock
from gateway.upstream.lane import Lane
from gateway.upstream.port import Connection
from gateway.upstream.supervisor import FIRST_DELAY, LAST_DELAY, STABLE_SECONDS

logger = logging.getLogger(__name__)

Borrow = Callable[[Caller], AbstractAsyncContextManager[Connection]]
"""Lends the connection on which a caller's subscriptions live."""


class Following:
    """Subscriptions at one server.

    `pin_of` tells whose lane a caller uses (None: the shared ones). `timeout` bounds one
    request in seconds. A session's lane that ends is opened again while it has subscriptions there.
    """

    def __init__(
        self,
        server: str,
        borrow: Borrow,
        pin_of: Callable[[Caller], str | None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        timeout: float,
        clock: Clock,
    ) -> None:
        self._server = server
        self._borrow = borrow
        self._pin_of = pin_of
        self._spawn = spawn
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._clock = clock
        self._holders: dict[str | None, dict[str, set[str]]] = {}
        self._callers: dict[str, Caller] = {}
        self._opened: dict[str, float] = {}
        self._attempts: dict[str, int] = {}
        self._reopening: set[str] = set()

    def __repr__(self) -> str:
        return f"<Following '{self._server}' {sum(map(len, self._holders.values()))} resources>"

    async def subscribe(self, uri: str, caller: Caller) -> None:
        """Subscribe to a resource for a caller; once it is subscribed to, more cost nothing.

        Raises:
            ServerUnavailable, ServerBusy, ConnectionLost: the server could not be asked.
            PeerError, CallTimedOut: it refused, or did not answer.
        """
        pin = self._pin_of(caller)
        async with self._lock:
            if uri not in self._holders.get(pin, {}):
                await self._subscribe(uri, caller)
            self._holders.setdefault(pin, {}).setdefault(uri, set()).add(caller.identity.key)
            if pin is not None:
                self._callers[pin] = caller

    async def _subscribe(self, uri: str, caller: Caller) -> None:
        try:
            async with asyncio.timeout(self._timeout), self._borrow(caller) as connection:
                await connection.call("resources/subscribe", {"uri": uri})
        except TimeoutError:
            raise CallTimedOut(
                f"server '{self._server}' did not take the subscription within {self._timeout:g} s"
            ) from None

    def unsubscribe(self, uri: str, caller: Caller, lanes: tuple[Lane, ...]) -> None:
        """End a caller's subscription; the server is told, in the background, if nobody else has it."""
        pin = self._pin_of(caller)
        if self._let_go(pin, uri, caller.identity.key):
            self._drop([lane for lane in lanes if _carries(lane, pin)], [uri])

    def forget(self, key: str, lanes: tuple[Lane, ...]) -> None:
        """Forget a client, whose own lane is about to be closed."""
        self._holders.pop(key, None)
        self._callers.pop(key, None)
        self._attempts.pop(key, None)
        self._opened.pop(key, None)
        unwanted = [uri for uri in list(self._holders.get(None, {})) if self._let_go(None, uri, key)]
        self._drop([lane for lane in lanes if _carries(lane, None)], unwanted)

    def opened(self, lane: Lane) -> None:
        """Tell a new connection what clients want to hear on it."""
        connection = lane.connection
        if connection is None:
            return
        pin = None if lane.pin is None else lane.pin.key
        if pin is not None and pin in self._holders:
            self._opened[pin] = self._clock.now()
        for uri in self._holders.get(pin, {}) if _carries(lane, pin) else ():
            self._spawn(self._quietly(connection, "resources/subscribe", {"uri": uri}))

    def ended(self, lane: Lane) -> None:
        """Open a session's lane again that has ended, if subscriptions lived on it."""
        pin = None if lane.pin is None else lane.pin.key
        if pin is None or pin not in self._holders or pin in self._reopening:
            return
        if self._clock.now() - self._opened.get(pin, self._clock.now()) >= STABLE_SECONDS:
            self._attempts.pop(pin, None)
        self._reopening.add(pin)
        self._spawn(self._reopen(pin))

    async def _reopen(self, pin: str) -> None:
        """Have a session's lane opened, which tells the server what is followed; with growing patience."""
        try:
            while self._follows(pin):
                attempt = self._attempts.get(pin, 0)
                self._attempts[pin] = attempt + 1
                await self._clock.sleep(min(LAST_DELAY, FIRST_DELAY * 2.0 ** min(attempt, 16)))
                if not self._follows(pin):
                    return
                try:
                    async with self._borrow(self._callers[pin]):
                        return
                except CallError as error:
                    logger.info("what a client follows at server '%s' waits: %s", self._server, error)
        finally:
            self._reopening.discard(pin)

    def _follows(self, pin: str) -> bool:
        return pin in self._holders

    def _drop(self, lanes: list[Lane], uris: list[str]) -> None:
        for connection in (lane.connection for lane in lanes if lane.connection is not None):
            for uri in uris:
                self._spawn(self._quietly(connection, "resources/unsubscribe", {"uri": uri}))

    def _let_go(self, pin: str | None, uri: str, key: str) -> bool:
        """Remove one holder; True if it was the last."""
        holders = self._holders.get(pin, {}).get(uri)
        if holders is None or key not in holders:
            return False
        holders.discard(key)
        if holders:
            return False
        del self._holders[pin][uri]
        if not self._holders[pin]:
            del self._holders[pin]
        return True

    async def _quietly(self, connection: Connection, method: str, params: Json) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await connection.call(method, params)
        except (BackchannelError, TimeoutError) as error:
            logger.warning("server '%s' did not take %s: %s", self._server, method, error)


def _carries(lane: Lane, pin: str | None) -> bool:
    """Whether subscriptions of this pin live on this lane."""
    return lane.control if pin is None else lane.pin is not None and lane.pin.key == pin
