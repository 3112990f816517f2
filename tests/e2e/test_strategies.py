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
from tests.support.parked import blue, said, until
from tests.support.parties import REQUESTS, who

pytestmark = pytest.mark.extensive

Json = dict[str, Any]
KEY = "backchannel/routing"
KINDS = ("sampling", "elicitation")
CLIENTS = ("handshake", "modern")
ANSWERS: dict[str, Json] = {"sampling": {"result": said()}, "elicitation": {"result": blue()}}
BROKEN: Json = {"error": {"code": -32603, "message": "broken"}}
LLM_GOES_FIRST = ("magictunnel_handled", "magictunnel_first")
CLIENT_GOES_FIRST = ("client_forwarded", "client_first")
NOBODY = "error -32603"
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
    of its question. `legs` are those of the decision, sorted: which of two came first is for the
    story to arrange.
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
    legs = tuple(sorted((leg["source"], leg["outcome"]) for leg in decision["legs"]))
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
    told = await h.gateway.decisions()
    answered = [decision for decision in told if decision["outcome"] != "deferred"]
    assert [decision["target"] for decision in answered] == [
        f"{cell.server}__{cell.strategy}-{'form' if cell.kind == 'elicitation' else cell.kind}"
        for cell in played
    ]
    assert not wrong, f"{len(wrong)} of {len(played)}:\n" + "\n".join(wrong)


C_OK, C_AWAY = ("client", "success"), ("client", "cancelled")
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
        return Seen("both", "both", True, 2, legs=(C_OK, L_OK))
    if cell.strategy == "hybrid":
        return Seen("client", "client", True, 1, legs=(C_OK, L_OK))
    if cell.kind == "sampling" and cell.client == "handshake":
        return Seen("llm", "llm", True, 1, withdrawn=True, legs=(C_AWAY, L_OK))
    # Within its head start: neither a person's form nor a client that answers by retrying is raced.
    return Seen("llm", "llm", False, 1, legs=(L_OK,))


@pytest.mark.parametrize("dialect", list(BY_NAME))
async def test_a_quick_model_wins_where_it_may_and_nobody_else_is_bothered(tmp_path, dialect) -> None:
    async with house(tmp_path, dialect, head_start_ms=30_000) as h:
        await compare(h, the_model_is_quick, quick, cells())


# --- the client is quicker than the model -------------------------------------------------------


async def the_client_is_quick(h: House, cell: Cell) -> tuple[Any, Json]:
    h.forget("waits")
    call = h.call(cell, REQUESTS[cell.kind])
    await h.model.until_heard()
    if cell.strategy == "hybrid" and cell.asks_in_results:
        h.model.gate.set()  # here the LLM's answer is at hand before the client is asked
    await call.answer(ANSWERS[cell.kind])
    if cell.strategy == "hybrid":
        h.model.gate.set()
    return call, await call.end()


def client_quick(cell: Cell) -> Seen:
    if cell.strategy == "parallel":
        return Seen("client", "client", True, 1, left=True, legs=(C_OK, L_AWAY))
    if cell.kind == "sampling":
        return Seen("both", "both", True, 2, legs=(C_OK, L_OK))
    return Seen("client", "client", True, 1, legs=(C_OK, L_OK))


@pytest.mark.parametrize("dialect", list(BY_NAME))
async def test_a_quick_client_wins_and_the_provider_s_connection_is_closed(tmp_path, dialect) -> None:
    async with house(tmp_path, dialect) as h:
        await compare(h, the_client_is_quick, client_quick, cells(("parallel", "hybrid")))


# --- the model answers while the client thinks --------------------------------------------------


async def the_model_overtakes(h: House, cell: Cell) -> tuple[Any, Json]:
    """The client answers last, whether or not anybody still waits for it."""
    h.forget("waits")
    call = h.call(cell, REQUESTS[cell.kind])
    await call.asked()
    await h.model.until_heard()
    h.model.gate.set()
    await h.until_llm_is_done()
    if cell.client == "handshake" and cell.kind == "sampling":
        response = await call.end()
        await call.answer(ANSWERS[cell.kind])
        return call, response
    if cell.kind == "sampling" and cell.server != "modern":
        # The server's call has ended before the client comes back for its result.
        await until(lambda: "0 parked, 0 running" in repr(h.gateway.gateway._parking))
    await call.answer(ANSWERS[cell.kind])
    return call, await call.end()


