import hashlib

import pytest

from gateway.config.resolved import ApiKey, GatewayConfig, Http
from gateway.policy.model import KindPolicy, Layer, Policy, Setting, Source
from gateway.security.authentication import ApiKeys, Unauthenticated
from gateway.security.exposure import exposure_problem
from gateway.security.guard import Guard
from gateway.security.origins import ForbiddenOrigin, Origins

KEYS = ApiKeys(
    [
        ApiKey("ann", hashlib.sha256(b"key-of-ann").hexdigest()),
        ApiKey("bob", hashlib.sha256(b"key-of-bob").hexdigest().upper()),
    ]
)


@pytest.mark.parametrize(
    ("headers", "principal"),
    [
        ({"authorization": "Bearer key-of-ann"}, "ann"),
        ({"authorization": "bearer  key-of-bob "}, "bob"),
        ({"x-api-key": "key-of-bob"}, "bob"),
    ],
)
def test_a_key_names_its_principal(headers: dict[str, str], principal: str) -> None:
    assert KEYS.principal(headers) == principal


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Basic key-of-ann"},
        {"authorization": "Bearer key-of-ann2"},
        {"x-api-key": ""},
        {"x-api-key": "\udcff"},
        {"x-api-key": hashlib.sha256(b"key-of-ann").hexdigest()},
    ],
)
def test_without_a_valid_key_nobody_comes_in(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated):
        KEYS.principal(headers)


def test_without_configured_keys_everybody_is_anonymous() -> None:
    assert ApiKeys([]).principal({"authorization": "Bearer anything"}) is None


LOCAL = Http()
OPEN = Http(host="0.0.0.0")


@pytest.mark.parametrize(
    ("http", "headers", "allowed"),
    [
        (LOCAL, {"host": "127.0.0.1:8080"}, True),
        (LOCAL, {"host": "localhost:9999"}, True),
        (LOCAL, {"host": "[::1]:8080"}, True),
        (LOCAL, {"host": "LOCALHOST"}, True),
        (LOCAL, {"host": "evil.example:8080"}, False),
        (LOCAL, {"host": "localhost.evil.example"}, False),
        (LOCAL, {}, False),
        (Http(allowed_hosts=("gw.example",)), {"host": "gw.example:8080"}, True),
        (Http(allowed_hosts=("*",)), {"host": "any.example"}, True),
        (OPEN, {"host": "any.example"}, True),
        (Http(host="0.0.0.0", allowed_hosts=("gw.example",)), {"host": "any.example"}, False),
        (LOCAL, {"host": "localhost:8080", "origin": "http://localhost:8080"}, True),
        (LOCAL, {"host": "localhost:8080", "origin": "http://localhost:3000"}, False),
        (LOCAL, {"host": "localhost:8080", "origin": "https://evil.example"}, False),
        (LOCAL, {"host": "localhost:8080", "origin": "null"}, False),
        (OPEN, {"host": "gw.example", "origin": "https://evil.example"}, False),
        (
            Http(allowed_origins=("https://App.example/",)),
            {"host": "localhost", "origin": "https://app.example"},
            True,
        ),
        (Http(allowed_origins=("*",)), {"host": "localhost", "origin": "https://any.example"}, True),
    ],
)
def test_hosts_and_origins(http: Http, headers: dict[str, str], allowed: bool) -> None:
    if allowed:
        Origins(http).check(headers)
    else:
        with pytest.raises(ForbiddenOrigin, match=r"http\.allowed_(hosts|origins)"):
            Origins(http).check(headers)


def config(**fields: object) -> GatewayConfig:
    layer = Layer("x")
    kind = KindPolicy(Setting(True, Source("f", "p")), layer, layer, False, layer)
    return GatewayConfig("gateway.yaml", Policy(kind, kind), **fields)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example"])
def test_strangers_are_not_let_in_by_accident(host: str) -> None:
    problem = exposure_problem(config(http=Http(host=host)))
    assert problem is not None
    assert host in str(problem)
    assert "--insecure" in str(problem)
    assert exposure_problem(config(http=Http(host=host, insecure=True))) is None
    assert exposure_problem(config(http=Http(host=host), api_keys=(ApiKey("a", "0" * 64),))) is None


def test_this_machine_alone_needs_no_key() -> None:
    assert exposure_problem(config()) is None


@pytest.mark.parametrize(
    ("client", "host", "keys", "stranger"),
    [
        (("127.0.0.1", 5), "localhost:8080", False, False),
        (("::1", 5), "[::1]:8080", False, False),
        (("192.0.2.7", 5), "localhost:8080", False, True),
        (("127.0.0.1", 5), "gateway.example", False, True),
        (None, "localhost", False, True),
        (("192.0.2.7", 5), "gateway.example", True, False),
    ],
)
def test_operators_pages_without_keys_are_for_this_machine_alone(client, host, keys, stranger) -> None:
    guard = Guard(Origins(Http(allowed_hosts=("*",))), KEYS if keys else ApiKeys([]))
    assert guard.is_stranger({"client": client}, {"host": host}) is stranger


@pytest.mark.parametrize("header", ["forwarded", "x-forwarded-for", "x-real-ip"])
def test_whoever_came_through_a_proxy_is_of_another_machine(header) -> None:
    guard = Guard(Origins(LOCAL), ApiKeys([]))
    scope = {"client": ("127.0.0.1", 5)}
    assert guard.is_stranger(scope, {"host": "localhost:8080", header: "127.0.0.1"})


def test_white_space_around_a_header_is_not_part_of_it() -> None:
    headers = [(b"host", b"127.0.0.1"), (b"mcp-name", b" \ta tool \t"), (b"x-api-key", b"key-of-ann ")]
    admitted = Guard(Origins(LOCAL), KEYS).admit({"headers": headers})
    assert (admitted.headers["mcp-name"], admitted.principal) == ("a tool", "ann")
