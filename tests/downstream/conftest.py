"""The client side alone, started on a real port by each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvicorn

from gateway.config.resolved import ApiKey, Http, Limits
from gateway.downstream.connections import bounded_protocol
from tests.support.front import Front, build_front
from tests.support.listening import free_port_socket

StartFront = Callable[..., Awaitable[Front]]


@pytest.fixture
async def start_front() -> AsyncIterator[StartFront]:
    running: list[tuple[uvicorn.Server, asyncio.Task[None], Front]] = []

    async def start(
        *, keys: tuple[ApiKey, ...] = (), limits: Limits | None = None, http: Http | None = None
    ) -> Front:
        limits, http = limits or Limits(), http or Http()
        front, app = build_front(limits, http, keys)
        listener = free_port_socket()
        front.base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                lifespan="off",
                http=bounded_protocol(limits),
                proxy_headers=False,
                timeout_graceful_shutdown=2,
            )
        )
        running.append((server, asyncio.create_task(server.serve(sockets=[listener])), front))
        # The socket listens already: a client that comes before uvicorn accepts waits in its backlog.
        return front

    yield start
    for server, serving, front in running:
        front.listeners.stop()
        await front.sessions.end_all("the test is over")
        server.should_exit = True
        await serving
