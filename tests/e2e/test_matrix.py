"""Every cell: client × server × question × strategy × what the client does, over real transports.

Each cell says what the server (or, where a server cannot be told, the client) got, who the
decision log says gave it, and how many questions the client saw.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.gateway import Running, running_gateway
from tests.support.handshake_client import handshake_client
from tests.support.modern_client import ModernClient, Round, modern_client
from tests.support.parked import blue, said
from tests.support.parties import ELICITATION, ENVIRON, SAMPLING, llm_config, speaking_llm
from tests.support.raw.by_strategy import STRATEGIES
from tests.support.raw.peers import entry_of, raw_server

pytestmark = pytest.mark.extensive

Json = dict[str, Any]
SCRIPT = Path(__file__).parents[1] / "support" / "raw" / "by_strategy.py"

CLIENTS = ("handshake", "modern")
SERVERS = {
    "stdio": ("stdio-handshake",),
    "http-related": ("http-handshake",),
    "http-unrelated": ("http-handshake", "--unrelated"),
    "sse": ("sse-handshake",),
    "http-modern": ("http-modern",),
    "stdio-modern": ("stdio-modern",),
}
REQUESTS: dict[str, Json] = {
    "sampling": SAMPLING,
    "form": ELICITATION,
    "url": {
        "method": "elicitation/create",
        "params": {"mode": "url", "message": "Visit", "url": "https://x.test", "elicitationId": "e"},
    },
    "roots": {"method": "roots/list"},
}
BEHAVIOURS = ("answers", "declines", "rejects", "lacks", "hangs")
ANSWERS: dict[str, Json] = {
    "sampling": said("the client speaking"),
    "form": blue(),
    "url": {"action": "accept"},
    "roots": {"roots": [{"uri": "file:///home"}]},
}
EVERYTHING: Json = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {}}
HANG = 0.5
"""Seconds that a client has which does not use them."""


class Cell(NamedTuple):
    client: str
    server: str
    request: str
    strategy: str
    behaviour: str

    @property
    def crossing(self) -> bool:
        """Whether the client answers by retrying while the server waits."""
        return self.client == "modern" and not self.server.endswith("modern")

    @property
    def turn(self) -> Any:
        """What cells have in common that must go one by one."""
        if self.server not in ("stdio", "sse", "http-unrelated"):
            return self
        if self.behaviour == "lacks":
            # Nothing that is asked of these can reach a client: all of them may share a connection.
            return (self.behaviour, self.server)
        return (self.client, self.behaviour, self.server) if self.client == "handshake" else self

    @property
    def tool(self) -> str:
        return f"{self.server}__{self.strategy}-{self.request}"


class Row(NamedTuple):
    answer: str
    source: str | None
    asked: int


ALL = [
    Cell(*cell) for cell in itertools.product(CLIENTS, SERVERS, list(REQUESTS)[:3], STRATEGIES, BEHAVIOURS)
]
ROOTS = [
    Cell(client, server, "roots", "client_forwarded", behaviour)
    for client, server, behaviour in itertools.product(CLIENTS, SERVERS, ("answers", "lacks"))
]


def impossible(cell: Cell) -> str | None:
    """Why a cell cannot exist."""
    if cell.request == "sampling" and cell.behaviour == "declines":
        return "a sampling request is rejected; it has no decline"
    if cell.request != "sampling" and cell.behaviour == "rejects":
        return "an elicitation is declined; -1 is how a sampling request is rejected"
    if cell.client == "modern" and cell.behaviour == "rejects":
        return "a 2026-07-28 client has no form for an error: it answers with results"
    return None


def expected(cell: Cell) -> Row:
    """What the specification of the strategies says."""
    if cell.request == "roots":
        return roots(cell)
    by_llm = Row("llm", "llm", 0) if cell.request != "url" else None
    if cell.strategy == "magictunnel_handled":
        return by_llm or Row("error -32601", None, 0)
    if cell.strategy == "magictunnel_first" and by_llm is not None:
        return by_llm
    if cell.behaviour in ("answers", "declines", "rejects"):
        answer = {"answers": "client", "declines": "decline", "rejects": "error -1"}[cell.behaviour]
        return Row(answer, "client", 1)
    fallback = by_llm if cell.strategy == "client_first" else None
    if cell.behaviour == "lacks":
        return fallback or Row("error -32601", None, 0)
    if cell.crossing:
        return Row("start again", None, 1)
    if cell.client == "modern":
        return Row("nothing waits", "client", 1)
    return Row("llm", "llm", 1) if fallback else Row("error -32603", None, 1)


def roots(cell: Cell) -> Row:
    """A handshake server is told roots on a connection that is one client's own, and nowhere else."""
    own = cell.client == "handshake" and cell.server in ("stdio", "sse")
    if cell.behaviour == "answers" and (own or cell.server.endswith("modern")):
        return Row("client", "client", 1)
    return Row("error -32601", None, 0)


