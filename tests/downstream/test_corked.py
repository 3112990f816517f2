"""A response's head waits for its body, and for nothing else."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from gateway.downstream.corked import Corked

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Wire:
    """A transport that remembers what was written to it, call by call."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.closed = True

    def write_eof(self) -> None:
        self.writes.append(b"(end)")

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


def corked() -> tuple[Corked, Wire]:
    wire = Wire()
    return Corked(cast("asyncio.Transport", cast("Any", wire))), wire


async def test_a_head_and_the_body_that_follows_are_one_write() -> None:
    transport, wire = corked()
    transport.write(HEAD)
    transport.write(b"{}")
    assert wire.writes == [HEAD + b"{}"]
    await asyncio.sleep(0)
    assert wire.writes == [HEAD + b"{}"]


async def test_a_head_that_nothing_follows_is_written_at_the_end_of_the_turn() -> None:
    transport, wire = corked()
    transport.write(HEAD)
    assert wire.writes == []
    await asyncio.sleep(0)
    assert wire.writes == [HEAD]


async def test_what_is_no_head_is_written_at_once() -> None:
    transport, wire = corked()
    transport.write(b"data: 1\n\n")
    transport.write(b"data: 2\n\n")
    assert wire.writes == [b"data: 1\n\n", b"data: 2\n\n"]


async def test_closing_writes_what_is_kept() -> None:
    transport, wire = corked()
    transport.write(HEAD)
    transport.close()
    assert (wire.writes, wire.closed, transport.is_closing()) == ([HEAD], True, True)


async def test_everything_else_is_the_transports_own() -> None:
    transport, _ = corked()
    assert transport.get_extra_info("peername") == "the peername"


async def test_a_large_body_is_written_after_its_head_without_a_copy() -> None:
    wire = Wire()
    corked = Corked(cast("asyncio.Transport", wire))
    body = b"x" * 100_000
    corked.write(HEAD)
    corked.write(body)
    assert wire.writes == [HEAD, body]
    assert wire.writes[1] is body


async def test_ending_writes_what_is_kept_before_the_end() -> None:
    transport, wire = corked()
    transport.write(HEAD)
    transport.write_eof()
    await asyncio.sleep(0)
    assert wire.writes == [HEAD, b"(end)"]


async def test_what_is_aborted_writes_nothing_later() -> None:
    transport, wire = corked()
    transport.write(HEAD)
    transport.abort()
    await asyncio.sleep(0)
    assert (wire.writes, wire.closed) == ([], True)
