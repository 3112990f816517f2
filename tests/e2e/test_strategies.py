"""Six strategies through real sockets: who was asked, who won, who was sent away, and what is said of it.

Each story decides the order in which a client and a model answer. It is played by every strategy,
kind of question, era of client and kind of server, and tells what was seen at each end.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

import pytest

from tests.support.paced import ALL_STRATEGIES, BY_NAME, SERVERS, Cell, House, house
from tests.support.parked import blue, said
from tests.support.parties import REQUESTS, who

Json = dict[str, Any]
KEY = "backchannel/routing"
KINDS = ("sampling", "elicitation")
CLIENTS = ("handshake", "modern")
ANSWERS: dict[str, Json] = {"sampling": {"result": said()}, "elicitation": {"result": blue()}}
ERROR: Json = {"error": {"code": -32603, "message": "broken"}}
LLM_ALONE = ("magictunnel_handled",)
LLM_GOES_FIRST = ("magictunnel_handled", "magictunnel_first")
CLIENT_GOES_FIRST = ("client_forwarded", "client_first")
BOTH = ("parallel", "hybrid")
MODE = {
    "magictunnel_handled": "local_only",
    "client_forwarded": "proxy_only",
    "magictunnel_first": "local_first",
    "client_first": "proxy_first",
    "parallel": "parallel",
    "hybrid": "hybrid",
}


class Seen(NamedTuple):
    """What one play came to. `to_llm` counts requests at the provider's socket.

    `left` says that one of them was closed unanswered, `withdrawn` that the client was told so
    of its question, `legs` are those of the decision.
    """

    answer: str
    source: str | None
    client_asked: bool
    to_llm: int
    left: bool = False
    withdrawn: bool = False
    legs: tuple[tuple[str, str], ...] = ()


Story = Callable[[House, Cell], Awaitable[tuple[Any, Json]]]


def cells(
    strategies: Iterable[str] = ALL_STRATEGIES, kinds: Iterable[str] = KINDS, **fixed: Iterable[str]
) -> list[Cell]:
    clients, servers = fixed.get("clients", CLIENTS), fixed.get("servers", SERVERS)
    return [Cell(*cell) for cell in itertools.product(strategies, kinds, clients, servers)]


def got(response: Json) -> Json:
    """What the server got as its answer, as far as it can be told; else what the client got."""
    if "error" in response:
        return response
    return response["result"]["structuredContent"]["answers"]["q"]


def voice(response: Json) -> str:
    answer = got(response)
    return "both" if "composing" in str(answer.get("result", answer).get("content")) else who(answer)


async def seen(h: House, call: Any, response: Json) -> Seen:
    """Collect what each end has seen, and hold the metadata against the record."""
    answer = got(response)
    result = answer.get("result", answer)
    stamp = result.get("_meta", {}).get(KEY)
    decision = h.latest
    legs = tuple((leg["source"], leg["outcome"]) for leg in decision["legs"])
    if stamp is not None:
        check_stamp(stamp, decision)
    waiting = [heard for heard in h.model.heard if not heard.answered]
    if h.model.mode == "waits":
        for heard in waiting:
            await heard.left.wait()
    return Seen(
        voice(response),
        stamp["source"] if stamp else None,
        call.shown is not None,
        len(h.model.heard),
        any(heard.left.is_set() for heard in h.model.heard),
        call.withdrawn,
        legs,
    )


def check_stamp(stamp: Json, decision: Json) -> None:
    assert stamp["strategy"] == decision["strategy"]
    assert (stamp["level"], stamp["path"]) == ("tool", decision["path"])
    assert stamp["source"] == decision["source"]
    assert [(leg["source"], leg["outcome"]) for leg in stamp["legs"]] == [
        (leg["source"], leg["outcome"]) for leg in decision["legs"]
    ]
    assert stamp["hybrid_processing_mode"].removesuffix("_fallback") == MODE[decision["strategy"]]
    for leg in stamp["legs"]:
        if (leg["source"], leg["outcome"]) == ("llm", "success"):
            assert leg["tokens"] == {"input": 11, "output": 7}
            assert leg["model"]
            assert leg["provider"]


async def compare(h: House, story: Story, expected: Callable[[Cell], Seen], played: list[Cell]) -> None:
    wrong: list[str] = []
    for cell in played:
        call, response = await story(h, cell)
        came, must = await seen(h, call, response), expected(cell)
        if came != must:
            wrong.append(f"{tuple(cell)}:\n    {came}\nnot {must}")
    assert not wrong, f"{len(wrong)} of {len(played)}:\n" + "\n".join(wrong)


C_OK, C_DEFERRED, C_AWAY = ("client", "success"), ("client", "deferred"), ("client", "cancelled")
C_BAD, L_BAD = ("client", "failed"), ("llm", "failed")
L_OK, L_AWAY = ("llm", "success"), ("llm", "cancelled")


# --- the model answers at once ------------------------------------------------------------------


async def the_model_is_quick(h: House, cell: Cell) -> tuple[Any, Json]:
    h.forget("answers")
    call = h.call(cell, REQUESTS[cell.kind])
    if cell.strategy in (*CLIENT_GOES_FIRST, "hybrid"):
        await call.asked()
        if cell.strategy == "hybrid":
            await h.until_llm_is_done()
        await call.answer(ANSWERS[cell.kind])
    return call, await call.end()


def quick(cell: Cell) -> Seen:
    if cell.strategy in LLM_GOES_FIRST:
        return Seen("llm", "llm", False, 1, legs=(L_OK,))
    if cell.strategy in CLIENT_GOES_FIRST:
        return Seen("client", "client", True, 0, legs=(C_OK,))
    if cell.strategy == "hybrid" and cell.kind == "sampling":
        return Seen("both", "both", True, 2, legs=(L_OK, C_OK))
    if cell.strategy == "hybrid":
        return Seen("client", "client", True, 1, legs=(L_OK, C_OK))
    if cell.kind == "sampling" and cell.client == "handshake":
        return Seen("llm", "llm", True, 1, withdrawn=True, legs=(L_OK, C_AWAY))
    # Within its head start: neither a person's form nor a client that answers by retrying is raced.
    return Seen("llm", "llm", False, 1, legs=(L_OK,))


@pytest.mark.parametrize("dialect", list(BY_NAME))
async def test_a_quick_model_wins_where_it_may_and_nobody_else_is_bothered(tmp_path, dialect) -> None:
    async with house(tmp_path, dialect, head_start_ms=30_000) as h:
        await compare(h, the_model_is_quick, quick, cells())
