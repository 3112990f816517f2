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


def test_an_event_of_exactly_the_limit_passes_and_a_byte_more_does_not() -> None:
    for chunks in ([b"data: " + b"x" * 100 + b"\n\n"], [b"da", b"ta: " + b"x" * 99, b"x\r", b"\n\r\n"]):
        assert read(chunks, limit=100) == [sse.Event("x" * 100)]
    with pytest.raises(sse.EventTooLarge):
        read([b"data: " + b"x" * 101 + b"\n\n"], limit=100)


def test_comments_and_unknown_fields_without_end_are_not_kept() -> None:
    assert read([b": ping\nx-unknown: 1\n"] * 1000 + [b"data: a\n\n"], limit=100) == [sse.Event("a")]


@pytest.mark.parametrize("retry", [b"9" * 5000, b"-1", b"1.5", "\u0663".encode(), b""])
def test_a_pause_that_is_no_sensible_number_is_no_pause(retry: bytes) -> None:
    assert read([b"retry: " + retry + b"\ndata: a\n\n"]) == [sse.Event("a")]


def test_what_is_not_utf_8_is_read_with_replacement_as_the_standard_has_it() -> None:
    assert read([b"data: \xff\xfea\n\n"]) == [sse.Event("\ufffd\ufffda")]
