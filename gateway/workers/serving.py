"""What a worker serves: connections that its parent passes on, and its siblings' requests."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Any, Final

import uvicorn

from gateway.workers.ownership import Seat
from gateway.workers.routing import App, FromSiblings

logger = logging.getLogger(__name__)

_KEPT: Final = 120
"""Seconds for which a sibling's idle connection is kept: longer than the sibling does."""

Factory = Callable[[], asyncio.Protocol]


class Intake:
    """Takes the connections that arrive on a socket from the supervisor."""

    def __init__(self, source: socket.socket, family: int, factory: Factory) -> None:
        self._source = source
        self._family = family
        self._factory = factory
        self._beginning: set[asyncio.Task[Any]] = set()
        source.setblocking(False)
        asyncio.get_running_loop().add_reader(source.fileno(), self._take)

    def close(self) -> None:
        """Take no more."""
        asyncio.get_running_loop().remove_reader(self._source.fileno())
        self._source.close()

    def _take(self) -> None:
        while True:
            try:
                sent, fds, _, _ = socket.recv_fds(self._source, 1, 1)
            except BlockingIOError:
                return
            except OSError as error:
                logger.error("a connection could not be taken: %s", error)
                return
            if not sent:
                asyncio.get_running_loop().remove_reader(self._source.fileno())
                return
            for number in fds:
                self._begin(number)

    def _begin(self, number: int) -> None:
        os.set_inheritable(number, False)
        # All is named, since not every system can tell what a socket is that came from elsewhere.
        connection = socket.socket(self._family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=number)
        connection.setblocking(False)
        task = asyncio.ensure_future(self._connect(connection))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(self._factory, connection)
        except OSError as error:
            logger.debug("a connection ended before it began: %s", error)
            connection.close()


async def serve_siblings(server: uvicorn.Server, app: App, seat: Seat) -> None:
    """Open the socket at which siblings find this worker; it closes with the server."""
    config = uvicorn.Config(
        FromSiblings(app),
        lifespan="off",
        log_config=None,
        log_level=server.config.log_level,
        http="httptools",
        ws="none",
        access_log=False,
        server_header=False,
        # The sibling has told whose address counts.
        proxy_headers=False,
        timeout_keep_alive=_KEPT,
    )
    config.load()
    path = seat.socket(seat.index)
    path.unlink(missing_ok=True)  # of the process that had this place before
    listening = await asyncio.get_running_loop().create_unix_server(protocol_factory(server, config), path)
    server.servers.append(listening)


def protocol_factory(server: uvicorn.Server, config: uvicorn.Config | None = None) -> Factory:
    """Return what makes a connection's protocol, counted among the server's own."""
    settings = config or server.config

    def create() -> asyncio.Protocol:
        protocol: Any = settings.http_protocol_class
        return protocol(config=settings, server_state=server.server_state, app_state=server.lifespan.state)

    return create
