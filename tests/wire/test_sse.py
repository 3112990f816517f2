import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire import sse


def read(chunks: list[bytes], limit: int = 1 << 20) -> list[sse.Event]:
    reader = sse.Reader(limit)
    return [event for chunk in chunks for event in reader.feed(chunk)]


def test_an_event_written_here_is_read_back_whole() -> None:
    frame = sse.event(b'{"a":1}', event_id="7:1")
    assert read([frame]) == [sse.Event('{"a":1}', "message", "7:1")]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_events_do_not_depend_on_how_the_bytes_are_cut(cuts: list[int]) -> None:
    whole = (
        b"\xef\xbb\xbf: hello\r\n\r\nid: 1\r\ndata: a\r\ndata: b\r\n\r\nevent: x\rdata:c\r\r"
        b"data: caf\xc3\xa9\n\nretry: 15\n\n"
    )
    expected = read([whole])
    assert expected == [
        sse.Event("a\nb", "message", "1"),
        sse.Event("c", "x"),
        sse.Event("café"),
        sse.Event("", retry=15),
    ]
    chunks, rest = [], whole
    for cut in cuts:
        chunks.append(rest[:cut])
        rest = rest[cut:]
    assert read([*chunks, rest]) == expected


def test_a_comment_is_no_event() -> None:
    assert read([sse.KEEPALIVE]) == []


def test_an_empty_event_with_an_id_is_kept_since_it_primes_resumption() -> None:
    assert read([b"id: 5\ndata:\n\n"]) == [sse.Event("", "message", "5")]


@pytest.mark.parametrize("chunks", [[b"data: " + b"x" * 200], [b"data: xxxxxxxxxx\n"] * 20, [b"x" * 30] * 10])
def test_an_event_that_outgrows_the_limit_is_refused(chunks: list[bytes]) -> None:
    with pytest.raises(sse.EventTooLarge, match="more than 100 bytes"):
        read(chunks, limit=100)


def test_a_ten_megabyte_event_in_small_chunks_is_read_in_linear_time() -> None:
    data = b"data: " + b"x" * 10_000_000 + b"\n\n"
    chunks = [data[start : start + 16_384] for start in range(0, len(data), 16_384)]
    (event,) = read(chunks, limit=16 << 20)
    assert len(event.data) == 10_000_000
