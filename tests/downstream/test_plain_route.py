"""What is taken for a sound request at a glance is one by every rule, and means the same."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from mcp.shared.inbound import InboundModernRoute, classify_inbound_request

from gateway.downstream.modern import VERSIONS, plain_route

META = "io.modelcontextprotocol/"
VERSION = "2026-07-28"
ENVELOPES: list[Any] = [
    {META + "protocolVersion": VERSION, META + "clientInfo": {"name": "a"}, META + "clientCapabilities": {}},
    {META + "protocolVersion": VERSION, META + "clientCapabilities": {"sampling": {}}},
    {META + "protocolVersion": VERSION},
    {META + "protocolVersion": "2027-01-01", META + "clientCapabilities": {}},
    {META + "protocolVersion": None, META + "clientCapabilities": {}},
    {META + "protocolVersion": [VERSION], META + "clientCapabilities": {}},
    {},
    None,
    "text",
]
TARGETS: list[tuple[str, dict[str, Any]]] = [
    ("tools/call", {"name": "echo"}),
    ("tools/call", {"name": "=?base64?ZWNobw==?="}),
    ("tools/call", {}),
    ("tools/call", {"name": 1}),
    ("resources/read", {"uri": "echo"}),
    ("tools/list", {}),
    ("server/discover", {"name": "echo"}),
]
HEADERS: list[dict[str, str]] = [
    {"mcp-protocol-version": version, "mcp-method": method, **name}
    for version, method, name in itertools.product(
        (VERSION, "2027-01-01"),
        ("tools/call", "tools/list", "resources/read"),
        ({}, {"mcp-name": "echo"}, {"mcp-name": "=?base64?ZWNobw==?="}, {"mcp-name": ""}),
    )
] + [{}, {"mcp-method": "tools/list"}]


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_at_a_glance_as_by_every_rule(envelope: Any) -> None:
    seen = 0
    for (method, params), headers in itertools.product(TARGETS, HEADERS):
        given = params if envelope is None else {**params, "_meta": envelope}
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": given}
        route = plain_route(message, headers)
        if route is not None:
            seen += 1
            assert route == classify_inbound_request(
                message, headers=headers, supported_modern_versions=VERSIONS
            )
            assert isinstance(route, InboundModernRoute)
    assert bool(seen) == (envelope in ENVELOPES[:2])


def test_a_request_without_parameters_is_left_to_the_rules() -> None:
    assert plain_route({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, HEADERS[0]) is None
