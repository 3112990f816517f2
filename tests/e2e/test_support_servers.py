"""The servers and clients of the end-to-end tests work with each other, no gateway between."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import subprocess
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from mcp import MCPError, StdioServerParameters
from mcp.client import Client
from mcp.types import CallToolRequest, CallToolRequestParams, ErrorData, ResourceTemplateReference

from tests.support.clients import DECLINED, Mode, Person, accepted, call, connect, sampled, text_of
from tests.support.processes import asking_command, descendants, file_says, none_left
from tests.support.servers.questions import RawResult

Connecting = AbstractAsyncContextManager[Client]


@dataclass(frozen=True)
class Way:
    """One way to reach an asking server."""

    transport: Any
    era: Mode
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "-".join((self.transport, self.era, *(option.strip("-") for option in self.options)))


WAYS = [
    Way("stdio", "handshake"),
    Way("http", "handshake"),
    Way("http", "handshake", ("--unrelated",)),
    Way("sse", "handshake"),
    Way("http", "modern"),
    Way("stdio", "modern"),
]


OFTEN = ("http-handshake", "http-modern")
"""One process serves all tests of each; the others take their turn with the large tables."""
EACH = [way if str(way) in OFTEN else pytest.param(way, marks=pytest.mark.extensive) for way in WAYS]
PIPE, WEB = EACH[0], EACH[4]


class Servers:
    """Asking servers over HTTP, each started when it is first needed and shared by the tests here."""

    def __init__(self) -> None:
        self._urls: dict[Way, str] = {}
        self._processes = contextlib.ExitStack()

    def url(self, way: Way) -> str:
        if way not in self._urls:
            command = asking_command(*way.options, transport=way.transport, era=way.era)
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            self._processes.callback(process.wait)
            self._processes.callback(process.terminate)
            assert process.stdout is not None
            path = "sse" if way.transport == "sse" else "mcp"
            self._urls[way] = f"http://127.0.0.1:{process.stdout.readline().strip()}/{path}"
            self._processes.callback(process.stdout.close)
        return self._urls[way]

    def close(self) -> None:
        self._processes.close()


SERVERS = Servers()


@pytest.fixture(scope="module", autouse=True)
def _servers() -> Iterator[None]:
    yield
    SERVERS.close()


def target(way: Way, *options: str) -> str | StdioServerParameters:
    if way.transport != "stdio":
        return SERVERS.url(dataclasses.replace(way, options=(*way.options, *options)))
    command, *arguments = asking_command(*way.options, *options, era=way.era)
    return StdioServerParameters(command=command, args=arguments)


def reach(way: Way, person: Person | None = None, *options: str, **keys: Any) -> Connecting:
    return connect(target(way, *options), person, way.era, **keys)


def everyone() -> Person:
    return Person(
        sampling=sampled("a thought"),
        elicitation=accepted(name="Ada"),
        roots={"roots": [{"uri": "file:///home"}]},
    )


@pytest.fixture(params=EACH, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


async def test_every_kind_of_question_reaches_the_client_and_its_answer_the_tool(way: Way) -> None:
    person = everyone()
    async with reach(way, person) as client:
        thought = await call(client, "ask_sampling", text="Why?", maxTokens=7, stopSequences=["."])
        form = await call(client, "ask_form", message="Who?")
        link = await call(client, "ask_url")
        roots = await call(client, "ask_roots")
        both = await call(client, "ask_both")
        twice = await call(client, "ask_twice")
        prompt = await client.get_prompt("ask_greet", {"topic": "tea"})
        resource = await client.read_resource("asking://ask")

    assert thought["result"]["content"]["text"] == "a thought"
    assert form["result"] == {"action": "accept", "content": {"name": "Ada"}}
    assert link["result"]["action"] == "accept"
    assert roots["result"]["roots"] == [{"uri": "file:///home"}]
    assert set(both) == {"sampling", "form"}
    assert [list(answer) for answer in twice] == [["result"], ["result"]]
    assert "a thought" in prompt.messages[0].content.text  # type: ignore[union-attr]
    assert "Ada" in resource.contents[0].text  # type: ignore[union-attr]
    (question, *_) = person.questions("sampling/createMessage")
    assert question["maxTokens"] == 7
    assert question["stopSequences"] == ["."]
    assert person.questions("elicitation/create")[0]["message"] == "Who?"


async def test_a_decline_and_an_error_reach_the_tool_as_they_are() -> None:
    rejected = ErrorData(code=-1, message="no", data={"why": "private"})
    async with reach(WAYS[0], Person(sampling=rejected, elicitation=DECLINED)) as client:
        assert await call(client, "ask_form") == {"result": {"action": "decline"}}
        assert await call(client, "ask_sampling") == {
            "error": {"code": -1, "message": "no", "data": {"why": "private"}}
        }


@pytest.mark.parametrize("way", [WAYS[0], WAYS[4]], ids=str)
async def test_listings_come_in_pages_and_completion_completes(way: Way) -> None:
    async with reach(way, None, "--page", "2") as client:
        first = await client.list_tools()
        second = await client.list_tools(cursor=first.next_cursor)
        templates = await client.list_resource_templates()
        (template,) = templates.resource_templates
        reference = ResourceTemplateReference(uri=template.uri_template)
        completed = await client.complete(reference, {"name": "colour", "value": "r"})
    assert [len(first.tools), len(second.tools)] == [2, 2]
    assert completed.completion.values == ["red", "rose"]


async def test_progress_and_logs_reach_the_call_that_asked_and_the_server_knows_its_client(way: Way) -> None:
    steps: list[float] = []
    person = Person()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    person.sampling = sampled("x")
    async with reach(way, person, log_level="info" if way.era == "modern" else None) as client:
        await client.call_tool("progress", {"count": 3}, progress_callback=on_progress)
        await client.call_tool("log", {"levels": ["info", "error"]})
        await person.until(lambda person: len(person.logged) == 2)
        who = await call(client, "whoami")
    assert steps == [1, 2, 3]
    assert [line["data"] for line in person.logged] == ["a info line", "a error line"]
    assert who["capabilities"] == {"sampling": {}}
    assert who["protocolVersion"] == ("2026-07-28" if way.era == "modern" else "2025-11-25")


async def test_subscribers_hear_of_updates_and_of_changed_lists(way: Way) -> None:
    person = Person()
    async with reach(way, person) as client:
        if way.era == "modern":
            listening = client.listen(tools_list_changed=True, resource_subscriptions=["asking://static"])
            async with listening as events:
                await call_text(client, "touch", uri="asking://static")
                await call_text(client, "grow", name="extra")
                heard = [type(await anext(aiter(events))).__name__ for _ in range(2)]
            assert heard == ["ResourceUpdated", "ToolsListChanged"]
        else:
            await client.subscribe_resource("asking://static")
            await call_text(client, "touch", uri="asking://static")
            await person.until_notified("notifications/resources/updated")
            await call_text(client, "grow", name="extra")
            await person.until_notified("notifications/tools/list_changed")
        assert await call_text(client, "extra") == "I am extra"


async def test_a_cancelled_call_is_cancelled_in_the_server(way: Way, tmp_path: Path) -> None:
    record = tmp_path / "record"
    async with reach(way) as client:
        running = asyncio.create_task(client.call_tool("slow", {"record": str(record)}))
        await file_says(record, "started")
        running.cancel()
        await file_says(record, "cancelled")
        with contextlib.suppress(asyncio.CancelledError):
            await running


@pytest.mark.parametrize("way", [PIPE, WEB], ids=str)
async def test_a_tool_may_return_what_the_sdk_does_not_know(way: Way) -> None:
    result = {"resultType": "complete", "content": [], "x-own": [1]}
    params = CallToolRequestParams(name="raw", arguments={"result": result})
    async with reach(way) as client:
        seen = await client.session.send_request(CallToolRequest(params=params), RawResult)
        with pytest.raises(MCPError) as caught:
            await client.call_tool("fail", {"code": -32050, "data": {"x": 1}})
    assert seen.model_dump()["x-own"] == [1]
    assert (caught.value.error.code, caught.value.error.data) == (-32050, {"x": 1})


async def test_a_question_outside_any_call_is_asked_on_the_connection(tmp_path: Path) -> None:
    when, record = tmp_path / "when", tmp_path / "record"
    person = everyone()
    async with reach(WAYS[1], person) as client:
        arguments = {"when": str(when), "record": str(record)}
        assert await call_text(client, "ask_later", **arguments) == "later"
        when.touch()
        await person.until_asked()


@pytest.mark.parametrize("way", [each for each in EACH if each is not EACH[2]], ids=str)
async def test_a_server_of_one_era_refuses_the_other(way: Way) -> None:
    other: Mode = "handshake" if way.era == "modern" else "modern"
    with pytest.raises(BaseException) as caught:
        async with connect(target(way), None, other) as client:
            await client.list_tools()
    assert _has_mcp_error(caught.value), caught.value


async def test_a_crash_ends_the_process_and_nothing_is_left_behind() -> None:
    before = {process.pid for process in descendants()}
    with contextlib.suppress(MCPError, ExceptionGroup):
        async with reach(WAYS[0]) as client:
            who = await call(client, "whoami")
            server = psutil.Process(who["pid"])
            with pytest.raises(MCPError):
                await client.call_tool("crash", {})
            await none_left([server])
    assert {process.pid for process in descendants()} <= before


async def call_text(client: Client, tool: str, **arguments: Any) -> str:
    return text_of(await client.call_tool(tool, arguments))


def _has_mcp_error(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_has_mcp_error(inner) for inner in error.exceptions)
    return isinstance(error, MCPError)
