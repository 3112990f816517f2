"""A listening socket on a free loopback port."""

from __future__ import annotations

import socket


def free_port_socket() -> socket.socket:
    """Listen. The protocol is named, since asyncio turns Nagle's delay off only where it is."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    return listener
