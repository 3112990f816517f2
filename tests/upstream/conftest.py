"""What tests of servers' HTTP stand on.

They run on asyncio's own event loop, and where one says so also on uvloop, which the gateway uses:
`pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop

from gateway.upstream import http_pool
from tests.support.certificates import certificate
from tests.support.sockets import none_left, open_sockets


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    marker = item.get_closest_marker("asyncio")
    if marker is None or "loop_factories" not in marker.kwargs:
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No proxy is named, and no authority but a test's own is remembered."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("SSL_CERT"):
            monkeypatch.delenv(name)
    http_pool.tls.cache_clear()
    yield
    http_pool.tls.cache_clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def signed(folder: Path):
    return certificate(folder, "localhost", "127.0.0.1")


@pytest.fixture
async def sockets() -> AsyncIterator[None]:
    """Everything that a test opens is closed, and no task is left."""
    before = open_sockets()
    yield
    await none_left(before)
