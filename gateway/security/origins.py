"""Host and Origin checks against DNS rebinding (2026-07-28, transports, Security & Endpoint)."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from gateway.config.resolved import Http
from gateway.errors import BackchannelError

_MOST_SERVED = 64
"""Values of Host that are known to be served without another look."""
_LONGEST_SERVED = 256
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ForbiddenOrigin(BackchannelError):
    """The Host or Origin header names a place this gateway does not serve. HTTP 403."""


def is_loopback(host: str) -> bool:
    """Whether a bind address or peer address stays on this machine."""
    return host in _LOOPBACK or host.startswith("127.")


class Origins:
    """Accepts the hosts that the bind address implies and those that are configured.

    A loopback bind serves loopback names alone. A wider bind serves any Host unless
    `allowed_hosts` is set, since it does not know its own names. An Origin must be that
    of the Host itself or be configured; requests without one do not come from a browser.
    """

    def __init__(self, http: Http) -> None:
        self._hosts = {host.lower() for host in http.allowed_hosts}
        self._origins = {origin.lower().rstrip("/") for origin in http.allowed_origins}
        self._served: set[str] = set()
        self._any_host = "*" in self._hosts or (not is_loopback(http.host) and not self._hosts)
        self._any_origin = "*" in self._origins
        self._hosts.update(_LOOPBACK)
        self._hosts.add(http.host.lower())

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise ForbiddenOrigin unless both headers are acceptable; names are lower-case."""
        host = headers.get("host", "")
        if host in self._served and "origin" not in headers:
            return
        host = host.lower()
        if not self._any_host and hostname(headers) not in self._hosts and host not in self._hosts:
            raise ForbiddenOrigin(f"Host '{host}' is not served here; add it to http.allowed_hosts")
        if len(self._served) < _MOST_SERVED and len(host) <= _LONGEST_SERVED:
            self._served.add(headers.get("host", ""))
        origin = headers.get("origin", "").lower().rstrip("/")
        if not origin or self._any_origin or origin in self._origins:
            return
        if urlsplit(origin).netloc != host:
            raise ForbiddenOrigin(f"Origin '{origin}' is not allowed; add it to http.allowed_origins")


def hostname(headers: Mapping[str, str]) -> str:
    """Return the Host header's name without the port: ``[::1]:8080`` is ``::1``."""
    host = headers.get("host", "").lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
