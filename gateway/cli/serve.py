"""`backchannel serve`: run the gateway until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from gateway import __version__
from gateway.cli.common import DEFAULT_CONFIG, ConfigOption, fail, load_config, warn
from gateway.cli.listening import build_server, listen, url_of
from gateway.errors import ConfigurationError

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.config.resolved import GatewayConfig
    from gateway.upstream.events import ServerStatus


def serve(
    config: ConfigOption = DEFAULT_CONFIG,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let other machines in without a key.")
    ] = False,
    stdio: Annotated[
        bool, typer.Option("--stdio", help="Serve one client on standard input and output.")
    ] = False,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json.")] = None,
) -> None:
    """Run the gateway."""
    given: dict[str, object | None] = {
        "http.host": host,
        "http.port": port,
        "http.insecure": insecure or None,
        "logging.level": log_level,
        "logging.format": log_format,
    }
    loaded = load_config(config, {key: value for key, value in given.items() if value is not None})
    warn(loaded)
    from gateway.observability.logging import configure

    configure(loaded.logging)
    try:
        _run(_serve_stdio(loaded, _pipe_of_file()) if stdio else _serve_http(loaded))
    except ConfigurationError as error:
        fail(error)


def _run(serving: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it is installed (it has no build for Windows)."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


async def _serve_stdio(config: GatewayConfig, source: BinaryIO | None) -> None:
    from gateway.app import Gateway

    gateway = Gateway(config)
    async with gateway.running():
        serving = asyncio.ensure_future(gateway.stdio().serve(source))
        _on_stop(serving.cancel)
        await asyncio.wait((serving,))
    if not serving.cancelled():
        serving.result()


def _pipe_of_file() -> BinaryIO | None:
    """Return a pipe with what standard input holds, if that is a file: event loops wait for pipes alone."""
    if sys.stdin is None:
        fail("standard input is closed; `serve --stdio` reads its client's messages there")
    kind = os.fstat(sys.stdin.fileno()).st_mode
    if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or sys.stdin.isatty():
        return None
    readable, writable = os.pipe()

    def pour() -> None:
        with open(writable, "wb") as pipe, contextlib.suppress(BrokenPipeError):
            shutil.copyfileobj(sys.stdin.buffer, pipe)

    threading.Thread(target=pour, name="standard input", daemon=True).start()
    return open(readable, "rb")


async def _serve_http(config: GatewayConfig) -> None:
    listener = listen(config.http.host, config.http.port)
    gateway, server = build_server(config)

    def stop() -> None:
        server.should_exit = True

    _on_stop(stop)
    announcing = asyncio.ensure_future(_announce(gateway, url_of(listener)))
    try:
        await server.serve(sockets=[listener])
    finally:
        announcing.cancel()


def _on_stop(stop: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


async def _announce(gateway: Gateway, url: str) -> None:
    """Print the one line that says the gateway is ready, and how its servers are."""
    await gateway.wait_ready()
    servers = gateway.servers()
    count = f"{len(servers)} server{'s' if len(servers) != 1 else ''}"
    told = ", ".join(_describe(server) for server in servers)
    print(f"backchannel {__version__} ready on {url} — {count}{': ' if told else ''}{told}", flush=True)


def _describe(server: ServerStatus) -> str:
    if server.state == "up":
        return f"{server.name} (up, {server.tools} tool{'s' if server.tools != 1 else ''})"
    return (
        f"{server.name} ({server.state}: {server.reason})"
        if server.reason
        else f"{server.name} ({server.state})"
    )
