import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import errors
from gateway.wire import faults, jsonrpc

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_what_is_encoded_is_decoded_again(value: object) -> None:
    assert jsonrpc.decode(jsonrpc.encode(value)) == value


@pytest.mark.parametrize("text", ['"\\ud800"', '{"a":"\\udfff x"}'])
def test_text_with_a_lone_surrogate_survives(text: str) -> None:
    value = jsonrpc.decode(text)
    assert jsonrpc.decode(jsonrpc.encode(value)) == value


@pytest.mark.parametrize("data", [b"", b"{", b"nonsense", b"\xff\xfe", b"[" * 200_000])
def test_what_is_not_json_is_undecodable_and_nothing_else(data: bytes) -> None:
    with pytest.raises(jsonrpc.Undecodable):
        jsonrpc.decode(data)


@pytest.mark.parametrize(
    "data", [b"NaN", b'{"a":-Infinity}', b"[1e400]", b"1" * 4001, b'{"a":"\xff"}', b"\xff\xfe1\x00"]
)
def test_what_json_has_no_form_for_is_refused_instead_of_becoming_null(data: bytes) -> None:
    with pytest.raises(jsonrpc.Undecodable, match="not valid JSON"):
        jsonrpc.decode(data)


def test_numbers_beyond_64_bits_keep_every_digit() -> None:
    text = b'{"id":18446744073709551616,"x":[-9223372036854775809,1.5,12345678901234567890123]}'
    assert jsonrpc.encode(jsonrpc.decode(text)) == text


def test_a_long_number_anywhere_in_a_large_text_keeps_every_digit() -> None:
    number = b"18446744073709551616"
    for before in range(65536 - 24, 65536 + 2):
        text = b'["' + b"x" * before + b'",' + number + b',"' + b"y" * 70_000 + b'"]'
        assert jsonrpc.decode(text)[1] == int(number)


@pytest.mark.parametrize("inside", [b"[", b'{"a":'])
def test_nesting_passes_up_to_the_limit_and_is_refused_by_the_settings_name_beyond_it(inside: bytes) -> None:
    def nested(levels: int) -> bytes:
        return inside * levels + b"1" + (b"]" if inside == b"[" else b"}") * levels

    assert jsonrpc.encode(jsonrpc.decode(nested(128))) == nested(128)
    assert jsonrpc.decode(nested(7), max_nesting=7)
    for levels, limit in ((129, 128), (8, 7), (1000, 128), (2000, 128), (100_000, 128)):
        with pytest.raises(jsonrpc.TooDeep, match=rf"more than {limit} levels deep \(limits.max_nesting\)"):
            jsonrpc.decode(nested(levels), limit)


def test_many_containers_side_by_side_are_not_deep_nor_are_brackets_in_text() -> None:
    assert len(jsonrpc.decode(b"[" + b"[],{}," * 10_000 + b"0]")) == 20_001
    assert jsonrpc.decode(b'"' + b"[{" * 1000 + b'"') == "[{" * 1000


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"jsonrpc": "2.0", "id": 1, "method": "ping"}, "request"),
        ({"jsonrpc": "2.0", "id": "a", "method": "x", "params": {}}, "request"),
        ({"jsonrpc": "2.0", "method": "x"}, "notification"),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, "response"),
        ({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": ""}}, "response"),
        ({"jsonrpc": "2.0", "id": None, "method": "x"}, "invalid"),
        ({"jsonrpc": "2.0", "id": True, "method": "x"}, "invalid"),
        ({"jsonrpc": "2.0", "id": 1.5, "method": "x"}, "invalid"),
        ({"jsonrpc": "2.0", "id": 1, "method": 5}, "invalid"),
        ({"jsonrpc": "2.0", "id": 1, "method": "x", "params": []}, "invalid"),
        ({"jsonrpc": "2.0", "id": 1}, "invalid"),
        ({"jsonrpc": "2.0", "id": 1, "error": "no"}, "invalid"),
        ({"id": 1, "method": "x"}, "invalid"),
        ([], "invalid"),
        ("text", "invalid"),
        (None, "invalid"),
    ],
)
def test_messages_are_told_apart(message: object, kind: str) -> None:
    assert jsonrpc.kind_of(message) == kind


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.PeerError(-32042, "go there", {"url": "x"}), -32042),
        (errors.UnknownTarget("no such tool"), -32602),
        (errors.InvalidCall("bad"), -32602),
        (errors.ServerUnavailable("s", "refused"), -32603),
        (errors.ConnectionLost("s", "died"), -32603),
        (errors.CallTimedOut("slow"), -32603),
        (errors.QuestionRefused("off"), -32601),
        (errors.QuestionRejected("no"), -1),
        (errors.NobodyAnswered("none", {}, unavailable=True), -32601),
        (errors.NobodyAnswered("none", {}, unavailable=False), -32603),
    ],
)
def test_every_error_has_its_code_on_the_wire(error: errors.BackchannelError, code: int) -> None:
    assert faults.error_object(error)["code"] == code


def test_a_peers_error_object_is_relayed_with_nothing_changed() -> None:
    original = {"code": 4711, "message": "own words", "data": {"deep": [1, None]}}
    assert faults.error_object(faults.peer_error(original)) == original


@pytest.mark.parametrize("value", [None, "oops", {}, {"code": "x", "message": 3}])
def test_a_malformed_error_object_is_an_error_all_the_same(value: object) -> None:
    assert faults.peer_error(value).code == -32603


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/x"},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"jsonrpc": "2.0", "id": 1, "method": None, "result": {}},
        {"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": ""}},
    ],
)
def test_a_message_that_is_one_is_told_apart_by_what_it_has(message: dict[str, object]) -> None:
    assert jsonrpc.kind_of_valid(message) == jsonrpc.kind_of(message) != "invalid"
