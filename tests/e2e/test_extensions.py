"""Extensions and experimental capabilities: what both sides name passes, under the operator's policy."""

from __future__ import annotations

import pytest

from gateway.calls.model import Extra
from gateway.upstream.extensions import VARIANTS
from tests.support.merged import Json, Told, merged, offering, peer, tools

OWN = "com.example/charts"
UI = "io.modelcontextprotocol/ui"
TASKS = "io.modelcontextprotocol/tasks"
SETTINGS = {"mimeTypes": ["text/html;profile=mcp-app"], "x": {"b": 1, "a": None}}
CLIENT = {
    "extensions": {OWN: SETTINGS, UI: SETTINGS, TASKS: {}, "com.example/else": {}},
    "experimental": {"beta": {"on": True}, "gamma": {}},
}
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


def naming(kind: str, *extensions: str, **settings: Json) -> Told:
    era = kind.split("-")[1]
    named = {name: {"of": kind} for name in extensions}
    said = offering(era, tools={}, extensions=named, experimental={"beta": {"level": 2}})
    return Told(kind, {**said, **tools("t")}, settings)


def beyond(capabilities: Json) -> Json:
    return {key: value for key, value in capabilities.items() if key in ("extensions", "experimental")}


async def told(client, server: str, kind: str) -> Json:
    """What a server was told of this client, beyond the protocol."""
    if kind.endswith("handshake"):
        return beyond((await client.seen(server, "initialize"))[-1]["params"]["capabilities"])
    return beyond((await client.call(f"{server}__t"))["received"]["_meta"][CAPABILITIES])


@pytest.mark.parametrize("mode", ["handshake", "modern"])
@pytest.mark.parametrize("kind", ["stdio-handshake", "http-modern", "stdio-modern"])
async def test_what_both_sides_name_passes_with_the_settings_of_each(tmp_path, kind, mode) -> None:
    if (kind, mode) == ("stdio-handshake", "modern"):
        kind = "http-handshake"
    async with merged(tmp_path, {"a": naming(kind, OWN, TASKS)}) as gateway:
        async with peer(gateway, mode, CLIENT) as client:
            assert await client.names() == ["a__t"]
            await client.call("a__t")
            named = await told(client, "a", kind)
            assert named == {
                "extensions": {OWN: SETTINGS, UI: SETTINGS},
                "experimental": {"beta": {"on": True}},
            }
            if mode == "modern":
                shown = (await client.result("server/discover"))["capabilities"]
                assert beyond(shown) == {
                    "extensions": {OWN: {"of": kind}},
                    "experimental": {"beta": {"level": 2}},
                }
        async with peer(gateway, mode) as plain:
            # An HTTP server of the handshake era has seen every connection; the gateway's own came first.
            first = (await plain.seen("a", "initialize"))[:1] if kind == "http-handshake" else None
            declared = first[0]["params"]["capabilities"] if first else await told(plain, "a", kind)
            assert beyond(declared) == {}


@pytest.mark.parametrize(
    ("everywhere", "own", "passing"),
    [
        ({}, {}, {OWN, UI}),
        ({OWN: "deny"}, {}, {UI}),
        ({UI: "deny"}, {}, {OWN}),
        ({"*": "deny"}, {}, set()),
        ({"*": "deny", OWN: "allow"}, {}, {OWN}),
        ({"*": "deny"}, {OWN: "allow", UI: "allow"}, {OWN, UI}),
        ({OWN: "allow", UI: "allow"}, {"*": "deny"}, set()),
        ({OWN: "deny"}, {"*": "allow"}, {OWN, UI}),
        # Allowed by its name: declared to a server that does not name it.
        ({"com.example/else": "allow"}, {}, {OWN, UI, "com.example/else"}),
    ],
)
async def test_a_policy_says_which_pass_for_all_servers_or_for_one(
    tmp_path, everywhere, own, passing
) -> None:
    servers = {"a": naming("http-modern", OWN, extensions=own)}
    async with merged(tmp_path, servers, extensions=everywhere) as gateway:
        async with peer(gateway, "modern", CLIENT) as client:
            assert set((await told(client, "a", "http-modern")).get("extensions", {})) == passing
            shown = (await client.result("server/discover"))["capabilities"]
            assert set(shown.get("extensions", {})) == passing & {OWN}


async def test_each_server_is_told_of_what_it_names_and_the_first_ones_settings_are_shown(tmp_path) -> None:
    servers = {
        "a": naming("http-modern"),
        "b": naming("http-modern", OWN),
        "c": naming("stdio-modern", OWN, "com.example/else"),
    }
    async with merged(tmp_path, servers) as gateway, peer(gateway, "modern", CLIENT) as client:
        found = [set((await told(client, name, "-modern")).get("extensions", {})) - {UI} for name in servers]
        assert found == [set(), {OWN}, {OWN, "com.example/else"}]
        shown = (await client.result("server/discover"))["capabilities"]
        assert shown["extensions"] == {OWN: {"of": "http-modern"}, "com.example/else": {"of": "stdio-modern"}}


@pytest.mark.parametrize("mode", ["handshake", "modern"])
async def test_methods_of_an_extension_are_refused_by_name_and_its_meta_and_results_pass(
    tmp_path, mode
) -> None:
    async with merged(tmp_path, {"a": naming("http-modern", OWN)}) as gateway:
        async with peer(gateway, mode, CLIENT) as client:
            refused = await client.ask("com.example/draw", chart=1)
            assert (refused["error"]["code"], refused["error"]["message"]) == (
                -32601,
                "method not found: com.example/draw",
            )
            marked = {"com.example/mark": {"k": [1]}}
            result = await client.result("tools/call", name="a__t", arguments={}, _meta=marked)
            assert result["received"]["_meta"]["com.example/mark"] == {"k": [1]}


async def test_clients_text_cannot_make_listings_and_connections_without_end(tmp_path, caplog) -> None:
    async with merged(tmp_path, {"a": naming("http-modern", OWN)}) as gateway:
        known = gateway.gateway.fleet.catalog._extensions.known
        seen = set()
        for number in range(3 * VARIANTS):
            able = {"extensions": {OWN: {"n": number}, f"com.example/{number}": {}}}
            async with peer(gateway, "modern", able) as client:
                named = (await told(client, "a", "http-modern"))["extensions"]
                assert named == {OWN: {"n": number} if number < VARIANTS else {}}
            seen.add(known(frozenset({Extra("extensions", OWN, f'{{"n":{number}}}')})))
        assert len(seen) == VARIANTS + 1
        assert caplog.text.count("servers are told of no further ones") == 1


async def test_what_is_no_extension_is_not_taken_for_one(tmp_path) -> None:
    odd = {"extensions": {OWN: True, UI: {"long": "x" * 20_000}}, "experimental": ["beta"]}
    async with merged(tmp_path, {"a": naming("http-modern", OWN)}) as gateway:
        async with peer(gateway, "handshake", odd) as client:
            assert await told(client, "a", "http-modern") == {}
