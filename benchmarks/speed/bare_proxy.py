"""The least a proxy in Python can be: raw ASGI in front, aiohttp behind, bytes between, nothing looked at.

Run with `python -m benchmarks.speed.bare_proxy PORT UPSTREAM`. It is what the gateway is held to.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import uvicorn
from yarl import URL

HOP = frozenset(
    {b"host", b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"accept-encoding"}
)
"""Header fields that belong to one connection, or that the client library writes itself."""


class BareProxy:
    """The ASGI application; one pool of connections for all."""

    def __init__(self, upstream: str) -> None:
        self.url = URL(upstream)
        self._client: aiohttp.ClientSession | None = None

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"] if k not in HOP]
        async with self._client.request(
            scope["method"], self.url, data=body or None, headers=headers
        ) as response:
            kept = [
                (k.lower(), v)
                for k, v in response.raw_headers
                if k.lower() not in (b"transfer-encoding", b"connection")
            ]
            await send({"type": "http.response.start", "status": response.status, "headers": kept})
            if response.content_length is not None:
                await send({"type": "http.response.body", "body": await response.read()})
                return
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Serve on the port that is the first argument, in front of the address that is the second."""
    app: Any = BareProxy(sys.argv[2])
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=600,
        backlog=4096,
    )


if __name__ == "__main__":
    main()
