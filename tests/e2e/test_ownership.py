"""Whose a resource is, who is asked for it, and whose news of it counts; restored names of references."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.gateway import Running
from tests.support.merged import Json, Peer, Told, merged, offering, peer, tools
from tests.support.raw_http import EventStream

OFFERED = {"tools": {}, "prompts": {}, "completions": {}, "resources": {"subscribe": True}}
UPDATED = "notifications/resources/updated"


def having(kind: str, listed: list[str], templates: list[str], prompts: list[str]) -> Told:
    """A server that says who it is whenever it reads or completes."""
    return Told(
        kind,
        {
            **offering(kind.split("-")[1], **OFFERED),
            **tools(),
            "resources/list": {"resources": [{"uri": uri, "name": uri, "of": kind} for uri in listed]},
            "resources/templates/list": {
                "resourceTemplates": [{"uriTemplate": one, "name": one, "of": kind} for one in templates]
            },
            "resources/read": {"contents": [], "of": kind},
            "prompts/list": {"prompts": [{"name": name} for name in prompts]},
            "prompts/get": {"messages": [], "of": kind},
            "completion/complete": {"completion": {"values": []}, "of": kind},
            "resources/subscribe": {},
        },
    )


SERVERS = {
    "a": having("http-handshake", ["file:///both"], ["doc://{id}"], ["same"]),
    "b": having("http-modern", ["file:///both", "file:///b", "doc://listed"], ["b://{+path}"], ["same", "b"]),
}


@asynccontextmanager
async def both(tmp_path) -> AsyncIterator[Running]:
    async with merged(tmp_path, SERVERS) as gateway:
        yield gateway


async def of(client: Peer, method: str, **params: Json | str) -> str:
    return (await client.result(method, **params))["of"]


@pytest.mark.parametrize("mode", ["handshake", "modern"])
async def test_a_resource_is_read_at_its_lister_then_by_template_then_in_configured_order(
    tmp_path, mode
) -> None:
    async with both(tmp_path) as gateway, peer(gateway, mode) as client:
        owners = {
            "file:///both": "http-handshake",
            "file:///b": "http-modern",
            "doc://listed": "http-modern",
            "doc://other": "http-handshake",
            "b://x/y": "http-modern",
            "unheard://of": "http-handshake",
        }
        assert {uri: await of(client, "resources/read", uri=uri) for uri in owners} == owners
        listed = (await client.result("resources/list"))["resources"]
        assert [(one["uri"], one["of"]) for one in listed] == [
            ("file:///both", "http-handshake"),
            ("file:///b", "http-modern"),
            ("doc://listed", "http-modern"),
        ]
        (clash,) = gateway.gateway.fleet.catalog.clashes()
        assert clash.startswith(
            "resource 'file:///both' of server 'b' is hidden: server 'a' exposes the same"
        )


@pytest.mark.parametrize("mode", ["handshake", "modern"])
async def test_a_completion_goes_to_the_references_owner_under_its_own_name(tmp_path, mode) -> None:
    async with both(tmp_path) as gateway, peer(gateway, mode) as client:
        argument = {"name": "n", "value": "v"}
        for reference, own, server in [
            (
                {"type": "ref/prompt", "name": "a__same", "x": 1},
                {"type": "ref/prompt", "name": "same", "x": 1},
                "a",
            ),
            ({"type": "ref/prompt", "name": "b__same"}, {"type": "ref/prompt", "name": "same"}, "b"),
            ({"type": "ref/resource", "uri": "b://{+path}"}, None, "b"),
            ({"type": "ref/resource", "uri": "doc://{id}"}, None, "a"),
        ]:
            assert (
                await of(client, "completion/complete", ref=reference, argument=argument)
                == SERVERS[server].kind
            )
            (last,) = (await client.seen(server, "completion/complete"))[-1:]
            assert last["params"]["ref"] == (own or reference)
        assert await of(client, "prompts/get", name="b__same") == "http-modern"


async def test_what_a_server_says_of_a_resource_that_is_anothers_reaches_nobody(tmp_path) -> None:
    async with (
        both(tmp_path) as gateway,
        peer(gateway) as client,
        client.client.stream("GET", "/mcp", headers=client.headers) as news,
    ):
        stream = EventStream(news)
        await client.result("resources/subscribe", uri="file:///both")
        await client.result("resources/subscribe", uri="file:///b")
        # b is subscribed to for file:///b alone; that it speaks of a's resource is no news of it.
        for uri in ("file:///both", "file:///b"):
            await client.call("b__say", notify=UPDATED, params={"uri": uri, "x": "b"})
        assert (await stream.message())["params"] == {"uri": "file:///b", "x": "b"}
        await client.call("a__say", notify=UPDATED, params={"uri": "file:///both", "x": "a"})
        assert (await stream.message())["params"] == {"uri": "file:///both", "x": "a"}
