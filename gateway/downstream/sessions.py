"""All handshake-era sessions: found by id and principal, bounded in number, ended when idle."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable

from gateway.calls.model import Identity
from gateway.config.resolved import Limits
from gateway.downstream.methods import Methods
from gateway.downstream.session import Session
from gateway.downstream.subscriptions import Subscriptions
from gateway.downstream.work import InFlight
from gateway.errors import LimitExceeded

logger = logging.getLogger(__name__)


class Sessions:
    """Opens, finds and ends sessions. `on_end` hears of each that has ended.

    Every id begins with `prefix`, which tells siblings whose session it is.
    """

    def __init__(
        self,
        methods: Methods,
        in_flight: InFlight,
        subscriptions: Subscriptions,
        limits: Limits,
        on_end: Callable[[Session], None],
        clock: Callable[[], float] = time.monotonic,
        prefix: str = "",
    ) -> None:
        self._methods = methods
        self._in_flight = in_flight
        self._subscriptions = subscriptions
        self.limits = limits
        self._on_end = on_end
        self._clock = clock
        self._prefix = prefix
        self._sessions: dict[str, Session] = {}
        self._by_tag: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __repr__(self) -> str:
        return f"<Sessions {len(self._sessions)} of {self.limits.max_sessions}>"

    def open(self, principal: str | None) -> Session:
        """Start a session for a principal.

        Raises:
            LimitExceeded: `limits.max_sessions` are open, none of them idle.
        """
        if len(self._sessions) >= self.limits.max_sessions:
            raise LimitExceeded(
                f"{len(self._sessions)} sessions are open (limits.max_sessions); raise it, or try later"
            )
        session = Session(
            self._prefix + secrets.token_urlsafe(32),
            principal,
            self._methods,
            self._in_flight,
            self._subscriptions,
            self.limits,
        )
        self._sessions[session.id] = session
        self._by_tag[session.tag] = session
        self._subscriptions.join(session)
        return session

    def find(self, session_id: str, principal: str | None) -> Session | None:
        """Return a session of this principal; another's session is as unknown as none."""
        session = self._sessions.get(session_id)
        return session if session is not None and session.identity.principal == principal else None

    def tagged(self, identity: Identity) -> Session | None:
        """Return the session whose calls carry this identity."""
        return self._by_tag.get(identity.key)

    async def end(self, session: Session, reason: str) -> None:
        """End one session; what the servers hold for it is released."""
        if self._sessions.pop(session.id, None) is None:
            return
        self._by_tag.pop(session.tag, None)
        await session.end(reason)
        self._on_end(session)

    async def end_all(self, reason: str) -> None:
        """End every session."""
        for session in list(self._sessions.values()):
            await self.end(session, reason)

    async def expire_idle(self) -> None:
        """End sessions nobody has used for `limits.session_idle_seconds`, for ever."""
        while True:
            await asyncio.sleep(min(self.limits.session_idle_seconds / 4, 30))
            await self.expire_now()

    async def expire_now(self) -> None:
        """End the sessions that are idle at this moment."""
        oldest = self._clock() - self.limits.session_idle_seconds
        for session in list(self._sessions.values()):
            if session.used < oldest and not session.busy and not session.general.has_reader:
                logger.info("ending %r: idle for %g s", session, self.limits.session_idle_seconds)
                await self.end(session, "the session was idle too long")
