"""One list of many servers: how long it is fresh, for whom, whose it is, and that its entries are raw."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.merged import ANYTHING, Json, Peer, Told, merged, offering, peer, tools
from tests.support.raw_http import EventStream

LISTS = ["tools/list", "prompts/list", "resources/list", "resources/templates/list"]
EVERYTHING = {"tools": {"listChanged": True}, "prompts": {}, "resources": {"subscribe": True}}
CHANGED = "notifications/tools/list_changed"


def modern(*names: str, settings: Json | None = None, **hints: Any) -> Told:
    says = {**offering("modern", tools={"listChanged": True}), **tools(*names, **hints)}
    return Told("http-modern", says, settings or {})


async def hints(client: Peer, method: str = "tools/list") -> tuple[int, str]:
    result = await client.result(method)
    return result["ttlMs"], result["cacheScope"]


async def test_a_list_is_as_fresh_as_its_least_fresh_part_and_public_only_as_a_whole(tmp_path) -> None:
    long = {"ttlMs": 3_600_000, "cacheScope": "public"}
    servers = {"a": modern("t", **long), "b": modern("u", ttlMs=60_000, cacheScope="public")}
    async with merged(tmp_path, servers) as gateway, peer(gateway, "modern") as client:
        left, scope = await hints(client)
        assert 50_000 < left <= 60_000
        assert scope == "public"
        # Nobody offers prompts: nothing says how long that holds.
        assert await hints(client, "prompts/list") == (0, "private")
        again, _ = await hints(client)
        assert again <= left


@pytest.mark.parametrize(
    ("other", "fresh", "scope"),
    [
        (modern("u", ttlMs=60_000, cacheScope="private"), True, "private"),
        (modern("u", ttlMs=60_000), True, "private"),
        (modern("u", ttlMs=60_000, cacheScope="public", settings={"deny": ["x"]}), True, "private"),
        (modern("u", ttlMs=-5, cacheScope="public"), False, "public"),
        (modern("u", cacheScope="public"), False, "public"),
        # The handshake era has no hints: none is as good as 0 (server/utilities/caching), and private.
        (Told(says=tools("u", ttlMs=60_000, cacheScope="public")), False, "private"),
        (Told(says=tools("u")), False, "private"),
    ],
    ids=["private", "unsaid", "filtered", "negative", "no hint", "a field of the handshake era", "handshake"],
)
async def test_one_part_decides_for_the_whole_list_on_every_page(tmp_path, other, fresh, scope) -> None:
    servers = {"a": modern("t", ttlMs=3_600_000, cacheScope="public"), "b": other}
    async with (
        merged(tmp_path, servers, limits={"page_size": 2}) as gateway,
        peer(gateway, "modern") as client,
    ):
        page = await client.result("tools/list")
        pages = [page]
        while "nextCursor" in page:
            page = await client.result("tools/list", cursor=page["nextCursor"])
            pages.append(page)
        assert len(pages) == 4
        assert {page["cacheScope"] for page in pages} == {scope}
        assert [page["ttlMs"] > 0 for page in pages] == [fresh] * 4


async def test_what_depends_on_a_clients_capabilities_is_private(tmp_path) -> None:
    async with merged(tmp_path, {"a": modern("t", ttlMs=60_000, cacheScope="public")}) as gateway:
        async with peer(gateway, "modern") as plain, peer(gateway, "modern", {"sampling": {}}) as able:
            assert (await hints(able))[1] == "private"
            assert (await hints(plain))[1] == "public"
        async with peer(gateway) as session:
            result = await session.result("tools/list")
            assert not {"ttlMs", "cacheScope"} & result.keys()


async def test_a_list_whose_time_is_over_is_fetched_again_and_one_that_is_fresh_is_not(tmp_path) -> None:
    servers = {"now": modern("t", ttlMs=0), "later": modern("u", ttlMs=3_600_000)}
    async with merged(tmp_path, servers) as gateway, peer(gateway, "modern") as client:
        assert await client.names() == ["now__t", "later__u"]
        for server in servers:
            await client.say(server, tools("new"))
        assert await client.names() == ["now__new", "later__u"]
        async with (
            peer(gateway) as listener,
            listener.client.stream("GET", "/mcp", headers=listener.headers) as news,
        ):
            await client.say("later", {}, notify=CHANGED)
            assert (await EventStream(news).message())["method"] == CHANGED
        assert await client.names() == ["now__new", "later__new"]


async def test_a_server_that_is_down_leaves_nothing_fresh(tmp_path) -> None:
    gone = {"type": "http", "url": "http://127.0.0.1:9/mcp"}
    async with merged(tmp_path, {"a": modern("t", ttlMs=60_000, cacheScope="public")}) as gateway:
        async with peer(gateway, "modern") as client:
            assert (await client.result("server/discover"))["ttlMs"] == 60_000
    servers = {"a": modern("t", ttlMs=60_000, cacheScope="public"), "gone": Told(settings=gone)}
    async with merged(tmp_path, servers) as gateway, peer(gateway, "modern") as client:
        assert await hints(client) == (0, "public")
        assert (await client.result("server/discover"))["ttlMs"] == 0


async def test_a_resources_own_hints_pass(tmp_path) -> None:
    read = {"contents": [], "ttlMs": 1234, "cacheScope": "public"}
    listed = {"resources/list": {"resources": [{"uri": "x:///1", "name": "one"}]}, "resources/read": read}
    servers = {"a": Told("http-modern", {**offering("modern", resources={}), **listed})}
    async with merged(tmp_path, servers) as gateway, peer(gateway, "modern") as client:
        result = await client.result("resources/read", uri="x:///1")
        assert (result["ttlMs"], result["cacheScope"]) == (1234, "public")


# Whose listing


async def test_a_session_sees_what_its_own_process_lists_and_others_see_theirs(tmp_path) -> None:
    servers = {
        "p": Told("stdio-handshake", {**offering("handshake", tools={"listChanged": True}), **tools("t")})
    }
    async with merged(tmp_path, servers) as gateway, peer(gateway) as ann, peer(gateway) as bob:
        assert await ann.names() == await bob.names() == ["p__t"]
        await ann.say("p", tools("anns"))
        await bob.call("p__t")
        assert await ann.names() == ["p__anns"]
        assert await bob.names() == ["p__t"]
        assert await ann.names() == ["p__anns"]
        # Names are those of the lane that the call runs on.
        assert (await ann.call("p__anns"))["received"]["name"] == "anns"
        refused = await bob.ask("tools/call", name="p__anns", arguments={})
        assert refused["error"]["message"].startswith("no server has a tool 'p__anns'")
        async with peer(gateway) as late, peer(gateway, "modern") as stateless:
            assert await late.names() == await stateless.names() == ["p__t"]


@pytest.mark.parametrize("capabilities", [None, {"sampling": {}}], ids=["plain", "askable"])
async def test_only_the_session_whose_process_lists_anew_is_told(tmp_path, capabilities) -> None:
    servers = {
        "p": Told("stdio-handshake", {**offering("handshake", tools={"listChanged": True}), **tools("t")})
    }
    async with (
        merged(tmp_path, servers) as gateway,
        peer(gateway, "handshake", capabilities) as ann,
        peer(gateway, "handshake", capabilities) as bob,
        ann.client.stream("GET", "/mcp", headers=ann.headers) as anns,
        bob.client.stream("GET", "/mcp", headers=bob.headers) as bobs,
    ):
        assert await ann.names() == await bob.names() == ["p__t"]
        pids = [(await one.call("p__t"))["pid"] for one in (ann, bob)]
        assert len(set(pids)) == 2
        await ann.say("p", tools("anns"), notify=CHANGED)
        assert (await EventStream(anns).message())["method"] == CHANGED
        assert await ann.names() == ["p__anns"]
        assert await bob.names() == ["p__t"]
        await bob.say("p", {}, notify="notifications/prompts/list_changed")
        # Had bob been told of ann's list, he would have been told so first.
        assert (await EventStream(bobs).message())["method"] == "notifications/prompts/list_changed"


async def test_what_a_sessions_process_listed_is_forgotten_with_the_session(tmp_path) -> None:
    servers = {"p": Told("stdio-handshake", tools("t"))}
    async with merged(tmp_path, servers) as gateway:
        async with peer(gateway) as ann:
            await ann.say("p", tools("anns"))
            assert await ann.names() == ["p__anns"]
            await ann.client.delete("/mcp", headers=ann.headers)
        async with peer(gateway) as bob:
            assert await bob.names() == ["p__t"]
            await bob.call("p__t")
            assert await bob.names() == ["p__t"]


@pytest.mark.parametrize(("capabilities", "processes"), [(None, 0), ({"sampling": {}}, 1)])
async def test_sessions_that_only_list_share_what_the_first_of_them_found(
    tmp_path, capabilities, processes
) -> None:
    async with merged(tmp_path, {"p": Told("stdio-handshake", tools("t"))}) as gateway:
        async with AsyncExitStack() as stack:
            for _ in range(3):
                client = await stack.enter_async_context(peer(gateway, "handshake", capabilities))
                assert await client.names() == ["p__t"]
            (status,) = (await gateway.api("/api/servers"))["servers"]
            assert status["lanes"] == processes
            # Its own process comes with its first call, and lists for it alone from then on.
            await client.say("p", tools("own"))
            assert await client.names() == ["p__own"]


# Entries


@pytest.mark.parametrize("mode", ["handshake", "modern"])
@pytest.mark.parametrize("kind", ["stdio-handshake", "http-handshake", "http-modern"])
async def test_entries_pass_as_they_are_but_for_the_names_of_tools_and_prompts(tmp_path, kind, mode) -> None:
    rich = {
        "title": "A title",
        "description": "é",
        "icons": [{"src": "https://x/i.png", "mimeType": "image/png", "sizes": ["48x48"], "theme": "dark"}],
        "annotations": {"readOnlyHint": True, "audience": ["user"], "priority": 0.5, "x": None},
        "_meta": {"com.example/mark": {"deep": [1, None]}, "ui": {"resourceUri": "ui://x"}},
        "x-unknown": {"kept": [1.5, {}]},
    }
    says = {
        **offering(kind.split("-")[1], **EVERYTHING, completions={}),
        "tools/list": {"tools": [{"name": "t", "inputSchema": {**ANYTHING, "$defs": {"a": {}}}, **rich}]},
        "prompts/list": {"prompts": [{"name": "p", "arguments": [{"name": "a", "x": 1}], **rich}]},
        "resources/list": {"resources": [{"uri": "u:///1", "name": "one", "size": 3, **rich}]},
        "resources/templates/list": {
            "resourceTemplates": [{"uriTemplate": "u:///{x}", "name": "two", **rich}]
        },
    }
    async with merged(tmp_path, {"a": Told(kind, says)}) as gateway, peer(gateway, mode) as client:
        for method in LISTS:
            result = await client.result(method)
            (member,) = says[method]
            (own,) = says[method][member]
            renamed = method in ("tools/list", "prompts/list")
            assert result[member] == [{**own, "name": f"a__{own['name']}"} if renamed else own]
            assert list(result[member][0]) == list(own)
