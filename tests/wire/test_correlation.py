import asyncio

import pytest

from gateway.errors import ConnectionLost, PeerError
from gateway.wire.correlation import Incoming, Outgoing


async def test_a_response_settles_the_request_it_names_even_if_the_id_came_back_as_text() -> None:
    outgoing = Outgoing()
    first, one = outgoing.open()
    second, two = outgoing.open()
    assert outgoing.resolve({"id": str(second), "result": {"n": 2}})
    assert outgoing.resolve({"id": first, "error": {"code": -1, "message": "no"}})
    assert await two == {"n": 2}
    with pytest.raises(PeerError, match="no"):
        await one
    assert len(outgoing) == 0


async def test_a_response_nobody_waits_for_is_dropped() -> None:
    outgoing = Outgoing()
    request_id, future = outgoing.open()
    outgoing.close(request_id)
    assert not outgoing.resolve({"id": request_id, "result": {}})
    assert not outgoing.resolve({"id": 99, "result": {}})
    assert not future.done()


async def test_a_result_that_is_no_object_is_an_error() -> None:
    outgoing = Outgoing()
    request_id, future = outgoing.open()
    outgoing.resolve({"id": request_id, "result": [1]})
    with pytest.raises(PeerError, match="not an object"):
        await future


async def test_a_lost_connection_ends_every_wait() -> None:
    outgoing = Outgoing()
    futures = [outgoing.open()[1] for _ in range(3)]
    outgoing.fail_all(ConnectionLost("s", "gone"))
    for future in futures:
        with pytest.raises(ConnectionLost):
            await future


async def test_a_request_the_peer_cancels_is_never_answered() -> None:
    replies: list[dict[str, object]] = []
    started, stopped = asyncio.Event(), asyncio.Event()

    async def reply(message: dict[str, object]) -> None:
        replies.append(message)

    async def work() -> dict[str, object]:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return {}

    incoming = Incoming(reply)
    incoming.start("a", work())
    await started.wait()
    assert incoming.cancel("a")
    await stopped.wait()
    await incoming.aclose()
    assert replies == []
    assert not incoming.cancel("a")


async def test_a_request_is_answered_with_what_its_work_returns_or_raises() -> None:
    replies: dict[object, dict[str, object]] = {}
    done = asyncio.Event()

    async def reply(message: dict[str, object]) -> None:
        replies[message["id"]] = message
        if len(replies) == 2:
            done.set()

    async def good() -> dict[str, object]:
        return {"x": 1}

    async def bad() -> dict[str, object]:
        raise PeerError(-5, "own words", ["data"])

    incoming = Incoming(reply)
    incoming.start(1, good())
    incoming.start(2, bad())
    await done.wait()
    assert replies[1]["result"] == {"x": 1}
    assert replies[2]["error"] == {"code": -5, "message": "own words", "data": ["data"]}


async def test_a_plain_result_settles_its_request_and_anything_else_is_looked_at() -> None:
    outgoing = Outgoing()
    request_id, future = outgoing.open()
    plain = {"jsonrpc": "2.0", "id": request_id, "result": {"n": 1}}
    for other in (
        [plain],
        {**plain, "id": str(request_id)},
        {**plain, "id": 99},
        {**plain, "jsonrpc": "1.0"},
        {**plain, "result": 1},
        {**plain, "method": "ping"},
        {"jsonrpc": "2.0", "id": request_id, "error": {"code": 1, "message": ""}},
    ):
        assert not outgoing.settle(request_id, other)
    assert not future.done()
    assert outgoing.settle(request_id, plain)
    assert await future == {"n": 1}
    assert not outgoing.settle(request_id, plain)
