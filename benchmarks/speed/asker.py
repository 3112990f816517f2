"""Asks the LLM service what a gateway has asked it, from the gateway's core, by the leanest of clients.

Run with `python -m benchmarks.speed.asker PORT`. Each line of standard input is a whole HTTP request in
hexadecimal; each line of standard output the seconds from sending it to having read its response.
"""

from __future__ import annotations

import socket
import sys
import time

from benchmarks.speed.upstream_tools import pin

_LENGTH = b"content-length: "


def asked(connection: socket.socket, request: bytes) -> float:
    """Send a request, read its response, and return how long that took."""
    began = time.perf_counter()
    connection.sendall(request)
    came = connection.recv(65536)
    while not _whole(came):
        more = connection.recv(65536)
        assert more, came
        came += more
    took = time.perf_counter() - began
    assert b"choices" in came, came
    return took


def _whole(came: bytes) -> bool:
    head, found, body = came.partition(b"\r\n\r\n")
    if not found:
        return False
    length = head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0]
    return len(body) >= int(length)


if __name__ == "__main__":
    pin()
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as to_the_service:
        to_the_service.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for line in sys.stdin:
            print(asked(to_the_service, bytes.fromhex(line)), flush=True)
