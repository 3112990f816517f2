"""Too many calls, through the front door: who is carried, who waits, who is told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.support.clients import MODES, Mode
from tests.support.gateway import Running, running_gateway
from tests.support.modern_client import ModernClient, Round, modern_client
from tests.support.parties import SAMPLING
from tests.support.raw.peers import raw_server
from tests.support.raw.stage import Show, Stage, staged

Json = dict[str, Any]
KEYS = {"ANN": "k-ann", "BOB": "k-bob"}
AUTH = {"auth": {"keys": [{"principal": name.lower(), "key_env": name} for name in KEYS]}}
DONE: Json = {"content": [{"type": "text", "text": "done"}]}


class Paced:
    """A server of one tool, each call of which ends when the test lets it. `begun` are their labels."""

    def __init__(self) -> None:
        self.stage = Stage(work=self._work)
        self.begun: list[str] = []
        self.most = 0
        self._free = False
        self._open: list[asyncio.Event] = []

    async def _work(self, show: Show) -> Json:
        self.begun.append(show.params["arguments"].get("label", ""))
        if self._free:
            return DONE
        go_on = asyncio.Event()
        self._open.append(go_on)
        self.most = max(self.most, len(self._open))
        await go_on.wait()
        return DONE

    async def until_begun(self, count: int) -> None:
        await self.stage.until(lambda stage: stage.started >= count)
        await asyncio.sleep(0)

    def end_one(self) -> None:
        """End the call that began first of those that run."""
        self._open.pop(0).set()

    def end_all(self) -> None:
        """End every call, and from now on each as it begins."""
        self._free = True
        while self._open:
            self.end_one()


@asynccontextmanager
async def house(folder: Path, *, config: Json | None = None, **servers: Json) -> AsyncIterator[Any]:
    """A gateway before paced servers; each has its settings. Yields it and them."""
    async with AsyncExitStack() as stack:
        paced = {name: Paced() for name in servers}
        entries: list[Json] = []
        for name, settings in servers.items():
            url = await stack.enter_async_context(staged(paced[name].stage))
            entries.append({"name": name, "url": url, "era": "handshake", **settings})
        written = {"external_mcp": {"servers": entries}, **(config or {})}
        gateway = await stack.enter_async_context(running_gateway(folder, written, KEYS))
        yield gateway, *paced.values()


def busy(round_: Round, *words: str) -> None:
    assert round_.status == 503, round_
    assert round_.error["data"]["overloaded"] == "server"
    assert 1 <= round_.error["data"]["retry_after_seconds"] <= 3
    for word in words:
        assert word in round_.error["message"]


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await reached():  # noqa: ASYNC110 - seen from outside only
            await asyncio.sleep(0.01)


def waiting(gateway: Running, count: int) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        return sum(server["waiting"] for server in (await seen(gateway, "servers"))["servers"]) == count

    return reached


async def seen(gateway: Running, page: str) -> Json:
    return await gateway.api(f"/api/{page}", authorization=f"Bearer {KEYS['ANN']}")


async def begun_at(server: Paced, client: ModernClient, count: int) -> asyncio.Task[Round]:
    """Begin a call, and wait until it has become the server's `count`th."""
    call = client.tool("s__work").begin()
    await server.until_begun(count)
    return call


async def test_a_server_is_sent_no_more_calls_than_it_may_be_and_the_rest_in_turn_by_key(
    tmp_path: Path,
) -> None:
    settings = {"max_concurrent_calls": 2, "max_queued_calls": 50}
    async with (
        house(tmp_path, config=AUTH, s=settings) as (gateway, server),
        modern_client(gateway.base, {}, KEYS["ANN"]) as ann,
        modern_client(gateway.base, {}, KEYS["BOB"]) as bob,
    ):
        flood = [ann.tool("s__work", label="ann").begin() for _ in range(20)]
        await server.until_begun(2)
        await until(waiting(gateway, 18))
        few = [bob.tool("s__work", label="bob").begin() for _ in range(3)]
        await until(waiting(gateway, 21))
        for count in range(3, 11):
            server.end_one()
            await server.until_begun(count)
        assert server.begun[2:8] == ["ann", "bob"] * 3
        assert set(server.begun[8:]) == {"ann"}
        server.end_all()
        assert {round_.status for round_ in await asyncio.gather(*flood, *few)} == {200}
        assert server.most == 2


