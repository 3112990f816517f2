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
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from gateway import __version__
from gateway.cli.common import DEFAULT_CONFIG, ConfigOption, counted, fail, load_config, warn
from gateway.cli.listening import build_server, listen, run, url_of
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
    workers: Annotated[
        int | None, typer.Option(help="Processes that serve the address together (docs/workers.md).")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json.")] = None,
) -> None:
    """Run the gateway."""
    given: dict[str, object | None] = {
        "http.host": host,
        "http.port": port,
        "http.insecure": insecure or None,
        "http.workers": workers,
        "logging.level": log_level,
        "logging.format": log_format,
    }
    loaded = load_config(config, {key: value for key, value in given.items() if value is not None})
    warn(loaded)
    if loaded.http.workers > 1 and sys.platform == "win32":
        fail("several workers need Unix sockets, which Windows has not; leave out --workers (http.workers)")
    if stdio and loaded.http.workers > 1:
        fail("--stdio serves one client, in one process; leave out --workers (http.workers)")
    from gateway.observability.logging import configure

    configure(loaded.logging)
    try:
        if stdio:
            run(_serve_stdio(loaded, _pipe_of_file()))
        elif loaded.http.workers > 1:
            asyncio.run(_serve_by_workers(loaded))
        else:
            run(_serve_http(loaded))
    except ConfigurationError as error:
        fail(error)


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


async def _serve_by_workers(config: GatewayConfig) -> None:
    from gateway.security.exposure import exposure_problem
    from gateway.workers.folder import private_folder
    from gateway.workers.supervisor import Supervisor, WorkerFailed, python

    if (problem := exposure_problem(config)) is not None:
        raise ConfigurationError([problem])
    listener = listen(config.http.host, config.http.port)
    url, count = url_of(listener), config.http.workers
    with private_folder() as folder:
        supervisor = Supervisor(
            config,
            listener,
            folder,
            python("gateway.cli.worker"),
            lambda told: _say_ready(url, _agreed(told), count),
        )
        _on_stop(supervisor.stop)
        try:
            await supervisor.run()
        except WorkerFailed as failed:
            print(failed, file=sys.stderr)
            raise typer.Exit(1) from None


def _agreed(told: Sequence[Sequence[str]]) -> list[str]:
    """Return one description for each server, or several where workers found it in different states."""
    return [" / ".join(dict.fromkeys(each)) for each in zip(*told, strict=True)]


async def _serve_http(config: GatewayConfig) -> None:
    from gateway.app import Gateway

    listener = listen(config.http.host, config.http.port)
    gateway = Gateway(config)
    server = build_server(gateway)

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
    _say_ready(url, [describe(server) for server in gateway.servers()])


def _say_ready(url: str, servers: Sequence[str], workers: int = 1) -> None:
    parts = ([counted(workers, "worker")] if workers > 1 else []) + [counted(len(servers), "server")]
    told = f": {', '.join(servers)}" if servers else ""
    print(f"backchannel {__version__} ready on {url} — {', '.join(parts)}{told}", flush=True)


def describe(server: ServerStatus) -> str:
    """Return how a server is, in a few words."""
    if server.state == "up":
        return f"{server.name} (up, {server.tools} tool{'s' if server.tools != 1 else ''})"
    return (
        f"{server.name} ({server.state}: {server.reason})"
        if server.reason
        else f"{server.name} ({server.state})"
    )
