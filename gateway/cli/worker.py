"""One worker process of `backchannel serve --workers`. Started by its supervisor alone."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import sys
from typing import TYPE_CHECKING

import structlog

from gateway.cli.common import words
from gateway.errors import ConfigurationError
from gateway.workers.messages import Hello, Word, greeted, line
from gateway.workers.ownership import Seat

if TYPE_CHECKING:
    import uvicorn


def main() -> None:
    """Serve until the supervisor says to stop, or is gone. The arguments are two sockets' numbers."""
    # A terminal interrupts all of its processes: the supervisor stops its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control, connections = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    for inherited in (control, connections):
        inherited.set_inheritable(False)
    try:
        hello = greeted(control)
    except EOFError:
        return
    from gateway.cli.listening import run
    from gateway.observability.logging import configure

    configure(hello.config.logging)
    structlog.contextvars.bind_contextvars(worker=hello.index)
    run(_work(hello, control, connections))


async def _work(hello: Hello, control: socket.socket, connections: socket.socket) -> None:
    from gateway.app import Gateway
    from gateway.cli.listening import build_server
    from gateway.cli.serve import describe
    from gateway.workers.forward import Forwarder
    from gateway.workers.routing import Routing
    from gateway.workers.serving import Intake, protocol_factory, serve_siblings

    reader, writer = await asyncio.open_connection(sock=control)
    seat = Seat(hello.index, hello.count, hello.folder)

    def say(word: Word) -> None:
        writer.write(line(word))

    try:
        gateway = Gateway(hello.config, seat)
    except ConfigurationError as error:
        say(Word("failed", problem=words(error)))
        await writer.drain()
        raise SystemExit(1) from None
    forwarder = Forwarder(seat)
    routing = Routing(gateway.app, seat, forwarder, hello.config.limits, gateway.owner_of_state)
    intakes: list[Intake] = []

    async def started(server: uvicorn.Server) -> None:
        await serve_siblings(server, gateway.app, seat)
        intakes.append(Intake(connections, hello.family, protocol_factory(server)))
        say(Word("serving"))

    server = build_server(gateway, routing, started)

    def stop() -> None:
        server.should_exit = True
        for intake in intakes:
            intake.close()
        intakes.clear()

    async def announce() -> None:
        await gateway.wait_ready()
        say(Word("ready", tuple(map(describe, gateway.servers()))))

    async def orphaned() -> None:
        await reader.read()
        stop()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    beside = [asyncio.ensure_future(announce()), asyncio.ensure_future(orphaned())]
    try:
        await server.serve(sockets=[])
    finally:
        alone = beside[1].done()
        for task in beside:
            task.cancel()
        forwarder.close()
        writer.close()
        if alone:
            # Nobody else is left to do it. Siblings do the same.
            await asyncio.to_thread(shutil.rmtree, hello.folder, ignore_errors=True)
