"""Bounds on servers at their edge: what a setting allows passes, one more does not, by the setting's name."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.interop.faults.storm import SERVER
from tests.support.gateway import Running, running_gateway
from tests.support.raw.peers import entry_of, raw_server
from tests.support.raw_http import call, exchange, http, initialize

Json = dict[str, Any]


@asynccontextmanager
async def behind(folder: Path, *flags: str, **limits: Any) -> AsyncIterator[Running]:
    async with raw_server("stdio-handshake", *flags, script=SERVER) as bad:
        config = {"external_mcp": {"servers": [entry_of("bad", bad)]}, "limits": limits}
        async with running_gateway(folder, config) as gateway:
            yield gateway


async def tools(gateway: Running) -> set[str]:
    async with http(gateway) as client:
        request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        session = await initialize(client)
        answer = (await exchange(client, {"json": request, "headers": session}))[-1]["result"]
        assert "nextCursor" not in answer
        return {tool["name"].removeprefix("bad__") for tool in answer["tools"]}


async def test_a_listing_that_goes_on_for_ever_is_cut_and_the_setting_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with behind(tmp_path, "--pages", max_listing_pages=7) as gateway:
        names = await tools(gateway)
    assert {f"p{page}" for page in range(7)} <= names
    assert "p7" not in names
    assert "limits.max_listing_pages" in caplog.text


@pytest.mark.parametrize("more", [0, 1])
async def test_as_many_tools_are_listed_as_the_setting_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, more: int
) -> None:
    async with behind(tmp_path, "--tools=0") as gateway:
        faults = len(await tools(gateway))
    caplog.clear()
    async with behind(tmp_path, f"--tools={10 + more}", max_listing_entries=faults + 10) as gateway:
        assert len(await tools(gateway)) == faults + 10
    assert ("limits.max_listing_entries" in caplog.text) == bool(more)


@pytest.mark.parametrize("more", [0, 1])
async def test_instructions_are_cut_after_the_limit_and_the_setting_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, more: int
) -> None:
    caplog.set_level(logging.WARNING)
    async with behind(tmp_path, f"--instructions={100 + more}", max_instructions=100) as gateway:
        assert (await gateway.gateway.fleet.catalog.greeting()).instructions == "# bad\n\n" + "i" * 100
    assert ("limits.max_instructions" in caplog.text) == bool(more)


@pytest.mark.parametrize("more", [0, 1])
async def test_a_servers_message_may_be_as_large_as_the_setting_says(tmp_path: Path, more: int) -> None:
    async with behind(tmp_path, max_message_bytes=1_000_000) as gateway, http(gateway) as client:
        session = await initialize(client)
        # Our own request's id is of one digit or two: the frame may be a byte shorter than this.
        frame = len('{"jsonrpc": "2.0", "id": 00, "result": {"resultType": "complete", "content": [')
        frame += len('{"type": "text", "text": ""}]}}')
        room = 1_000_000 - frame if not more else 1_000_000
        request = {"json": call("bad__big", 1, bytes=room), "headers": session}
        answer = (await exchange(client, request))[-1]
    if more:
        assert (
            "more than 1000000 bytes; the limit is `limits.max_message_bytes`" in answer["error"]["message"]
        )
    else:
        assert len(answer["result"]["content"][0]["text"]) == room
