"""Every tool of every third-party server, through one gateway, as if connected directly.

Compared is the JSON on the wire, not what a client made of it: `recorder` stands at every place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.interop.clients import ERA, KINDS, Kind, Seen, Step, converse
from tests.interop.field import ERAS, copy_of, directly, field, scratch_repository
from tests.interop.field_steps import ANSWERS, HIDDEN, masked, steps_of, tools_of
from tests.interop.recorder import Exchange, Tape, differences, expected, received

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

Json = dict[str, Any]
LIST = Step("tools/list")


@dataclass
class Spoken:
    """One kind of client that called everything: directly, and through the gateway."""

    kind: Kind
    direct: Mapping[str, Tape]
    through: Seen
    front: Tape
    behind: Mapping[str, Tape]
    repositories: tuple[str, str]

    def calls(self, server: str) -> list[Exchange]:
        """Return the calls of one server's tools through the gateway, each with what it ended with."""
        return [
            call
            for call in self.front.exchanges("tools/call")
            if call.params["name"].startswith(f"{server}__")
            and call.outcome.get("resultType") != "input_required"
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def spoken(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Spoken]:
    kind: Kind = request.param
    folder = tmp_path_factory.mktemp(kind)
    template = scratch_repository(folder / "repository")
    ours, theirs = copy_of(template, folder / "ours"), copy_of(template, folder / "theirs")
    client = ERA[kind]
    answers = {name: reply for name, reply in ANSWERS.items() if client == "handshake" or name != "roots"}
    async with field(folder) as everywhere:
        steps = [step for name in ERAS for step in steps_of(name, f"{name}__", ours, client)]
        through = await converse(kind, everywhere.url, [LIST, *steps], folder, answers)
        direct = {}
        for name, era in ERAS.items():
            # A handshake server cannot be spoken to in the modern era: its own era's answer counts.
            alone = "python-handshake" if era == "handshake" and client == "modern" else kind
            async with directly(name, folder, everywhere.web) as (target, direct[name]):
                steps = steps_of(name, "", theirs, client)
                await converse(alone, target, [LIST, *steps], folder, answers)
        yield Spoken(kind, direct, through, everywhere.front, everywhere.behind, (ours, theirs))


@pytest.mark.parametrize("server", ERAS)
async def test_every_tool_is_shown_as_its_server_shows_it(spoken: Spoken, server: str) -> None:
    (listed, *_) = spoken.front.exchanges("tools/list")
    (direct, *_) = spoken.direct[server].exchanges("tools/list")
    prefix = f"{server}__"
    shown = {
        (name := tool["name"].removeprefix(prefix)): {**tool, "name": name}
        for tool in listed.result["tools"]
        if tool["name"].startswith(prefix)
    }
    visible = {tool["name"]: tool for tool in direct.result["tools"] if tool["name"] not in HIDDEN}
    assert differences(visible, shown) == ""
    assert list(shown) == list(visible), "in its server's order"
    assert set(shown) == set(tools_of(server, ERA[spoken.kind])), "each of them is called here"


@pytest.mark.parametrize("server", ERAS)
async def test_results_are_those_of_a_direct_connection(spoken: Spoken, server: str) -> None:
    client = ERA[spoken.kind]
    # A direct handshake client of a server of both eras is answered in the handshake era.
    era = "modern" if client == "modern" and ERAS[server] == "modern" else "handshake"
    direct = spoken.direct[server].exchanges("tools/call")
    through = spoken.calls(server)
    assert len(through) == len(direct) > 0
    for ours, theirs in zip(through, direct, strict=True):
        tool = theirs.params["name"]
        want = masked(tool, expected("tools/call", theirs.outcome, client=client, server=era))
        assert differences(want, masked(tool, received(ours.outcome))) == "", tool


@pytest.mark.parametrize("server", ERAS)
async def test_servers_are_sent_what_a_direct_client_sends(spoken: Spoken, server: str) -> None:
    ours, theirs = spoken.repositories
    direct = [call.params for call in spoken.direct[server].exchanges("tools/call")]
    sent = [call.params for call in spoken.behind[server].exchanges("tools/call")]
    for params in sent if server == "git" else ():
        assert params["arguments"]["repo_path"] == ours
        params["arguments"]["repo_path"] = theirs
    assert differences(direct, sent) == ""
