from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from gateway.wire.lines import Lines, LineTooLong, read_lines


def read(chunks: Iterable[bytes], limit: int = 100) -> list[bytes]:
    lines = Lines(limit)
    return [line for chunk in chunks for line in lines.feed(chunk)]


def test_a_line_of_exactly_the_limit_passes_and_a_byte_more_does_not() -> None:
    assert read([b"x" * 60, b"x" * 40 + b"\n"]) == [b"x" * 100]
    with pytest.raises(LineTooLong, match="more than 100 bytes"):
        read([b"x" * 60, b"x" * 41 + b"\n"])


def test_an_endless_line_is_refused_before_its_end_comes() -> None:
    with pytest.raises(LineTooLong):
        read([b"x"] * 101)


async def test_a_flood_of_lines_that_are_at_hand_lets_others_run_between() -> None:
    chunks = [b"", b"last", b"x\n" * 100_000]
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def chunk() -> bytes:
        return chunks.pop()

    running = asyncio.create_task(others())
    taken = [line async for line in read_lines(chunk, 100)]
    running.cancel()
    assert len(taken) == 100_001
    assert taken[-1] == b"last"
    assert turns > 1000