def overtaken(cell: Cell) -> Seen:
    if cell.kind == "elicitation":
        # Once asked, the client decides.
        return Seen("client", "client", True, 1, legs=(C_OK, L_OK))
    if cell.asks_in_results:
        return Seen("llm", "llm", True, 1, legs=(C_OK, L_OK))
    return Seen("llm", "llm", True, 1, withdrawn=cell.client == "handshake", legs=(C_AWAY, L_OK))


async def test_a_model_that_overtakes_a_thinking_client_wins_a_sampling_and_no_elicitation(tmp_path) -> None:
    async with house(tmp_path) as h:
        await compare(h, the_model_overtakes, overtaken, cells(("parallel",)))
        assert h.gateway.gateway.broker.gate.open_questions == {}


# --- one fails, or both -------------------------------------------------------------------------


async def the_model_fails(h: House, cell: Cell) -> tuple[Any, Json]:
    h.forget("fails")
    call = h.call(cell, REQUESTS[cell.kind])
    if cell.strategy != "magictunnel_handled":
        await call.answer(ANSWERS[cell.kind])
    return call, await call.end()


def model_failed(cell: Cell) -> Seen:
    if cell.strategy == "magictunnel_handled":
        return Seen(NOBODY, None, False, 1, legs=(L_BAD,))
    if cell.strategy in CLIENT_GOES_FIRST:
        return Seen("client", "client", True, 0, legs=(C_OK,))
    return Seen("client", "client", True, 1, legs=(C_OK, L_BAD))


async def test_a_model_that_fails_is_replaced_by_the_client_where_the_strategy_has_one(tmp_path) -> None:
    async with house(tmp_path, "anthropic") as h:
        await compare(h, the_model_fails, model_failed, cells())


async def fail(cell: Cell, call: Any) -> None:
    """Have the client fail in its era's way: with an error, or with two retries without the answer."""
    if cell.client == "handshake":
        await call.answer(BROKEN)
        return
    await call.keep_silent()
    await call.keep_silent()


async def the_client_fails(h: House, cell: Cell) -> tuple[Any, Json]:
    h.forget("waits" if cell.strategy == "parallel" else "answers")
    call = h.call(cell, REQUESTS[cell.kind])
    if races_on(cell):
        await call.keep_silent()
        await call.asked()
        h.model.gate.set()
        await h.until_llm_is_done()
        await call.keep_silent()
    elif cell.strategy not in LLM_GOES_FIRST:
        await fail(cell, call)
    h.model.gate.set()
    return call, await call.end()


def races_on(cell: Cell) -> bool:
    return cell.strategy == "parallel" and cell.kind == "sampling" and cell.asks_in_results


def client_failed(cell: Cell) -> Seen:
    if cell.strategy in LLM_GOES_FIRST:
        return Seen("llm", "llm", False, 1, legs=(L_OK,))
    if races_on(cell):
        # Its retry, though without an answer, gets what the LLM has said meanwhile.
        return Seen("llm", "llm", True, 1, legs=(L_OK,))
    if cell.strategy == "client_forwarded":
        return Seen(NOBODY, None, True, 0, legs=(C_BAD,))
    return Seen("llm", "llm", True, 1, legs=(C_BAD, L_OK))


async def test_a_client_that_fails_is_replaced_by_a_model_that_is_asked_once(tmp_path) -> None:
    async with house(tmp_path, "ollama") as h:
        await compare(h, the_client_fails, client_failed, cells())


async def both_fail(h: House, cell: Cell) -> tuple[Any, Json]:
    h.forget("fails")
    call = h.call(cell, REQUESTS[cell.kind])
    if cell.strategy != "magictunnel_handled":
        await fail(cell, call)
    return call, await call.end()


def both_failed(cell: Cell) -> Seen:
    tried = {"magictunnel_handled": (L_BAD,), "client_forwarded": (C_BAD,)}
    legs = tried.get(cell.strategy, (C_BAD, L_BAD))
    return Seen(NOBODY, None, C_BAD in legs, int(L_BAD in legs), legs=legs)


async def test_if_everybody_fails_nothing_is_invented_and_each_leg_is_told(tmp_path) -> None:
    async with house(tmp_path) as h:
        await compare(h, both_fail, both_failed, cells())
