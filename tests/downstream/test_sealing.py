import pytest

from gateway.calls.model import Resume
from gateway.downstream.sealing import INVALID_STATE, Sealer, binding_of
from gateway.errors import InvalidCall, LimitExceeded

RESUME = Resume(
    "what the server's own state is, in many words",
    {"k": {"action": "accept"}},
    round=2,
    questions=3,
    asked={"other": 1},
)
BOUND = binding_of("ann", "tools/call", {"name": "t", "arguments": {"a": 1, "b": 2}})


def refused(sealer: Sealer, token: object, binding: str = BOUND) -> None:
    before = sealer.refused
    with pytest.raises(InvalidCall) as caught:
        sealer.open(token, binding)
    assert str(caught.value) == INVALID_STATE
    assert sealer.refused == before + 1


def test_what_was_sealed_is_opened_again() -> None:
    sealer = Sealer([])
    assert sealer.open(sealer.seal(RESUME, BOUND), BOUND) == RESUME


def test_the_state_of_a_server_is_not_readable_by_the_client() -> None:
    assert "what the server" not in Sealer([]).seal(RESUME, BOUND)


def test_the_order_of_arguments_and_the_meta_of_a_retry_do_not_matter() -> None:
    again = {
        "arguments": {"b": 2, "a": 1},
        "name": "t",
        "_meta": {"x": 1},
        "requestState": "s",
        "inputResponses": {},
    }
    assert binding_of("ann", "tools/call", again) == BOUND


@pytest.mark.parametrize(
    ("principal", "method", "params"),
    [
        ("bob", "tools/call", {"name": "t", "arguments": {"a": 1, "b": 2}}),
        (None, "tools/call", {"name": "t", "arguments": {"a": 1, "b": 2}}),
        ("ann", "prompts/get", {"name": "t", "arguments": {"a": 1, "b": 2}}),
        ("ann", "tools/call", {"name": "u", "arguments": {"a": 1, "b": 2}}),
        ("ann", "tools/call", {"name": "t", "arguments": {"a": 1, "b": 3}}),
        ("ann", "tools/call", {"name": "t"}),
    ],
)
def test_a_state_is_good_for_its_own_principal_and_call_alone(principal, method, params) -> None:
    sealer = Sealer([])
    refused(sealer, sealer.seal(RESUME, BOUND), binding_of(principal, method, params))


def test_every_flipped_bit_is_noticed() -> None:
    sealer = Sealer([])
    token = sealer.seal(RESUME, BOUND)
    for index in range(len(token)):
        changed = "A" if token[index] != "A" else "B"
        refused(sealer, token[:index] + changed + token[index + 1 :])


@pytest.mark.parametrize("token", [None, 5, {}, "", "v1.", "v1.AAAA", "garbage", "v1." + "A" * 400_000])
def test_what_is_no_token_is_refused_like_any_other(token: object) -> None:
    refused(Sealer([]), token)


def test_a_state_expires() -> None:
    now = [1000.0]
    sealer = Sealer([], ttl=60, clock=lambda: now[0])
    token = sealer.seal(RESUME, BOUND)
    now[0] += 59
    sealer.open(token, BOUND)
    now[0] += 2
    refused(sealer, token)


def test_another_deployments_state_is_refused_even_under_the_same_keys() -> None:
    keys = ["k" * 32]
    refused(Sealer(keys, audience="ours"), Sealer(keys, audience="theirs").seal(RESUME, BOUND))


def test_keys_can_be_rotated_without_losing_a_round() -> None:
    old, new = "o" * 32, "n" * 32
    token = Sealer([old]).seal(RESUME, BOUND)
    assert Sealer([new, old]).open(token, BOUND) == RESUME
    refused(Sealer([new]), token)


def test_a_state_too_large_to_carry_is_an_error_at_once() -> None:
    with pytest.raises(LimitExceeded, match="bytes"):
        Sealer([], limit=1000).seal(Resume("x" * 2000, {}), BOUND)
