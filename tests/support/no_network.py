"""A guard for tests: nothing beyond this machine may be reached."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest


class NetworkForbidden(AssertionError):
    """A test tried to leave the machine."""


def forbid_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections and name look-ups that are not loopback or a Unix socket."""
    connect, lookup = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family != getattr(socket, "AF_UNIX", None) and not _loopback(address[0]):
            raise NetworkForbidden(f"a test connects to {address}")
        connect(self, address)

    def guarded_lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not _loopback(host):
            raise NetworkForbidden(f"a test looks up {host!r}")
        return lookup(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_lookup)


def _loopback(host: Any) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