async def test_what_a_server_has_no_room_for_is_refused_by_the_settings_name_until_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"max_concurrent_calls": 1, "max_queued_calls": 1}
    async with (
        house(tmp_path, s=settings) as (gateway, server),
        modern_client(gateway.base, {}) as client,
    ):
        begun = await begun_at(server, client, 1)
        queued = client.tool("s__work").begin()
        await until(waiting(gateway, 1))
        for _ in range(5):
            refused = await client.tool("s__work").send()
            busy(refused, "server 's' is busy", "max_concurrent_calls", "max_queued_calls", "gateway.yaml")
        assert (await seen(gateway, "calls"))["shed"]["server"] == 5
        assert (await seen(gateway, "calls"))["shedding"] == ["server s"]
        assert sum("refusing calls" in record.getMessage() for record in caplog.records) == 1
        server.end_one()
        await server.until_begun(2)
        server.end_one()
        assert [(await each).status for each in (begun, queued)] == [200, 200]
        after = await begun_at(server, client, 3)
        server.end_one()
        assert (await after).result["content"] == DONE["content"]


async def test_a_call_that_did_not_get_its_turn_in_half_its_time_is_told_so_and_never_sent(
    tmp_path: Path,
) -> None:
    settings = {"max_concurrent_calls": 1, "timeout_seconds": 2}
    async with (
        house(tmp_path, s=settings) as (gateway, server),
        modern_client(gateway.base, {}) as client,
    ):
        begun = await begun_at(server, client, 1)
        busy(await client.tool("s__work").send(), "max_concurrent_calls")
        assert not begun.done()
        assert server.stage.started == 1
        server.end_one()
        assert (await begun).status == 200


async def test_a_server_that_hangs_under_three_times_its_load_leaves_anothers_calls_alone(
    tmp_path: Path,
) -> None:
    hanging = {"max_concurrent_calls": 4, "max_queued_calls": 4}
    limits = {"limits": {"max_calls": 16}}
    async with (
        house(tmp_path, config=limits, bad=hanging, good={}) as (gateway, bad, good),
        modern_client(gateway.base, {}) as client,
    ):
        flood = [client.tool("bad__work").begin() for _ in range(12)]
        await bad.until_begun(4)
        await until(waiting(gateway, 4))
        done, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
        for number in range(1, 6):
            call = client.tool("good__work").begin()
            await good.until_begun(number)
            good.end_one()
            assert (await call).status == 200
        refused = [task for task in flood if task.done()]
        assert len(refused) == 4
        for task in done:
            busy(await task, "server 'bad' is busy")
        bad.end_all()
        assert sorted(round_.status for round_ in await asyncio.gather(*flood)) == [200] * 8 + [503] * 4


@pytest.mark.parametrize("mode", ["handshake", "modern"])
async def test_a_client_can_call_the_server_that_asks_it_though_one_call_at_a_time_is_allowed(
    tmp_path: Path, mode: Mode
) -> None:
    async with AsyncExitStack() as stack:
        raw = await stack.enter_async_context(raw_server("stdio-handshake"))
        own = {"name": "raw", "command": raw.command, "args": list(raw.args), "isolation": "call"}
        config = {
            "sampling": {"default_sampling_strategy": "client_forwarded"},
            "external_mcp": {"servers": [{**own, "max_concurrent_calls": 1, "max_queued_calls": 1}]},
        }
        gateway = await stack.enter_async_context(running_gateway(tmp_path, config))
        inside: list[Any] = []

        async def sample(context: Any, params: types.CreateMessageRequestParams) -> Any:
            meta = dict(params.meta or {})
            if meta["backchannel/depth"] < 3:
                ties = {name: meta[name] for name in ("backchannel/depth", "backchannel/root")}
                inside.append(await client.call_tool("raw__ask", ASK, meta=ties))
            text = types.TextContent(type="text", text="enough")
            return types.CreateMessageResult(role="assistant", content=text, model="m")

        async with (
            asyncio.timeout(20),
            Client(gateway.url, mode=MODES[mode], sampling_callback=sample) as client,
        ):
            result = await client.call_tool("raw__ask", ASK)
        for answered in (*inside, result):
            assert "result" in answered.structured_content["answers"]["q"]
        assert len(inside) == 2
        assert gateway.gateway.fleet._unit("raw").pool.places.taken == 0


