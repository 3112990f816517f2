"""The driver's client sees what is on the wire, in whatever pieces it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from benchmarks.speed.driver import Handshake, Modern, Refused
from benchmarks.speed.rows.overload import Tally, parse
from benchmarks.speed.sockets import Broken, Connection, Pool
from tests.support.scripted_http import Step, answer, reset, scripted_http, truncated

OK = {"jsonrpc": "2.0", "id": 1, "result": {"content": []}}
ECHO = {"name": "echo"}


@asynccontextmanager
async def served(*script: Step, otherwise: Step | None = None) -> AsyncGenerator[Pool]:
    async with scripted_http(*script, otherwise=otherwise) as server:
        pool = Pool(f"{server.url}/mcp")
        yield pool
        pool.close()


def fed(*pieces: bytes) -> Connection:
    connection = Connection()
    for piece in pieces:
        connection.data_received(piece)
    return connection


async def test_events_are_the_same_however_their_bytes_are_cut() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    stream = b': hello\n\nid: s:1\ndata: {"a": 1}\n\nevent: message\r\nid: s:2\r\ndata: {}\r\n\r\n'
    whole = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(stream), stream)
    for size in (1, 7, len(whole)):
        connection = fed(*(whole[at : at + size] for at in range(0, len(whole), size)))
        assert [event async for event in connection.events()] == [("s:1", b'{"a": 1}'), ("s:2", b"{}")]


@pytest.mark.parametrize("step", [reset(), truncated(OK)])
async def test_a_response_that_breaks_off_is_told_apart_from_an_answer(step: Step) -> None:
    async with served(step) as pool:
        with pytest.raises(Broken):
            await Modern(pool).call("echo", {})


async def test_a_refusal_without_json_rpc_carries_its_status_and_when_to_come_back() -> None:
    async with served(answer(b"busy", status=503, headers={"retry-after": "2"})) as pool:
        with pytest.raises(Refused) as refused:
            await Handshake(pool, session="s").post("tools/call", ECHO)
    assert (refused.value.status, refused.value.retry_after) == (503, "2")


def test_what_hey_says_is_told_apart_by_status() -> None:
    report = """
Status code distribution:
  [200]\t1600 responses
  [429]\t200 responses
  [503]\t40 responses

Error distribution:
  [80]\tPost "http://127.0.0.1:1/mcp": context deadline exceeded (Client.Timeout exceeded)
"""
    assert parse(report, 2) == Tally(good=800.0, refused=120.0, given_up=40.0)


async def test_a_paused_pool_reads_nothing_until_it_goes_on() -> None:
    async with served(answer(b"x" * 50_000_000)) as pool:
        connection = await pool.send("GET", {})
        assert pool.pause()
        before = len(connection.chunks)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(connection.chunks) == before
        pool.resume()
        assert len(await connection.body()) == 50_000_000