def behave(kind: str, behaviour: str) -> Json | None:
    """What a client makes of a question."""
    if behaviour == "hangs":
        return None
    if behaviour == "rejects":
        return {"error": {"code": -1, "message": "User rejected sampling request"}}
    return {"result": {"action": "decline"} if behaviour == "declines" else ANSWERS[kind]}


def kind_of(question: Json) -> str:
    named = {"sampling/createMessage": "sampling", "roots/list": "roots"}
    return named.get(question["method"]) or ("url" if question["params"].get("mode") == "url" else "form")


def told(response: Json) -> str:
    """Whose answer the server got; where the call ended with an error, the client did."""
    if "error" in response:
        code = response["error"]["code"]
        return "start again" if code == -32800 else f"error {code}"
    got = response["result"]["structuredContent"]["answers"]["q"]
    if "error" in got:
        return f"error {got['error']['code']}"
    result = got.get("result", got)
    if result.get("action") == "decline":
        return "decline"
    return "llm" if "llm" in str({**result, "_meta": None}).lower() else "client"


@asynccontextmanager
async def matrix(folder: Path, limit: float) -> AsyncIterator[Running]:
    """A gateway before one server of each kind, that routes by tool. Clients have `limit` seconds."""
    async with AsyncExitStack() as stack:
        llm = await stack.enter_async_context(speaking_llm())
        servers: list[Json] = []
        for name, (kind, *flags) in SERVERS.items():
            raw = await stack.enter_async_context(raw_server(kind, *flags, script=SCRIPT))
            servers.append(entry_of(name, raw, max_lanes=64, lane_idle_seconds=2))
        (folder / "capabilities").mkdir()
        entries = [
            f"  - {{name: {strategy}-{kind}, server: {name}, {of}_strategy: {strategy}}}\n"
            for name, strategy in itertools.product(SERVERS, STRATEGIES)
            for kind, of in (("sampling", "sampling"), ("form", "elicitation"), ("url", "elicitation"))
        ]
        (folder / "capabilities" / "tools.yaml").write_text("tools:\n" + "".join(entries))
        config: Json = {
            "sampling": {"llm_config": llm_config(llm), "default_timeout_seconds": limit},
            "elicitation": {"default_timeout_seconds": limit},
            "decisions": {"keep": 5000},
            "external_mcp": {"servers": servers},
        }
        yield await stack.enter_async_context(running_gateway(folder, config, ENVIRON))


async def play(gateway: Running, cells: Sequence[Cell]) -> Mapping[Cell, Row]:
    """Play every cell, many at once; each kind of client is one session."""
    rows: dict[Cell, Row] = {}
    room = asyncio.Semaphore(12)
    turns = defaultdict[Any, asyncio.Lock](asyncio.Lock)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        clients: dict[tuple[str, str], Any] = {}
        for client, behaviour in sorted({(cell.client, cell.behaviour) for cell in cells}):
            clients[client, behaviour] = await stack.enter_async_context(
                _client(gateway.base, client, behaviour)
            )

        async def run(cell: Cell) -> None:
            # A server that names no call has its question put to the oldest: they go one by one here.
            async with turns[cell.turn], room:
                client = clients[cell.client, cell.behaviour]
                playing = _modern if isinstance(client, ModernClient) else _handshake
                answer, asked = await playing(client, cell)
                rows[cell] = Row(answer, _source(gateway, cell), asked)

        for cell in cells:
            tasks.create_task(run(cell))
    return rows


