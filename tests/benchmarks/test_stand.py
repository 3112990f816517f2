"""The benchmark's stand with real processes: what it starts answers, is paused, is measured and ends."""

from __future__ import annotations

import os
import shutil

import psutil
import pytest

from benchmarks.speed.driver import Handshake
from benchmarks.speed.gateways.port import Behind, Era
from benchmarks.speed.gateways.registry import BACKCHANNEL, BARE, DIRECT, GATEWAYS
from benchmarks.speed.processes import SERVER, pinning
from benchmarks.speed.rows import loads
from benchmarks.speed.rows.loads import ECHO, Kind
from benchmarks.speed.stand import Options, Stand, exposed
from tests.support.processes import none_left

PLAYERS = (DIRECT, BARE, BACKCHANNEL)


@pytest.mark.parametrize("era", ["modern", pytest.param("handshake", marks=pytest.mark.extensive)])
async def test_calls_through_every_gateway_of_a_lineup_come_to_the_server_and_nothing_is_left(
    era: Era,
) -> None:
    refused: dict[str, str] = {}
    async with Stand(Options(1, 1.0, quick=True), PLAYERS) as stand:
        async with stand.lineup(Behind(era), refused) as lineup:
            assert refused == {}
            assert [running.name for running in lineup] == [player.name for player in PLAYERS]
            started = [process for each in lineup if each.process for process in each.process.tree()]
            assert {process.status() for process in started} == {psutil.STATUS_STOPPED}
            for running in lineup:
                with stand.turn(running):
                    pool = running.pool()
                    client = await running.client(pool)
                    ended = await client.call(running.tools["echo"], {"text": "through"})
                    assert "through" in str(ended.result)
                    told = await client.call("progress", {"steps": 5}, progressToken="token")
                    assert (told.ok, told.told) == (True, 5)
                    if isinstance(client, Handshake):
                        await client.close()
                    pool.close()
    await none_left(started)


async def test_a_load_measures_every_gateway_or_says_why_not() -> None:
    async with Stand(Options(1, 1.0, quick=True), (DIRECT, BACKCHANNEL)) as stand:
        rows = await loads.measure(stand, Behind("modern"), [Kind("tools/call", ECHO, 2)])
        assert [row.gateway for row in rows] == [DIRECT.name, BACKCHANNEL.name]
        if shutil.which("wrk"):
            assert all(row.figures["requests/s"].median > 0 for row in rows), rows
            assert set(rows[1].figures) == {"requests/s", "p50", "p99", "added p50"}
        else:
            assert all(row.no.startswith("wrk is not installed") for row in rows), rows


async def test_a_stdio_server_is_behind_the_gateways_that_can_start_one() -> None:
    refused: dict[str, str] = {}
    async with Stand(Options(1, 1.0, quick=True), PLAYERS) as stand:
        async with stand.lineup(Behind("handshake", "stdio"), refused) as lineup:
            assert [running.name for running in lineup] == [BACKCHANNEL.name]
            assert refused[DIRECT.name] == "a stdio server has no HTTP endpoint"
            (running,) = lineup
            assert running.process is not None
            held = running.process.memory()
            assert held.rss > held.pss > held.uss > 10_000_000
            assert stand.pinning.gateway == set(psutil.Process(running.process.popen.pid).cpu_affinity())
            servers = [child for child in running.process.tree() if SERVER in child.cmdline()]
            assert servers
            assert {tuple(server.cpu_affinity()) for server in servers} == {tuple(stand.pinning.load)}


def test_the_cores_are_shared_as_the_table_says() -> None:
    two, one, four = pinning([0, 1]), pinning([5]), pinning([0, 1, 2, 3])
    assert (two.gateway, two.load) == ({0}, {1})
    assert two.words == "gateway under test alone on core 0, load and upstream on core 1"
    assert (one.gateway, one.load) == ({5}, {5})
    assert one.words.startswith("one core only")
    assert (four.gateway, four.load) == ({0}, {1})
    assert "2 of 4 cores left idle" in four.words


async def test_the_stand_gives_its_own_process_back_its_cores() -> None:
    before = os.sched_getaffinity(0)
    async with Stand(Options(), ()) as stand:
        assert os.sched_getaffinity(0) == stand.pinning.load
    assert os.sched_getaffinity(0) == before


def test_tools_are_found_under_the_names_that_gateways_give_them() -> None:
    shown = ["bench-ask-elicit", "bench-echo-0001", "bench-echo", "bench-ask"]
    assert exposed("echo", shown) == "bench-echo"
    assert exposed("ask_elicit", shown) == "bench-ask-elicit"
    assert exposed("echo", ["my_echo", "echo"]) == "echo"
    assert exposed("big", shown) is None


def test_every_gateway_says_of_every_row_whether_it_can_play() -> None:
    assert len({gateway.name for gateway in GATEWAYS}) == len(GATEWAYS)
    for gateway in GATEWAYS:
        special = gateway.cannot(Behind("handshake", servers=2))
        assert (special is None) == (gateway is BACKCHANNEL)
        for era in ("modern", "handshake"):
            for transport in ("http", "stdio"):
                reason = gateway.cannot(Behind(era, transport))
                assert reason is None or len(reason) > 10, (gateway.name, reason)
