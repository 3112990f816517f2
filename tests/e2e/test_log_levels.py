"""Who gets which log messages, and under which token progress: bare JSON, every kind of server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.gateway import Running, running_gateway
from tests.support.raw import peers
from tests.support.raw.peers import KINDS, entry_of, raw_server
from tests.support.raw_http import META, call, exchange, http, initialize, modern

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]
SCRIPT = Path(peers.__file__).with_name("whose.py")
LEVELS = ["debug", "info", "warning", "error"]
SERVERS = {
    f"{kind}-{isolation}": (kind, isolation)
    for kind in KINDS
    for isolation in ("session", "shared")
    if kind.endswith("handshake") or isolation == "shared"
}
NAMED = {name for name in SERVERS if name.startswith("http")}
"""Servers whose messages come on the stream of their call."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        servers: list[Json] = []
        for name, (kind, isolation) in SERVERS.items():
            raw = await stack.enter_async_context(raw_server(kind, script=SCRIPT))
            servers.append(entry_of(name, raw, isolation=isolation))
        folder = tmp_path_factory.mktemp("gateway")
        yield await stack.enter_async_context(running_gateway(folder, {"external_mcp": {"servers": servers}}))


class Client:
    """A client of either era. `level` is what it wants from now on."""

    def __init__(self, http: Any, headers: dict[str, str] | None) -> None:
        self.http, self.headers = http, headers
        self.level: str | None = None

    async def want(self, level: str | None) -> None:
        self.level = level
        if self.headers is not None and level is not None:
            message = {"jsonrpc": "2.0", "id": 9, "method": "logging/setLevel", "params": {"level": level}}
            (answer,) = await exchange(self.http, {"json": message, "headers": self.headers})
            assert answer["result"] == {}

    async def call(self, tool: str, progress: Any = None, **arguments: Any) -> tuple[list[Json], Json]:
        """Return the notifications of a call and its structured content."""
        message = call(tool, 1, **arguments)
        request: Json = {"json": message, "headers": self.headers}
        meta: Json = {}
        if self.headers is None:
            request = modern(message)
            meta = dict(request["json"]["params"]["_meta"])
            if self.level is not None:
                meta[META + "logLevel"] = self.level
        if progress is not None:
            meta["progressToken"] = progress
        if meta:
            request["json"]["params"]["_meta"] = meta
        *said, response = await exchange(self.http, request)
        return [one["params"] for one in said], response["result"]["structuredContent"]


@asynccontextmanager
async def client(gateway: Running, era: str) -> AsyncIterator[Client]:
    async with http(gateway) as connection:
        yield Client(connection, await initialize(connection) if era == "handshake" else None)


async def logged(client: Client, server: str, token: str = "") -> tuple[list[str], Json]:
    """Have a server log at every level; return the levels that came, and what the server was told."""
    said, content = await client.call(f"{server}__levels", levels=LEVELS, token=token)
    assert all(params["data"] == token for params in said), "another client's"
    return [params["level"] for params in said], content


@pytest.mark.parametrize("era", ["handshake", "modern"])
@pytest.mark.parametrize("server", SERVERS)
async def test_a_client_gets_what_it_asked_for_and_the_server_is_told(gateway, server, era) -> None:
    async with client(gateway, era) as one:
        # A server without `logging/setLevel` decides itself what to send to a session that said nothing.
        before, _ = await logged(one, server)
        await one.want("warning")
        after, content = await logged(one, server)
        await one.want("debug")
        everything, lowered = await logged(one, server)
    alone = era == "handshake" and server.endswith("session")
    if server in NAMED or alone:
        assert before == (LEVELS if era == "handshake" else [])
        assert after == ["warning", "error"]
        assert everything == LEVELS
    if "modern" in server:
        assert (content["asked"], lowered["asked"]) == ("warning", "debug")
        assert not lowered["told"]
    else:
        assert content["told"][-1] == "warning"
        assert lowered["told"] == [*content["told"], "debug"]
        assert content["asked"] is None, "it is not of this server's era"


@pytest.mark.parametrize("server", [name for name in SERVERS if "handshake" in name])
async def test_a_server_is_told_a_level_once(gateway, server) -> None:
    async with client(gateway, "handshake") as one:
        await one.want("notice")
        _, first = await logged(one, server)
        for _ in range(3):
            _, last = await logged(one, server)
    assert first["told"][-1] == "notice"
    assert last["told"] == first["told"]


@pytest.mark.parametrize("server", SERVERS)
async def test_each_client_of_a_server_hears_its_own_lines_at_its_own_level(gateway, server) -> None:
    async with client(gateway, "handshake") as ann, client(gateway, "modern") as bob:
        await ann.want("debug")
        await bob.want("error")
        for _ in range(2):
            hers, _ = await logged(ann, server, "ann's")
            his, _ = await logged(bob, server, "bob's")
        if server in NAMED:
            assert (hers, his) == (LEVELS, ["error"])
        else:
            # Nothing says whose a line is on a connection that many have used: nobody is told then.
            assert (hers in (LEVELS, []), his in (["error"], [])) == (True, True)


@pytest.mark.parametrize("level", ["loud", 7, {}])
async def test_a_level_that_there_is_not_is_refused_to_clients_of_both_eras(gateway, level) -> None:
    async with http(gateway) as connection:
        request = modern(call("http-modern-shared__levels", levels=LEVELS))
        meta = {**request["json"]["params"]["_meta"], META + "logLevel": level}
        request["json"]["params"]["_meta"] = meta
        (now,) = await exchange(connection, request)
        headers = await initialize(connection)
        message = {"jsonrpc": "2.0", "id": 9, "method": "logging/setLevel", "params": {"level": level}}
        (then,) = await exchange(connection, {"json": message, "headers": headers})
    assert (now["error"]["code"], then["error"]["code"]) == (-32602, -32602)


TOKENS = ["same", 1, "1", 0, ""]


@pytest.mark.parametrize("era", ["handshake", "modern"])
@pytest.mark.parametrize("server", SERVERS)
async def test_progress_comes_under_the_callers_own_token_and_ends_with_its_call(
    gateway, server, era
) -> None:
    async with client(gateway, era) as one, client(gateway, era) as other:
        marks = []
        for token in TOKENS:
            for each in (one, other):
                said, content = await each.call(f"{server}__late", token)
                # That for the call before came too, and is dropped: its call is over.
                assert said == [{"progressToken": token, "progress": 1}]
                assert type(said[0]["progressToken"]) is type(token)
                marks.append(content["mark"])
        silent, content = await one.call(f"{server}__late")
    assert silent == []
    assert content["mark"] is None
    assert not {"same", ""} & set(marks), "the clients' tokens stay here"
