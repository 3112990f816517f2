"""Which tools are seen: allowed, denied, and those that need what the gateway does not offer."""

from __future__ import annotations

import pytest

from tests.support.merged import ANYTHING, Told, merged, offering, peer, tools

TASKS = {"requests": {"tools": {"call": {}}}}


def of(support: str, name: str) -> dict:
    return {"name": name, "inputSchema": ANYTHING, "execution": {"taskSupport": support}}


@pytest.mark.parametrize("mode", ["handshake", "modern"])
async def test_only_allowed_tools_are_seen_deny_wins_and_hidden_ones_do_not_exist(tmp_path, mode) -> None:
    servers = {
        "a": Told(says=tools("read_file", "read_mail", "write", "Read"), settings={
            "allow": ["read_*", "s*", "until"], "deny": ["*_mail"],
        }),
        "b": Told(says=tools("other", "write"), settings={"deny": ["[u-w]*"]}),
    }  # fmt: skip
    async with merged(tmp_path, servers) as gateway, peer(gateway, mode) as client:
        assert await client.names() == ["a__read_file", "b__other"]
        assert (await client.call("a__read_file", k=1))["received"]["name"] == "read_file"
        hidden = await client.ask("tools/call", name="a__read_mail", arguments={})
        unknown = await client.ask("tools/call", name="a__read_nope", arguments={})
        told = [answer["error"]["message"] for answer in (hidden, unknown)]
        assert told[0].replace("read_mail", "read_nope") == told[1]
        assert told[0].startswith("no server has a tool 'a__read_mail'")
        assert hidden["error"]["code"] == unknown["error"]["code"] == -32602
        called = [message["params"]["name"] for message in await client.seen("a", "tools/call")]
        assert called == ["read_file", "seen"]
        assert [server["tools"] for server in await servers_of(gateway)] == [4, 3]


async def servers_of(gateway) -> list[dict]:
    return (await gateway.api("/api/servers"))["servers"]


async def test_a_hidden_tool_takes_no_name_from_another_server(tmp_path) -> None:
    bare = {"prefix": "none"}
    servers = {
        "a": Told(says=tools("same"), settings={**bare, "deny": ["*"]}),
        "b": Told(says=tools("same"), settings=bare),
    }
    async with merged(tmp_path, servers) as gateway, peer(gateway) as client:
        assert gateway.gateway.fleet.catalog.clashes() == ()
        assert (await client.call("same"))["received"]["name"] == "same"


async def test_a_tool_that_runs_as_a_task_alone_is_hidden_where_its_server_runs_tasks(tmp_path) -> None:
    listed = {
        "tools/list": {"tools": [of("required", "must"), of("optional", "may"), of("forbidden", "not")]}
    }
    servers = {
        "with": Told(says={**offering("handshake", tools={}, tasks=TASKS), **listed}),
        # What a tool says of tasks counts only where the server has them: 2025-11-25, basic/utilities/tasks.
        "without": Told(says={**offering("handshake", tools={}), **listed}),
        # 2026-07-28 knows no such tools: its tasks are an extension, which no server is told of.
        "modern": Told("http-modern", {**offering("modern", tools={}, tasks=TASKS), **listed}),
    }
    async with merged(tmp_path, servers) as gateway, peer(gateway, "modern") as client:
        every = ["must", "may", "not"]
        assert await client.names() == [
            "with__may",
            "with__not",
            *(f"without__{name}" for name in every),
            *(f"modern__{name}" for name in every),
        ]
        entries = (await client.result("tools/list"))["tools"]
        assert entries[0] == {**of("optional", "may"), "name": "with__may"}
        assert "tasks" not in (await client.result("server/discover"))["capabilities"]
        refused = await client.ask("tools/call", name="with__must", arguments={})
        assert refused["error"]["message"].startswith("no server has a tool 'with__must'")
        called = await client.result("tools/call", name="with__may", arguments={}, task={"ttl": 1})
        assert "task" not in called["received"]
        assert gateway.gateway.fleet.catalog.hidden() == (
            "hidden of server 'with': must: it can only be called as a task, and the gateway offers none",
        )


async def test_people_are_told_what_is_hidden_why_and_which_pattern_matches_nothing(tmp_path) -> None:
    says = tools("read", "write")
    servers = {"a": Told(says=says, settings={"allow": ["r*", "list"], "deny": ["x?"]})}
    async with merged(tmp_path, servers) as gateway:
        hidden, unlisted, undenied = gateway.gateway.fleet.catalog.hidden()
        assert hidden == "hidden of server 'a': write, say, seen, until: no pattern of allow matches"
        assert unlisted.startswith("'list' in allow of server 'a' (")
        assert "gateway.yaml" in unlisted
        assert undenied.startswith("'x?' in deny of server 'a' (")
        assert "matches no tool" in undenied
