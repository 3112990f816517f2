"""Which client was shown which URL elicitation, so that word of its completion reaches no other."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from gateway.calls.model import Call, Identity, Json

logger = logging.getLogger(__name__)

COMPLETE: Final = "notifications/elicitation/complete"
_KEPT: Final = 10_000
"""Elicitations that are remembered; each takes some hundred bytes, however long its id."""

Tell = Callable[[Identity, str, Json], None]
"""Tells a session something outside its calls; one that is gone is no error."""

_Key = tuple[str, bytes]


class Elicitations:
    """The ids that handshake-era servers gave their URL elicitations (2025-11-25, client/elicitation).

    An id is its server's own: no server can complete another's. `tell` reaches a session once
    the call that asked is over.
    """

    def __init__(self, tell: Tell | None = None, kept: int = _KEPT) -> None:
        self._tell = tell or _tell_nobody
        self._kept = kept
        self._seen: OrderedDict[_Key, Identity] = OrderedDict()
        self._calls: dict[_Key, Call] = {}
        self._of_call: dict[int, list[_Key]] = {}

    def __repr__(self) -> str:
        return f"<Elicitations {len(self._seen)} seen, {len(self._calls)} of calls in flight>"

    def shown(self, call: Call, params: Json) -> None:
        """Note that a call's client is shown an elicitation; one without an id cannot be completed."""
        elicitation_id = params.get("elicitationId")
        if not isinstance(elicitation_id, str):
            return
        key = _key(call.server, elicitation_id)
        self._seen[key] = call.caller.identity
        self._seen.move_to_end(key)
        self._calls[key] = call
        self._of_call.setdefault(call.number, []).append(key)
        if len(self._seen) > self._kept:
            oldest, _ = self._seen.popitem(last=False)
            self._calls.pop(oldest, None)

    def over(self, call: Call) -> None:
        """Note that a call has ended: what completes later is told outside of it."""
        for key in self._of_call.pop(call.number, ()):
            # A server may have given the same id to a question of another call since.
            if self._calls.get(key) is call:
                del self._calls[key]

    def completed(self, server: str, params: Json) -> None:
        """Pass a server's `notifications/elicitation/complete` on to the session that saw its id.

        Clients of 2026-07-28 have no such notification: for them it ends here.
        """
        elicitation_id = params.get("elicitationId")
        key = _key(server, elicitation_id) if isinstance(elicitation_id, str) else None
        identity = None if key is None else self._seen.get(key)
        if key is None or identity is None:
            logger.info("server '%s' completed an elicitation that no client here was shown; dropped", server)
        elif identity.session is None:
            logger.debug("server '%s' completed an elicitation of a client without a session", server)
        elif key in self._calls:
            self._calls[key].caller.notify(COMPLETE, params)
        else:
            self._tell(identity, COMPLETE, params)


def _tell_nobody(identity: Identity, method: str, params: Json) -> None:  # noqa: ARG001
    logger.debug("%s was for %r, which nothing reaches outside its calls", method, identity)


def _key(server: str, elicitation_id: str) -> _Key:
    return server, hashlib.sha256(elicitation_id.encode("utf-8", "surrogatepass")).digest()
