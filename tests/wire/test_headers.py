"""Header fields as text: the names that come all the time are remembered, and no others."""

from __future__ import annotations

from gateway.wire import headers


def test_names_are_in_lower_case_and_of_any_number_and_length_only_so_many_are_remembered() -> None:
    names = headers._Names()
    for number in range(2 * headers._MOST):
        assert names[b"X-%d" % number] == f"x-{number}"
    assert 0 < len(names) <= headers._MOST
    known = len(names)
    assert names[b"A\xc0" * 100_000] == "aà" * 100_000
    assert len(names) == known
    assert headers.name_of(b"Content-Type") == "content-type"
