"""The one door: every HTTP request passes here before anything reads its body."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.security.authentication import ApiKeys
from gateway.security.origins import Origins, hostname, is_loopback

_FORWARDED: Final = frozenset({"forwarded", "x-forwarded-for", "x-real-ip"})


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may be served: its headers by lower-case name, and whose it is."""

    headers: dict[str, str]
    principal: str | None


class Guard:
    """Checks Host, Origin and API key."""

    def __init__(self, origins: Origins, keys: ApiKeys) -> None:
        self._origins = origins
        self._keys = keys

    def admit(self, scope: MutableMapping[str, Any]) -> Admitted:
        """Let a request in.

        Raises:
            ForbiddenOrigin: HTTP 403.
            Unauthenticated: HTTP 401.
        """
        # White space around a value is not part of it (RFC 9110, 5.5); not every HTTP parser takes it off.
        headers = {
            name.decode("latin-1"): value.decode("latin-1").strip(" \t") for name, value in scope["headers"]
        }
        self._origins.check(headers)
        return Admitted(headers, self._keys.principal(headers))

    def is_stranger(self, scope: MutableMapping[str, Any], headers: Mapping[str, str]) -> bool:
        """Whether operators' pages are closed to a peer: there are no keys, and it is of another machine.

        A request for another name than loopback's came through a proxy, whoever the peer is, and so did one
        that says where it was forwarded from.
        """
        client = scope.get("client")
        here = client is not None and is_loopback(str(client[0])) and is_loopback(hostname(headers))
        here = here and _FORWARDED.isdisjoint(headers)
        return not self._keys.required and not here
