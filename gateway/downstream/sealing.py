"""`requestState`: what a modern client carries for us between the rounds of a call, sealed.

The seal is the SDK's (AES-256-GCM under a key ring); the bindings are ours: principal,
method, target, arguments and expiry. Any failure is answered with one fixed message.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, cast

from mcp.server.request_state import AESGCMRequestStateCodec, InvalidRequestState

from gateway.calls.afresh import Afresh
from gateway.calls.model import Json, ParkedAt, Resume
from gateway.errors import InvalidCall, LimitExceeded
from gateway.wire import jsonrpc

logger = logging.getLogger(__name__)

INVALID_STATE: Final = "Invalid or expired requestState"
_FORMAT: Final = 3
_CARRIED: Final = tuple(field.name for field in fields(Resume))


class Sealer:
    """Seals and opens `Resume` values for modern clients.

    `keys` is the ring: the first seals, all open; empty means a key of this process.
    `ttl` is in seconds, `limit` bounds a sealed token in bytes.
    """

    def __init__(
        self,
        keys: Sequence[str],
        *,
        audience: str = "backchannel",
        ttl: float = 3600.0,
        limit: int = 256 * 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._codec = AESGCMRequestStateCodec(list(keys) or [os.urandom(32)])
        self._audience = audience
        self._ttl = ttl
        self._limit = limit
        self._clock = clock
        self.refused = 0

    def seal(self, resume: Resume | ParkedAt, binding: str) -> str:
        """Return the token for a suspended or parked call.

        Raises:
            LimitExceeded: what must be carried is too large.
        """
        payload = {
            "v": _FORMAT,
            "aud": self._audience,
            "exp": self._clock() + self._ttl,
            "bind": binding,
            **(_parked_fields(resume) if isinstance(resume, ParkedAt) else _fields(resume)),
        }
        token = self._codec.seal(jsonrpc.encode(payload))
        if len(token) > self._limit:
            raise LimitExceeded(
                f"the call's state has {len(token)} bytes, more than the {self._limit} allowed"
            )
        return token

    def open(self, token: Any, binding: str) -> Resume | ParkedAt:
        """Return what a token of ours holds.

        Raises:
            InvalidCall: with one fixed message, whatever is wrong with it.
        """
        reason = "not a string, or too long"
        if isinstance(token, str) and len(token) <= self._limit:
            try:
                return self._read(jsonrpc.decode(self._codec.unseal(token)), binding)
            except (InvalidRequestState, jsonrpc.Undecodable) as error:
                reason = str(error)
        self.refused += 1
        logger.warning("refused a requestState: %s", reason)
        raise InvalidCall(INVALID_STATE)

    def owner_of(self, token: Any) -> str | None:
        """Return who has parked the call that a token of ours belongs to; None for every other token.

        Whether the token may be used is not looked at: the owner does.
        """
        if not isinstance(token, str) or len(token) > self._limit:
            return None
        try:
            return jsonrpc.decode(self._codec.unseal(token)).get("owner")
        except (InvalidRequestState, jsonrpc.Undecodable):
            return None

    def _read(self, kept: Json, binding: str) -> Resume | ParkedAt:
        if kept.get("v") != _FORMAT or kept.get("aud") != self._audience:
            raise InvalidRequestState("minted by another deployment")
        if kept["exp"] < self._clock():
            raise InvalidRequestState("expired")
        if not hmac.compare_digest(kept["bind"], binding):
            raise InvalidRequestState("bound to another principal or another call")
        if "parked" in kept:
            return ParkedAt(kept["parked"], kept["round"], kept["owner"])
        kind = Afresh if kept["afresh"] else Resume
        return kind(**{name: kept[name] for name in _CARRIED})


def _fields(resume: Resume) -> Json:
    return {**{name: getattr(resume, name) for name in _CARRIED}, "afresh": isinstance(resume, Afresh)}


def _parked_fields(at: ParkedAt) -> Json:
    return {"parked": at.call, "round": at.round, "owner": at.owner}


def binding_of(principal: str | None, method: str, params: Mapping[str, Any]) -> str:
    """Digest what a token is bound to: who calls, and what with.

    The retry must repeat the call (basic/patterns/mrtr); `_meta` may differ.
    """
    salient = {
        key: params[key] for key in sorted(params) if key not in ("_meta", "requestState", "inputResponses")
    }
    bound = jsonrpc.encode([principal, method, _sorted(salient)])
    return hashlib.sha256(bound).hexdigest()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        fields = cast("Json", value)
        return {key: _sorted(fields[key]) for key in sorted(fields)}
    if isinstance(value, list):
        return [_sorted(item) for item in cast("list[Any]", value)]
    return value
