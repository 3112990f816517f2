"""How many tools server-everything shows: more to a client that can be asked, through the gateway too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from tests.interop.clients import ERA, KINDS, Kind, Seen, Step, converse
from tests.interop.field import Field, directly, field
from tests.interop.field_steps import ANSWERS, HIDDEN

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

HANDSHAKE = [kind for kind in KINDS if ERA[kind] == "handshake"]
CLIENTS: Mapping[str, tuple[Mapping[str, Any], int]] = {
    "without capabilities": ({}, 13),
    "with sampling, elicitation and roots": (ANSWERS, 17),
}
"""What a client answers, and how many tools the server shows to it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everywhere(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Field]:
    async with field(tmp_path_factory.mktemp("field")) as running:
        yield running


def names(seen: Seen, prefix: str = "") -> set[str]:
    shown = {tool["name"] for tool in seen.results[0]["result"]["tools"]}
    return {name.removeprefix(prefix) for name in shown if name.startswith(prefix)}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("server", ["everything", "web"])
@pytest.mark.parametrize("kind", HANDSHAKE)
async def test_a_client_sees_what_the_server_shows_to_such_a_client(
    everywhere: Field, kind: Kind, server: str, client: str, tmp_path: Any
) -> None:
    answers, count = CLIENTS[client]
    async with directly(server, tmp_path, everywhere.web) as (target, _):
        direct = names(await converse(kind, target, [Step("tools/list")], tmp_path, answers))
    through = names(
        await converse(kind, everywhere.url, [Step("tools/list")], tmp_path, answers), f"{server}__"
    )
    assert len(direct) == count
    assert direct - through == HIDDEN
    assert through < direct
