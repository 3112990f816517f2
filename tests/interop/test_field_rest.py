"""What server-everything has besides results of tools, through the gateway as directly, for each client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from mcp.client.subscriptions import ResourceUpdated

from tests.interop.clients import ERA, KINDS, Kind, Seen, Step, converse
from tests.interop.field import Field, directly, field
from tests.interop.field_steps import HIDDEN, masked
from tests.interop.recorder import Tape, differences, expected, received
from tests.support.clients import connect

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

Json = dict[str, Any]
PREFIX = "everything__"
TEXT = "demo://resource/dynamic/text/7"
DOCUMENT = "demo://resource/static/document/features.md"
PAGE = 4
LISTINGS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
HANDSHAKE = [kind for kind in KINDS if ERA[kind] == "handshake"]
ASKED = ("prompts/get", "resources/read", "completion/complete")


def steps_of(prefix: str, kind: Kind) -> list[Step]:
    """Return everything but tool calls, and those tool calls that make the server tell something."""

    def prompt(called: str, **arguments: str) -> Step:
        return Step("prompts/get", {"name": prefix + called, "arguments": arguments})

    def complete(ref: Json, name: str, value: str, **more: Json) -> Step:
        return Step("completion/complete", {"ref": ref, "argument": {"name": name, "value": value}, **more})

    team = {"type": "ref/prompt", "name": f"{prefix}completable-prompt"}
    template = {"type": "ref/resource", "uri": "demo://resource/dynamic/text/{resourceId}"}
    steps = [
        *(Step(method, pages=True) for method in LISTINGS),
        prompt("simple-prompt"),
        prompt("args-prompt", city="Zürich", state="ZH"),
        prompt("completable-prompt", department="Sales", name="Eve"),
        prompt("resource-prompt", resourceType="Text", resourceId="7"),
        prompt("args-prompt"),
        *(Step("resources/read", {"uri": uri}) for uri in (DOCUMENT, TEXT, "demo://resource/dynamic/text/x")),
        complete(team, "department", "S"),
        complete(team, "name", "", context={"arguments": {"department": "Sales"}}),
        complete(template, "resourceId", "12"),
    ]
    return steps if ERA[kind] == "modern" else [*steps, *_told(prefix)]


def _told(prefix: str) -> list[Step]:
    """Return what makes a server tell something of itself, which in this era comes on its own stream."""

    def call(called: str, **arguments: Any) -> Step:
        return Step("tools/call", {"name": prefix + called, "arguments": arguments}, progress=True)

    return [
        Step("ping"),
        Step("logging/setLevel", {"level": "debug"}),
        Step("resources/subscribe", {"uri": TEXT}),
        call("toggle-subscriber-updates"),
        Step(until="notifications/resources/updated"),
        call("toggle-subscriber-updates"),
        Step("resources/unsubscribe", {"uri": TEXT}),
        call("gzip-file-as-resource", name="hi.gz", data="data:text/plain,hello"),
        Step(until="notifications/resources/list_changed"),
        Step("resources/list", pages=True),
        Step("resources/read", {"uri": "demo://resource/session/hi.gz"}),
        call("trigger-long-running-operation", duration=0.03, steps=3),
    ]


@dataclass
class Spoken:
    """One kind of client that did all this: directly, and through the gateway."""

    kind: Kind
    ours: Tape
    behind: Tape
    theirs: Tape
    through: Seen


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everywhere(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Field]:
    async with field(tmp_path_factory.mktemp("field"), limits={"page_size": PAGE}) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def spoken(request: Any, everywhere: Field, tmp_path_factory: pytest.TempPathFactory) -> Spoken:
    kind: Kind = request.param
    folder = tmp_path_factory.mktemp(kind)
    behind = everywhere.behind["everything"]
    marks = len(everywhere.front.heard), len(behind.heard)
    through = await converse(kind, everywhere.url, steps_of(PREFIX, kind), folder)
    ours, sent = everywhere.front.since(marks[0]), behind.since(marks[1])
    # A handshake server is not to be spoken to in the modern era: its own era's answer counts.
    alone: Kind = "python-handshake" if kind == "python-modern" else kind
    async with directly("everything", folder, everywhere.web) as (target, theirs):
        await converse(alone, target, steps_of("", kind), folder)
    return Spoken(kind, ours, sent, theirs, through)


def listed(tape: Tape, method: str) -> list[Json]:
    """Return the entries of the first reading of a listing, all pages of it."""
    entries: list[Json] = []
    for page in tape.exchanges(method):
        entries += page.result[LISTINGS[method]]
        if "nextCursor" not in page.result:
            break
    return entries


@pytest.mark.parametrize("method", LISTINGS)
async def test_listings_have_every_entry_as_its_server_lists_it(spoken: Spoken, method: str) -> None:
    entries = listed(spoken.ours, method)
    if method in ("tools/list", "prompts/list"):
        mine = [entry for entry in entries if entry["name"].startswith(PREFIX)]
        entries = [{**entry, "name": entry["name"].removeprefix(PREFIX)} for entry in mine]
    directly = [entry for entry in listed(spoken.theirs, method) if entry["name"] not in HIDDEN]
    assert differences(directly, entries) == ""


@pytest.mark.parametrize("method", ["tools/list", "resources/list"])
async def test_a_client_reads_page_after_page(spoken: Spoken, method: str) -> None:
    pages = [page.result for page in spoken.ours.exchanges(method)]
    assert "nextCursor" in pages[0]
    assert max(len(page[LISTINGS[method]]) for page in pages) == PAGE
    entries = listed(spoken.ours, method)
    ids = [entry.get("uri", entry["name"]) for entry in entries]
    assert len(ids) == len(set(ids)) > PAGE


@pytest.mark.parametrize("method", ASKED)
async def test_prompts_resources_and_completions_are_those_of_a_direct_connection(
    spoken: Spoken, method: str
) -> None:
    ours, theirs = spoken.ours.exchanges(method), spoken.theirs.exchanges(method)
    assert len(ours) == len(theirs) > 2 or ERA[spoken.kind] == "modern"
    for mine, other in zip(ours, theirs, strict=True):
        want = expected(method, other.outcome, client=ERA[spoken.kind], server="handshake")
        # The text of a dynamic resource has the time of day in it.
        tool = "get-resource-reference"
        assert differences(masked(tool, want), masked(tool, received(mine.outcome))) == "", other.params


@pytest.mark.parametrize("method", ASKED)
async def test_the_server_is_asked_what_a_direct_client_asks(spoken: Spoken, method: str) -> None:
    sent = [each.params for each in spoken.behind.exchanges(method)]
    assert differences([each.params for each in spoken.theirs.exchanges(method)], sent) == ""


@pytest.mark.parametrize("spoken", HANDSHAKE, indirect=True)
@pytest.mark.parametrize("method", ["resources/updated", "resources/list_changed", "message"])
async def test_what_the_server_tells_is_what_a_direct_client_hears(spoken: Spoken, method: str) -> None:
    method = f"notifications/{method}"
    theirs = spoken.theirs.notifications(method)
    assert theirs
    assert differences(theirs, spoken.ours.notifications(method)) == ""


@pytest.mark.parametrize("spoken", HANDSHAKE, indirect=True)
async def test_progress_comes_with_the_token_that_its_client_gave(spoken: Spoken) -> None:
    *_, call = spoken.ours.exchanges("tools/call")
    token = call.request.message["params"]["_meta"]["progressToken"]
    want = [{"progress": step, "total": 3, "progressToken": token} for step in (1, 2, 3)]
    assert spoken.ours.notifications("notifications/progress") == want
    assert [step["progress"] for step in spoken.through.progress] == [1, 2, 3]


async def test_a_modern_client_listens_to_a_resource_of_a_handshake_server(everywhere: Field) -> None:
    async with connect(everywhere.url, None, "modern") as client:
        async with client.listen(resource_subscriptions=[TEXT]) as news:
            assert news.honored.resource_subscriptions == [TEXT]
            for _ in range(2):
                await client.call_tool(f"{PREFIX}toggle-subscriber-updates", {})
            assert await anext(aiter(news)) == ResourceUpdated(uri=TEXT)
