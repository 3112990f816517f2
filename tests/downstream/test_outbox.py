import asyncio
import json
import tracemalloc

from gateway.downstream.outbox import Outbox


def progress(number: int) -> dict[str, object]:
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": number}}


async def read_all(outbox: Outbox, after: int | None = None) -> list[tuple[int, dict[str, object]]]:
    return [(item.number, json.loads(item.data)) async for item in outbox.read(after) if item is not None]


async def test_messages_come_out_in_the_order_they_were_put() -> None:
    outbox = Outbox()
    for number in range(5):
        outbox.put(progress(number))
    outbox.close()
    assert [message["params"]["progress"] for _, message in await read_all(outbox)] == [0, 1, 2, 3, 4]


async def test_a_reader_that_waits_is_woken_by_a_message_and_by_the_end() -> None:
    outbox = Outbox()
    reading = asyncio.ensure_future(read_all(outbox))
    await asyncio.sleep(0)
    outbox.put(progress(1))
    outbox.close()
    assert len(await reading) == 1


async def test_what_was_sent_is_replayed_after_the_number_a_client_saw_last() -> None:
    outbox = Outbox("7", replay=10)
    for number in range(1, 6):
        outbox.put(progress(number))
    outbox.close()
    await read_all(outbox)
    assert [number for number, _ in await read_all(outbox, after=3)] == [4, 5]


async def test_a_later_reader_takes_over() -> None:
    outbox = Outbox()
    first = asyncio.ensure_future(read_all(outbox))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(read_all(outbox))
    await asyncio.sleep(0)
    outbox.put(progress(1))
    outbox.close()
    assert await first == []
    assert len(await second) == 1


async def test_a_backlog_loses_progress_first_and_never_an_answer() -> None:
    outbox = Outbox(backlog=10)
    outbox.put({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create"})
    for number in range(100):
        outbox.put(progress(number))
    outbox.put({"jsonrpc": "2.0", "id": 1, "result": {}})
    outbox.close()
    messages = [message for _, message in await read_all(outbox)]
    assert messages[0]["method"] == "elicitation/create"
    assert messages[-1] == {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert len(messages) == 10
    assert messages[-2]["params"]["progress"] == 99
    assert outbox.dropped == 92


async def test_news_about_one_thing_waits_once_and_the_latest_is_what_is_read() -> None:
    outbox = Outbox(backlog=10)
    for number in range(100):
        for uri in ("a:1", "a:2"):
            news = {"jsonrpc": "2.0", "method": "notifications/resources/updated"}
            outbox.put({**news, "params": {"uri": uri, "n": number}}, ("updated", uri))
    outbox.close()
    assert [message["params"] for _, message in await read_all(outbox)] == [
        {"uri": "a:1", "n": 99},
        {"uri": "a:2", "n": 99},
    ]


async def test_an_idle_reader_is_told_so() -> None:
    outbox = Outbox()
    async for item in outbox.read(idle=0.001):
        assert item is None
        break


async def test_nothing_is_taken_once_closed() -> None:
    outbox = Outbox()
    outbox.close()
    outbox.put(progress(1))
    assert await read_all(outbox) == []


async def test_a_backlog_is_bounded_in_bytes_too() -> None:
    outbox = Outbox(limit=10_000)
    outbox.put({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create"})
    for number in range(100):
        params = {"progress": number, "message": "x" * 1000}
        outbox.put({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
    outbox.put({"jsonrpc": "2.0", "id": 1, "result": {"text": "y" * 20_000}})
    outbox.close()
    messages = [message for _, message in await read_all(outbox)]
    assert [message.get("method") for message in messages] == ["elicitation/create", None]
    assert len(messages[-1]["result"]["text"]) == 20_000


async def test_what_is_kept_for_a_reader_that_comes_back_is_bounded_in_bytes_too() -> None:
    outbox = Outbox("7", replay=10, limit=5000)
    for number in range(1, 6):
        outbox.put({"jsonrpc": "2.0", "id": number, "result": {"text": "y" * 2000}})
    outbox.close()
    assert len(await read_all(outbox)) == 5
    assert [number for number, _ in await read_all(outbox, after=0)] == [4, 5]


async def test_a_kept_message_takes_the_memory_that_the_bounds_count() -> None:
    outbox = Outbox(backlog=1000)
    outbox.put(progress(0))
    tracemalloc.start()
    try:
        for number in range(1, 500):
            outbox.put(progress(number))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The encoder writes to buffers of 4 KiB that it does not shrink.
    assert held < outbox.size + 500 * 400