def _client(base: str, client: str, behaviour: str) -> Any:
    capabilities = {} if behaviour == "lacks" else EVERYTHING
    if client == "modern":
        return modern_client(base, capabilities, name=f"modern {behaviour}")
    return handshake_client(
        base,
        capabilities,
        lambda question: behave(kind_of(question), behaviour),
        name=f"handshake {behaviour}",
    )


def _source(gateway: Running, cell: Cell) -> str | None:
    name = f"{cell.client} {cell.behaviour}"
    decisions = gateway.gateway.log.recent(5000, server=cell.server)
    sources = {
        decision["source"]
        for decision in decisions
        if (decision["client"], decision["target"]) == (name, cell.tool)
    }
    return sources.pop() if len(sources) == 1 else None if not sources else str(sources)


async def _handshake(client: Any, cell: Cell) -> tuple[str, int]:
    response, asked = await client.call(cell.tool, {"requests": {"q": REQUESTS[cell.request]}})
    assert all(kind_of(question) == cell.request for question in asked)
    return told(response), len(asked)


async def _modern(client: ModernClient, cell: Cell) -> tuple[str, int]:
    call = client.tool(cell.tool, requests={"q": REQUESTS[cell.request]})
    last, asked = await call.send(), 0
    while last.response.get("result", {}).get("resultType") == "input_required":
        (question,) = last.requests.values()
        assert kind_of(question) == cell.request
        asked += 1
        behaved = behave(cell.request, cell.behaviour)
        if behaved is None and not cell.crossing:
            return "nothing waits", asked
        if behaved is None:
            last = await _late(call, last)
            continue
        last = await call.answer(last, behaved["result"])
    return told(last.response), asked


async def _late(call: Any, shown: Round) -> Round:
    """Come back when it is too late."""
    waited = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(2 * HANG, waited.set_result, None)
    await waited
    return await call.answer(shown, ANSWERS["sampling"])


async def compare(gateway: Running, cells: Sequence[Cell]) -> None:
    rows = await play(gateway, cells)
    wrong = {cell: (rows[cell], expected(cell)) for cell in cells if rows[cell] != expected(cell)}
    shown = "\n".join(
        f"{tuple(cell)}: {tuple(row)}, not {tuple(must)}" for cell, (row, must) in wrong.items()
    )
    assert not wrong, f"{len(wrong)} of {len(cells)} cells:\n{shown}"


async def test_each_cell_in_which_the_client_does_something(tmp_path) -> None:
    cells = [cell for cell in ALL if impossible(cell) is None and cell.behaviour != "hangs"]
    async with matrix(tmp_path, limit=60) as gateway:
        await compare(gateway, cells + ROOTS)


async def test_each_cell_in_which_the_client_hangs(tmp_path) -> None:
    cells = [cell for cell in ALL if impossible(cell) is None and cell.behaviour == "hangs"]
    async with matrix(tmp_path, HANG) as gateway:
        await compare(gateway, cells)


def test_cells_that_cannot_exist_are_known_and_have_their_reason() -> None:
    reasons = [reason for cell in ALL if (reason := impossible(cell)) is not None]
    assert (len(ALL), len(reasons), len(ROOTS)) == (720, 168, 24)
    assert {reason: reasons.count(reason) for reason in set(reasons)} == {
        "a sampling request is rejected; it has no decline": 48,
        "an elicitation is declined; -1 is how a sampling request is rejected": 96,
        "a 2026-07-28 client has no form for an error: it answers with results": 24,
    }
