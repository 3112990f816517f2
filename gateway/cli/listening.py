"""A listening gateway: what `serve` and `demo` share."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from gateway.cli.allocation import give_back_what_was_large
from gateway.cli.common import fail

if TYPE_CHECKING:
    import uvicorn

    from gateway.app import Gateway
    from gateway.config.resolved import GatewayConfig
    from gateway.workers.routing import App

Listening = AbstractAsyncContextManager[tuple["Gateway", str]]

_GRACE = 5
"""Seconds that connections have to close once calls and streams have ended."""


def run(serving: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it is installed (it has no build for Windows)."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


def _settle() -> None:
    """Manage memory as a process does that runs for long.

    What was loaded stays for good, and is most of what there is to look through; a call leaves next to no
    cycles. What calls in flight hold would otherwise be looked through again and again: with two thousand of
    them a quarter of the processor's time went into that, at a tenth of this threshold.
    """
    give_back_what_was_large()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 10, 10)


async def _nothing(_: uvicorn.Server) -> None:
    """Nothing more is to be started."""


def build_server(
    gateway: Gateway, app: App | None = None, started: Callable[[uvicorn.Server], Awaitable[None]] = _nothing
) -> uvicorn.Server:
    """Return the HTTP server that will serve a gateway, or `app` in front of it.

    `started` is awaited when the gateway has started.
    """
    import uvicorn

    from gateway.downstream.connections import bounded_protocol

    config = gateway.config

    class Server(uvicorn.Server):
        """Ends calls and streams before it waits for connections, and leaves signals to its owner."""

        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            await started(self)
            _settle()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await gateway.stop_serving()
            await super().shutdown(sockets)

    settings = uvicorn.Config(
        gateway.app if app is None else app,
        lifespan="on",
        log_config=None,
        # Its comings and goings say nothing that our own ready line does not.
        # What clients send that is no HTTP is said at "warning", which must not fill the log.
        log_level="debug" if config.logging.level == "debug" else "error",
        http=bounded_protocol(config.limits),
        ws="none",
        access_log=False,
        server_header=False,
        # Who is behind a proxy is not asked: see `gateway.security.guard`.
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
    )
    return Server(settings)


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket, or end the program saying why not.

    The protocol is named, since event loops turn Nagle's delay off only where it is.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        fail(_why_not(host, port, error))
    return listener


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; stop the program that has it, or choose another with --port"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} is not allowed to this user; choose one above 1023 with --port"
    reason = error.strerror or str(error)
    return f"cannot listen on {host}:{port}: {reason}; choose another address with --host and --port"


def url_of(listener: socket.socket) -> str:
    """Return the MCP endpoint's address."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/mcp" if ":" in host else f"http://{host}:{port}/mcp"


@contextlib.asynccontextmanager
async def listening(config: GatewayConfig) -> AsyncGenerator[tuple[Gateway, str]]:
    """Serve until the block ends; yields once every server has been tried."""
    from gateway.app import Gateway

    listener = listen(config.http.host, config.http.port)
    gateway = Gateway(config)
    server = build_server(gateway)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    ready = asyncio.ensure_future(gateway.wait_ready())
    try:
        await asyncio.wait((serving, ready), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            fail("the gateway could not start; its log says why")
        yield gateway, url_of(listener)
    finally:
        ready.cancel()
        server.should_exit = True
        await serving
