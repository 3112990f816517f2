"""Merged listings: names and their owners, clashes, pages, changes, and who waits for whom."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import InvalidCall, ServerUnavailable, UnknownTarget
from gateway.policy.model import Strategy
from gateway.upstream.events import ListChanged
from tests.upstream.fleet_fakes import (
    ASKABLE,
    FakeServer,
    HeldClock,
    fleet_of,
    names,
    policy,
    running,
    session,
    turns,
)

MUTE = frozenset()
ANN = session("ann", MUTE)
BARE = {"a": "", "b": ""}


async def test_everything_is_listed_in_configuration_order_under_exposed_names() -> None:
    a = FakeServer("a", tools=["z", "y"], prompts=["p"], resources=["file:///1"], templates=["a://{x}"])
    b = FakeServer("b", tools=["z"], resources=["file:///2"])
    async with running(b, a) as fleet:
        view = await fleet.catalog.view(ANN)
        assert names(view.tools) == ["b__z", "a__z", "a__y"]
        assert names(view.prompts) == ["a__p"]
        assert names(view.resources) == ["file:///2", "file:///1"]
        assert names(view.templates) == ["a://{x}"]
        assert view.tool("a__y") == {"name": "a__y"}
        assert view.tool("y") is None


async def test_unknown_fields_survive_and_malformed_entries_do_not() -> None:
    odd = {"x-new": {"deep": [1]}, "name": "t", "annotations": {"y": None}}
    a = FakeServer("a", tools=[odd, "next", {"title": "no name"}])
    a.lists["tools"] = [[odd, {"name": "next"}, {"title": "no name"}, {"name": 7}]]
    async with running(a) as fleet:
        view = await fleet.catalog.view(ANN)
        assert view.tools == ({**odd, "name": "a__t"}, {"name": "a__next"})
        assert list(view.tools[0]) == list(odd)


async def test_names_are_restored_on_the_way_to_the_server() -> None:
    a = FakeServer("a", tools=["t"], prompts=["p"])
    async with running(a) as fleet:
        target = await fleet.catalog.locate("tools/call", {"name": "a__t", "arguments": {"k": 1}}, ANN)
        assert (target.server, target.params, target.exposed) == (
            "a",
            {"name": "t", "arguments": {"k": 1}},
            "a__t",
        )
        target = await fleet.catalog.locate("prompts/get", {"name": "a__p"}, ANN)
        assert (target.server, target.params) == ("a", {"name": "p"})
        reference = {
            "ref": {"type": "ref/prompt", "name": "a__p", "x": 1},
            "argument": {"name": "n", "value": ""},
        }
        target = await fleet.catalog.locate("completion/complete", reference, ANN)
        assert target.params["ref"] == {"type": "ref/prompt", "name": "p", "x": 1}
        assert reference["ref"]["name"] == "a__p"


async def test_of_two_equal_names_the_first_servers_wins_and_the_log_says_how_to_see_both(caplog) -> None:
    a, b = FakeServer("a", tools=["t"]), FakeServer("b", tools=["t", "u"])
    async with running(a, b, prefixes=BARE) as fleet:
        for caller in (ANN, session("bob", MUTE)):
            assert names((await fleet.catalog.view(caller)).tools) == ["t", "u"]
        assert (await fleet.catalog.locate("tools/call", {"name": "t"}, ANN)).server == "a"
        told = [record.message for record in caplog.records if "is hidden" in record.message]
        assert told == [
            "tool 't' of server 'b' is hidden: server 'a' exposes the same and comes first in the "
            "configuration; set another prefix for server 'b' to show both"
        ]


async def test_a_name_does_not_change_its_owner_because_the_owner_is_down() -> None:
    a, b = FakeServer("a", tools=["t"]), FakeServer("b", tools=["t", "u"])
    async with running(a, b, prefixes=BARE) as fleet:
        a.refuse = "gone"
        a.control.die("exit status 3")
        await turns()
        assert names((await fleet.catalog.view(ANN)).tools) == ["u"]
        with pytest.raises(ServerUnavailable, match="'a' is unavailable: gone"):
            await fleet.catalog.locate("tools/call", {"name": "t"}, ANN)


async def test_a_resource_is_its_listers_then_its_templates_then_the_first_that_has_resources() -> None:
    none = FakeServer("none", capabilities={"tools": {}})
    a = FakeServer("a", resources=["file:///both"], templates=["doc://{id}"])
    b = FakeServer(
        "b", resources=["file:///both", "doc://listed", "file:///b"], templates=["b://{+path}", "bad://{"]
    )
    async with running(none, a, b) as fleet:

        async def owner(uri: str) -> str:
            target = await fleet.catalog.locate("resources/read", {"uri": uri}, ANN)
            assert target.params == {"uri": uri}
            return target.server

        assert await owner("file:///both") == "a"
        assert await owner("file:///b") == "b"
        assert await owner("doc://listed") == "b"
        assert await owner("doc://other") == "a"
        assert await owner("b://x/y/z") == "b"
        assert await owner("bad://{") == "b"
        assert await owner("unheard://of") == "a"
        reference = {"ref": {"type": "ref/resource", "uri": "b://{+path}"}, "argument": {}}
        assert (await fleet.catalog.locate("completion/complete", reference, ANN)).server == "b"
        assert names((await fleet.catalog.view(ANN)).resources) == [
            "file:///both",
            "doc://listed",
            "file:///b",
        ]


async def test_what_nobody_has_is_an_error_that_helps() -> None:
    a, b = FakeServer("a", tools=["search"]), FakeServer("b", capabilities={"tools": {}})
    b.refuse = "no"
    async with running(a, b) as fleet:
        locate = fleet.catalog.locate
        with pytest.raises(
            UnknownTarget, match=r"no server has a tool 'a__serch'; did you mean 'a__search'\?"
        ):
            await locate("tools/call", {"name": "a__serch"}, ANN)
        with pytest.raises(UnknownTarget, match="not connected now: b"):
            await locate("prompts/get", {"name": "p"}, ANN)
        with pytest.raises(ServerUnavailable, match="'b' is unavailable: no"):
            await locate("tools/call", {"name": "b__anything"}, ANN)
        for method, params in (
            ("tools/call", {}),
            ("tools/call", {"name": 3}),
            ("resources/read", {"name": "x"}),
            ("completion/complete", {"ref": "x"}),
            ("completion/complete", {"ref": {"type": "ref/prompt"}}),
        ):
            with pytest.raises(InvalidCall):
                await locate(method, params, ANN)


async def test_every_page_is_read_and_a_cursor_that_goes_round_is_noticed(caplog) -> None:
    a = FakeServer("a")
    a.lists["tools"] = [[{"name": f"t{page}"}] for page in range(7)]
    b = FakeServer("b")
    answer = b.answer

    def going_round(method, params, profile):
        if method != "tools/list":
            return answer(method, params, profile)
        return {"tools": [{"name": "again"}], "nextCursor": "same"}

    b.answer = going_round
    async with running(a, b) as fleet:
        view = await fleet.catalog.view(ANN)
        assert names(view.tools) == [*(f"a__t{page}" for page in range(7)), "b__again"]
        assert b.listed() == 2
        assert "server 'b': tools/list does not end" in caplog.text


async def test_only_what_a_server_declares_is_asked_for() -> None:
    a = FakeServer("a", capabilities={"tools": {}}, tools=["t"])
    async with running(a) as fleet:
        assert {sent.method for sent in a.sent} == {"tools/list"}
        greeting = await fleet.catalog.greeting()
        assert greeting.capabilities == {"tools": {"listChanged": True}}


async def test_one_list_that_fails_does_not_cost_the_others() -> None:
    a = FakeServer("a", tools=["t"], prompts=["p"], resources=["r://1"])
    a.refused = {"prompts/list": (-32603, "broken"), "resources/templates/list": (-32601, "no such method")}
    async with running(a) as fleet:
        view = await fleet.catalog.view(ANN)
        assert (names(view.tools), view.prompts, names(view.resources)) == (["a__t"], (), ["r://1"])
        events = []
        fleet.subscribe(events.append)
        a.refused = {}
        await fleet.catalog.view(ANN)  # asks again, without waiting
        await turns()
        assert events == [ListChanged("prompts", "a")]
        assert names((await fleet.catalog.view(ANN)).prompts) == ["a__p"]


async def test_a_listing_is_kept_per_declared_profile() -> None:
    a = FakeServer("a", tools=["t"])
    a.by_profile[ASKABLE] = {"tools": ["t", "ask"]}
    async with running(a) as fleet:
        assert names((await fleet.catalog.view(ANN)).tools) == ["a__t"]
        assert names((await fleet.catalog.view(session("bob"))).tools) == ["a__t", "a__ask"]
        assert names((await fleet.catalog.view(session("eve"))).tools) == ["a__t", "a__ask"]
        assert a.dialed == [MUTE, ASKABLE]
        assert a.listed() == 2
        # Bob's listing was made on the lane that his calls use.
        assert [lane.pin.key for lane in fleet._units["a"].pool.lanes if lane.pin] == ["bob"]


async def test_a_tool_that_only_its_caller_is_shown_is_found_without_listing_first() -> None:
    a = FakeServer("a", tools=["t"])
    a.by_profile[ASKABLE] = {"tools": ["t", "ask"]}
    async with running(a) as fleet:
        assert (await fleet.catalog.locate("tools/call", {"name": "a__ask"}, session("bob"))).server == "a"


async def test_looking_up_a_tool_waits_for_no_server_but_its_own() -> None:
    a, b = FakeServer("a", tools=["t"]), FakeServer("b", tools=["u"])
    async with running(a, b) as fleet:
        b.held.add("tools/list")
        b.control.tell("notifications/tools/list_changed")
        assert await fleet.catalog.tool("a__t", ANN) == {"name": "a__t"}
        assert await fleet.catalog.tool("a__none", ANN) is None
        assert await fleet.catalog.tool("b__u", ANN) == {"name": "b__u"}
        a.refuse = "gone"
        a.control.die()
        await turns()
        assert await fleet.catalog.tool("a__t", ANN) is None


async def test_listing_at_the_same_time_asks_the_server_once() -> None:
    a = FakeServer("a", tools=["t"])
    async with running(a) as fleet:
        await asyncio.gather(*(fleet.catalog.view(session("bob")) for _ in range(5)))
        assert a.listed() == 2


async def test_a_change_is_passed_on_once_and_listed_anew_when_asked_for() -> None:
    a = FakeServer("a", tools=["t"])
    async with running(a) as fleet:
        events = []
        end = fleet.subscribe(events.append)
        for _ in range(50):
            a.control.tell("notifications/tools/list_changed")
        assert events == [ListChanged("tools", "a")]
        assert a.listed() == 1
        a.lists["tools"] = ["t", "new"]
        assert names((await fleet.catalog.view(ANN)).tools) == ["a__t", "a__new"]
        assert a.listed() == 2
        assert a.listed("prompts/list") == 1
        a.control.tell("notifications/tools/list_changed")
        assert len(events) == 2
        end()
        await fleet.catalog.view(ANN)
        a.control.tell("notifications/resources/list_changed")
        assert len(events) == 2


async def test_somebody_who_begins_to_listen_hears_the_next_change() -> None:
    a = FakeServer("a", tools=["t"])
    async with running(a) as fleet:
        events = []
        fleet.subscribe(events.append)
        a.control.tell("notifications/tools/list_changed")
        fleet.expect_news()
        for _ in range(3):
            a.control.tell("notifications/tools/list_changed")
        assert events == [ListChanged("tools", "a")] * 2


async def test_a_change_during_a_fetch_causes_one_more_fetch() -> None:
    a = FakeServer("a", tools=["t"])
    async with running(a) as fleet:
        events = []
        fleet.subscribe(events.append)
        a.held.add("tools/list")
        a.control.tell("notifications/tools/list_changed")
        viewing = asyncio.create_task(fleet.catalog.view(ANN))
        await turns()
        for _ in range(3):
            a.control.tell("notifications/tools/list_changed")
        await a.sent[-1].result({"tools": [{"name": "old"}]})
        assert not viewing.done()
        await a.sent[-1].result({"tools": [{"name": "new"}]})
        assert names((await viewing).tools) == ["a__new"]
        assert a.listed() == 3
        assert events == [ListChanged("tools", "a")] * 2


async def test_a_listing_lives_as_long_as_the_server_says() -> None:
    clock = HeldClock()
    a = FakeServer("a", era="modern", tools=["t"])
    a.ttl = 60_000
    async with running(a, clock=clock) as fleet:
        await clock.pass_by(59)
        await fleet.catalog.view(ANN)
        assert a.listed() == 1
        a.lists["tools"] = ["u"]
        await clock.pass_by(1)
        events = []
        fleet.subscribe(events.append)
        assert names((await fleet.catalog.view(ANN)).tools) == ["a__u"]
        # Clients that listed before have not been told by the server.
        assert events == [ListChanged("tools", "a")]


async def test_the_greeting_merges_capabilities_and_instructions() -> None:
    a = FakeServer("a", capabilities={"tools": {}, "resources": {"subscribe": True}})
    b = FakeServer("b", capabilities={"tools": {}, "completions": {}})
    a.instructions, b.instructions = "Use a.", "Use b."
    async with running(a, b) as fleet:
        greeting = await fleet.catalog.greeting()
        assert greeting.capabilities == {
            "tools": {"listChanged": True},
            "resources": {"subscribe": True, "listChanged": True},
            "completions": {},
        }
        assert greeting.instructions == "# a\n\nUse a.\n\n# b\n\nUse b."
        view = await fleet.catalog.view(ANN)
        assert (view.capabilities, view.instructions) == (greeting.capabilities, greeting.instructions)


async def test_a_server_not_yet_seen_may_offer_anything() -> None:
    a = FakeServer("a")
    a.refuse = "booting"
    fleet = fleet_of(a, start_grace=0.0)
    await fleet.start()
    await turns()
    assert set((await fleet.catalog.greeting()).capabilities) == {
        "tools",
        "prompts",
        "resources",
        "completions",
        "logging",
    }
    await fleet.aclose()


async def test_what_the_llm_can_meet_is_declared_to_list_by() -> None:
    a = FakeServer("a")
    async with running(a, rules=policy(sampling=Strategy.LLM)):
        assert a.dialed == [frozenset({"sampling"})]
