"""Everything MCP has besides questions, through the gateway: both eras of client, every kind of server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mcp import MCPError
from mcp.types import PromptReference, ResourceTemplateReference

from tests.support.clients import Mode, Person, accepted, call, connect, sampled
from tests.support.gateway import Running, running_gateway
from tests.support.processes import asking_http, asking_stdio, file_says

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]
MODES = ["handshake", "modern"]
PIPES = {"pipe": "handshake", "pipenow": "modern"}
WEBS = {
    "web": ("http", "handshake", ()),
    "webget": ("http", "handshake", ("--unrelated",)),
    "old": ("sse", "handshake", ()),
    "webnow": ("http", "modern", ()),
}
SERVERS = [*PIPES, *WEBS]
OFTEN = ("pipe", "web", "webnow")
"""One over a pipe, and one of each era over HTTP; the others take their turn with the large tables."""
SELDOM = pytest.mark.extensive
EACH = [name if name in OFTEN else pytest.param(name, marks=SELDOM) for name in SERVERS]


def cells(*names: str) -> pytest.MarkDecorator:
    """Each of these servers with each era of client; one over a pipe, started for each, oftenest with one."""
    often = {(name, mode) for name in OFTEN for mode in MODES} - {("pipe", "modern")}
    each = [
        pytest.param(name, mode, marks=() if (name, mode) in often else SELDOM)
        for name in names
        for mode in MODES
    ]
    return pytest.mark.parametrize(("name", "mode"), each)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        options = ("--page", "7")
        servers: list[Json] = [
            {"name": name, **asking_stdio(*options, "--name", name, era=era)} for name, era in PIPES.items()
        ]
        for name, (transport, era, more) in WEBS.items():
            web = asking_http(*options, *more, "--name", name, transport=transport, era=era)
            servers.append({"name": name, **(await stack.enter_async_context(web)).entry()})
        folder = tmp_path_factory.mktemp("gateway")
        config = {"external_mcp": {"servers": servers}}
        yield await stack.enter_async_context(running_gateway(folder, config))


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "record"


@pytest.mark.parametrize("mode", MODES)
async def test_listings_of_all_servers_are_one_with_every_page_of_each(gateway: Running, mode: Mode) -> None:
    async with connect(gateway.url, None, mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        prompts = [prompt.name for prompt in (await client.list_prompts()).prompts]
        resources = [str(resource.uri) for resource in (await client.list_resources()).resources]
        templates = (await client.list_resource_templates()).resource_templates
    for name in SERVERS:
        assert f"{name}__echo" in tools
        assert f"{name}__grow" in tools, "the last tool is on a later page of the server's listing"
        assert f"{name}__greet" in prompts
        assert f"{name}://static" in resources
    assert [template.uri_template for template in templates] == [
        f"{name}://memo/{{colour}}" for name in SERVERS
    ]
    assert tools == sorted(tools, key=lambda tool: SERVERS.index(tool.partition("__")[0])), (
        "configuration order"
    )


@cells(*SERVERS)
async def test_prompts_resources_templates_and_completion_reach_their_server(gateway, name, mode) -> None:
    async with connect(gateway.url, None, mode) as client:
        prompt = await client.get_prompt(f"{name}__greet", {"topic": "rain"})
        assert prompt.messages[0].content.text == "Greet rain"
        read = await client.read_resource(f"{name}://static")
        assert read.contents[0].text == f"the text of {name}://static"
        memo = await client.read_resource(f"{name}://memo/red")
        assert memo.contents[0].text == f"the text of {name}://memo/red"
        for ref in (
            PromptReference(type="ref/prompt", name=f"{name}__greet"),
            ResourceTemplateReference(type="ref/resource", uri=f"{name}://memo/{{colour}}"),
        ):
            completion = (await client.complete(ref, {"name": "colour", "value": "r"})).completion
            assert completion.values == ["red", "rose"]
        with pytest.raises(MCPError, match="elsewhere"):
            await client.read_resource("elsewhere://static")


@cells(*SERVERS)
async def test_progress_and_logs_come_with_their_call(gateway, name, mode) -> None:
    seen: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    person = Person()
    async with connect(gateway.url, person, mode, log_level="warning") as client:
        if mode == "handshake":
            await client.set_logging_level("warning")
        await client.call_tool(f"{name}__progress", {"count": 3}, progress_callback=on_progress)
        assert seen == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]
        # Log lines name no call. Those on the call's own stream are its caller's, and those on a
        # connection that has served nobody else; the rest goes to the gateway's own log.
        if name in ("web", "webnow") or (mode == "handshake" and name in ("pipe", "old")):
            await client.call_tool(f"{name}__log", {"levels": ["info", "warning", "error"]})
            await person.until(lambda one: len(one.logged) >= 2)
            assert [line["level"] for line in person.logged] == ["warning", "error"]


@cells(*SERVERS)
async def test_a_cancelled_call_is_cancelled_at_its_server(gateway, name, mode, record) -> None:
    async with connect(gateway.url, None, mode) as client:
        calling = asyncio.create_task(client.call_tool(f"{name}__slow", {"record": str(record)}))
        await file_says(record, "started")
        calling.cancel()
        await asyncio.wait((calling,))
        await file_says(record, "cancelled")
        assert await call(client, f"{name}__echo", n=1) == {"n": 1}


@cells(*SERVERS)
async def test_a_list_that_changes_is_told_and_listed_anew(gateway, name, mode) -> None:
    person = Person()
    grown = f"new_for_{mode}"
    async with connect(gateway.url, person, mode) as client:
        if mode == "modern":
            async with client.listen(tools_list_changed=True) as events:
                await client.call_tool(f"{name}__grow", {"name": grown})
                async with asyncio.timeout(15):
                    await anext(aiter(events))
        else:
            await client.call_tool(f"{name}__grow", {"name": grown})
            await person.until_notified("notifications/tools/list_changed")
        assert f"{name}__{grown}" in {tool.name for tool in (await client.list_tools()).tools}
        result = await client.call_tool(f"{name}__{grown}", {})
    assert result.content[0].text == f"I am {grown}"


@cells(*OFTEN)
@pytest.mark.parametrize("kind", ["prompt", "resource"])
async def test_prompts_and_resources_that_change_are_told_too(gateway, name, mode, kind) -> None:
    person = Person()
    method = f"notifications/{kind}s/list_changed"
    async with connect(gateway.url, person, mode) as client:
        growing = {"name": f"{kind}_for_{mode}", "kind": kind}
        if mode == "modern":
            async with client.listen(**{f"{kind}s_list_changed": True}) as events:
                await client.call_tool(f"{name}__grow", growing)
                async with asyncio.timeout(15):
                    await anext(aiter(events))
        else:
            await client.call_tool(f"{name}__grow", growing)
            await person.until_notified(method)


@cells(*OFTEN, "pipenow")
async def test_a_resource_that_changes_is_told_to_who_subscribed(gateway, name, mode) -> None:
    subscriber, bystander = Person(), Person()
    uri = f"{name}://static"
    async with connect(gateway.url, subscriber, mode) as client, connect(gateway.url, bystander) as other:
        if mode == "modern":
            async with client.listen(resource_subscriptions=[uri]) as events:
                await client.call_tool(f"{name}__touch", {"uri": uri})
                async with asyncio.timeout(15):
                    assert (await anext(aiter(events))).uri == uri
        else:
            await client.subscribe_resource(uri)
            await client.call_tool(f"{name}__touch", {"uri": uri})
            await subscriber.until_notified("notifications/resources/updated")
            await client.unsubscribe_resource(uri)
        await other.list_tools()
    assert "notifications/resources/updated" not in {each.method for each in bystander.notified}


@cells(*SERVERS)
async def test_prompts_and_resources_can_ask_too(gateway, name, mode) -> None:
    person = Person(sampling=sampled("good day"), elicitation=accepted(name="Ada"))
    async with connect(gateway.url, person, mode) as client:
        prompt = await client.get_prompt(f"{name}__ask_greet", {"topic": "rain"})
        assert "good day" in prompt.messages[0].content.text
        read = await client.read_resource(f"{name}://ask")
        assert "Ada" in read.contents[0].text
    assert [method for method, _ in person.asked] == ["sampling/createMessage", "elicitation/create"]


@pytest.mark.parametrize("name", EACH)
async def test_what_is_declared_to_a_server_is_what_its_caller_can_be_asked(gateway, name) -> None:
    person = Person(sampling=sampled("x"), elicitation=accepted())
    async with connect(gateway.url, person) as client:
        able = (await call(client, f"{name}__whoami"))["capabilities"]
    async with connect(gateway.url, None) as client:
        unable = (await call(client, f"{name}__whoami"))["capabilities"]
    assert {"sampling", "elicitation"} <= set(able)
    assert not {"sampling", "elicitation"} & set(unable or {})
