"""Questions whose answers lead to the next end, by depth and by number, whoever turns in the circle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client

from tests.support.clients import MODES, Mode
from tests.support.gateway import Running, running_gateway
from tests.support.parties import SAMPLING
from tests.support.raw.peers import entry_of, raw_server

Json = dict[str, Any]
NAMES = ("backchannel/depth", "backchannel/root")
TWICE = {"a": SAMPLING, "b": SAMPLING}


@asynccontextmanager
async def house(folder: Path, *, limits: Json | None = None, **server: Any) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        raw = await stack.enter_async_context(raw_server("stdio-handshake"))
        own = entry_of("raw", raw, **{"isolation": "call", **server})
        config = {
            "limits": limits or {},
            "sampling": {"default_sampling_strategy": "client_forwarded"},
            "external_mcp": {"servers": [own]},
        }
        yield await stack.enter_async_context(running_gateway(folder, config))


class Agent:
    """A client that calls the asking tool again to answer what it is asked.

    `ties` says whether it passes on what the question says of its depth. It keeps what it was
    asked, and the errors that the server got.
    """

    def __init__(self, tool: str, *, ties: bool = True, requests: Json | None = None) -> None:
        self.tool = tool
        self.ties = ties
        self.requests = requests or {"q": SAMPLING}
        self.depths: list[int] = []
        self.roots: set[str] = set()
        self.errors: list[Json] = []
        self.client: Any = None

    async def sample(self, context: Any, params: types.CreateMessageRequestParams) -> Any:
        meta = dict(params.meta or {})
        self.depths.append(meta["backchannel/depth"])
        self.roots.add(meta["backchannel/root"])
        await self.turn({name: meta[name] for name in NAMES} if self.ties else None)
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text="enough"), model="m"
        )

    async def turn(self, meta: Json | None = None) -> None:
        result = await self.client.call_tool(self.tool, {"requests": self.requests}, meta=meta)
        answers = result.structured_content["answers"].values()
        self.errors += [answer["error"] for answer in answers if "error" in answer]

    async def run(self, url: str, mode: Mode) -> None:
        async with Client(url, mode=MODES[mode], sampling_callback=self.sample) as self.client:
            await self.turn()


@pytest.mark.parametrize("mode", ["handshake", "modern"])
@pytest.mark.parametrize("deepest", [1, 3])
async def test_a_client_that_asks_itself_is_stopped_at_the_depth_that_is_set(
    mode: Mode, deepest: int, tmp_path: Path
) -> None:
    agent = Agent("raw__ask")
    async with house(tmp_path, limits={"max_question_depth": deepest}) as gateway:
        await agent.run(gateway.url, mode)
        refused = [one for one in await gateway.decisions() if one["outcome"] == "limited"]
    assert agent.depths == list(range(1, deepest + 1))
    (error,) = agent.errors
    assert error["code"] == -32603
    assert f"at depth {deepest + 1}" in error["message"]
    assert "limits.max_question_depth" in error["message"]
    assert error["data"]["code"] == "E013"
    assert [one["error"] for one in refused] == [error["message"]]


async def test_all_calls_under_one_root_share_the_number_of_questions(tmp_path: Path) -> None:
    """Two questions a call, each answered by another call: four levels would be thirty."""
    agent = Agent("raw__ask", requests=TWICE)
    async with house(tmp_path, max_questions=5) as gateway:
        await agent.run(gateway.url, "handshake")
    assert len(agent.roots) == 1
    assert len(agent.depths) <= 6
    assert {error["data"]["code"] for error in agent.errors} <= {"E003", "E013"}
    assert any("in those made to answer it" in error["message"] for error in agent.errors)


async def test_a_client_that_says_nothing_is_stopped_by_what_it_has_in_flight(tmp_path: Path) -> None:
    agent = Agent("raw__ask", ties=False)
    async with house(tmp_path, max_concurrent_questions=5) as gateway:
        await agent.run(gateway.url, "handshake")
    assert agent.depths == [1] * 5
    (error,) = agent.errors
    assert "max_concurrent_questions" in error["message"]


@pytest.mark.parametrize("inner_depth", [2, 9])
async def test_a_gateway_behind_a_gateway_counts_on_instead_of_anew(tmp_path: Path, inner_depth: int) -> None:
    """The outer one allows four: whichever allows less stops it, and the client hears one count."""
    (tmp_path / "inner").mkdir()
    async with house(tmp_path / "inner", limits={"max_question_depth": inner_depth}) as inner:
        config = {
            "sampling": {"default_sampling_strategy": "client_forwarded"},
            "external_mcp": {"servers": [{"name": "inner", "url": inner.url, "era": "handshake"}]},
        }
        async with running_gateway(tmp_path, config) as outer:
            agent = Agent("inner__raw__ask")
            await agent.run(outer.url, "handshake")
    deepest = min(4, inner_depth)
    assert agent.depths == list(range(1, deepest + 1))
    (error,) = agent.errors
    assert f"at depth {deepest + 1}" in error["message"]


@pytest.mark.parametrize("said", [-1, 0, True, "3", 2.5, None])
async def test_a_depth_that_is_none_counts_as_none(tmp_path: Path, said: Any) -> None:
    agent = Agent("raw__ask", ties=False)
    async with house(tmp_path, limits={"max_question_depth": 1}) as gateway:
        async with Client(gateway.url, mode="legacy", sampling_callback=agent.sample) as agent.client:
            agent.turn = _nothing  # type: ignore[method-assign]
            meta = {"backchannel/depth": said, "backchannel/root": "x" * 65}
            result = await agent.client.call_tool("raw__ask", {"requests": {"q": SAMPLING}}, meta=meta)
    assert "result" in result.structured_content["answers"]["q"]
    assert agent.depths == [1]
    assert agent.roots != {"x" * 65}


async def _nothing(meta: Json | None = None) -> None:
    """Answer without calling anything."""