ASK: Json = {"requests": {"q": SAMPLING}}


@pytest.mark.parametrize("mode", ["handshake", "modern"])
async def test_a_client_on_the_sdk_is_shown_why_and_its_other_calls_go_on(tmp_path: Path, mode: Mode) -> None:
    settings = {"limits": {"max_calls_per_client": 2}, **AUTH}
    ann = {"authorization": f"Bearer {KEYS['ANN']}"}
    async with (
        house(tmp_path, config=settings, s={}) as (gateway, server),
        httpx2.AsyncClient(headers=ann, timeout=30) as http,
    ):
        transport = streamable_http_client(gateway.url, http_client=http)
        async with Client(transport, mode=MODES[mode]) as client:
            calls = [asyncio.create_task(client.call_tool("s__work", {})) for _ in range(2)]
            await server.until_begun(2)
            with pytest.raises(MCPError, match=r"limits\.max_calls_per_client") as refused:
                await client.call_tool("s__work", {})
            assert refused.value.error.data["overloaded"] == "client"
            for _ in calls:
                server.end_one()
            for call in calls:
                assert (await call).content[0].text == "done"
        assert (await seen(gateway, "calls"))["shed"]["client"] == 1


async def test_health_is_told_and_an_overloaded_gateway_comes_back_by_itself(tmp_path: Path) -> None:
    async with (
        house(tmp_path, config={"limits": {"max_calls": 1}}, s={}) as (gateway, server),
        modern_client(gateway.base, {}) as client,
    ):
        begun = await begun_at(server, client, 1)
        refused = await client.tool("s__work").send()
        assert (refused.status, refused.error["data"]["overloaded"]) == (503, "gateway")
        assert "limits.max_calls" in refused.error["message"]
        assert (await gateway.api("/health"))["status"] == "ok"
        assert (await gateway.api("/api/calls"))["shed"]["gateway"] == 1
        server.end_one()
        assert (await begun).status == 200
        again = await begun_at(server, client, 2)
        server.end_one()
        assert (await again).status == 200


@pytest.mark.parametrize(("allowed_ms", "refuses"), [(200, True), (400, False)])
async def test_a_gateway_that_is_later_than_it_may_be_takes_no_more_calls_than_it_has(
    tmp_path: Path, allowed_ms: int, refuses: bool
) -> None:
    """The lateness of its loop is told here, 300 ms; `tests/downstream/test_load.py` has it measured."""
    async with (
        house(tmp_path, config={"limits": {"max_loop_lag_ms": allowed_ms}}, s={}) as (gateway, server),
        modern_client(gateway.base, {}) as client,
    ):
        load = gateway.gateway._load
        load.stop()
        load._beating = None
        held = [client.tool("s__work").begin() for _ in range(40)]
        await server.until_begun(40)
        for _ in range(3):
            load.felt(0.3)
        if refuses:
            round_ = await client.tool("s__work").send()
            assert (round_.status, round_.error["data"]["overloaded"]) == (503, "lag")
            assert "limits.max_loop_lag_ms" in round_.error["message"]
        else:
            held.append(await begun_at(server, client, 41))
        server.end_all()
        assert {round_.status for round_ in await asyncio.gather(*held)} == {200}
