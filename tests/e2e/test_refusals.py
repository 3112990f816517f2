"""A person's decline, cancel or rejection, under every strategy, in both eras and every order of arrival.

The orders: the person refuses while the model still works, after it has answered, and after it has
failed. Once asked, the client decides, up to the moment an answer is delivered.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import pytest

from tests.support.paced import ALL_STRATEGIES, SERVERS, Cell, House, house
from tests.support.parties import REQUESTS

Json = dict[str, Any]
ORDERS = ("while it works", "after its answer", "after its failure")
REFUSALS: dict[str, Json] = {
    "decline": {"result": {"action": "decline", "x-vendor": {"kept": True}}},
    "cancel": {"result": {"action": "cancel"}},
    "reject": {"error": {"code": -1, "message": "User rejected the request", "data": {"until": "monday"}}},
}
RECORDED = {"decline": "declined", "cancel": "dismissed", "reject": "rejected"}


class Case(NamedTuple):
    cell: Cell
    refusal: str
    order: str


def impossible(case: Case) -> str | None:
    """Why a case cannot exist."""
    cell, refusal, order = case
    if cell.kind == "sampling" and refusal != "reject":
        return "a sampling request is rejected; it has no decline"
    if cell.client == "modern" and refusal == "reject":
        return "a 2026-07-28 client has no form for an error: it answers with results"
    if cell.strategy == "magictunnel_handled":
        return "the client is never asked"
    if cell.strategy == "magictunnel_first" and order != "after its failure":
        return "the client is asked only once the LLM has failed"
    if cell.strategy in ("client_forwarded", "client_first") and order != "while it works":
        return "the LLM is not asked before the client"
    if cell.strategy == "hybrid" and cell.asks_in_results and order == "while it works":
        return "the client is asked once the LLM has ended"
    if cell.strategy == "parallel" and cell.kind == "sampling" and order == "after its answer":
        return "the LLM's answer has been delivered"
    return None


EVERY = [
    Case(Cell(*cell), refusal, order)
    for cell in itertools.product(
        ALL_STRATEGIES, ("sampling", "elicitation"), ("handshake", "modern"), SERVERS
    )
    for refusal in REFUSALS
    for order in ORDERS
]
POSSIBLE = [case for case in EVERY if impossible(case) is None]


async def play(h: House, case: Case) -> Json:
    """Have the client refuse, and return the response that its call gets."""
    cell, refusal, order = case
    h.forget("fails" if order == "after its failure" else "waits")
    call = h.call(cell, REQUESTS[cell.kind])
    if order == "after its answer":
        await h.model.until_heard()
        h.model.gate.set()
    if order != "while it works":
        await h.until_llm_is_done()
    await call.answer(REFUSALS[refusal])
    return await call.end()


def told(response: Json) -> Json:
    """What the server got, or the client where a server cannot be told; without the gateway's mark."""
    if "error" in response:
        return {"error": response["error"]}
    got = response["result"]["structuredContent"]["answers"]["q"]
    if "error" in got:
        return {"error": got["error"]}
    result = got.get("result", got)
    return {"result": {key: value for key, value in result.items() if key != "_meta"}}


async def refused(h: House, case: Case) -> str | None:
    """Play a case; return what went wrong."""
    answer, decision = told(await play(h, case)), h.latest
    asked = 0 if case.cell.strategy in ("client_forwarded", "client_first") else 1
    seen = (answer, decision["outcome"], decision["source"], len(h.model.heard))
    must = (REFUSALS[case.refusal], RECORDED[case.refusal], "client", asked)
    if case.order == "while it works" and asked:
        await h.model.heard[0].left.wait()  # the provider's connection was closed
    return None if seen == must else f"{case}:\n    {seen}\nnot {must}"


@pytest.mark.parametrize("server", list(SERVERS))
async def test_a_refusal_reaches_the_server_as_it_was_said_and_nothing_overrides_it(tmp_path, server) -> None:
    cases = [case for case in POSSIBLE if case.cell.server == server]
    async with house(tmp_path, servers=(server,)) as h:
        wrong = [problem for case in cases if (problem := await refused(h, case)) is not None]
    assert not wrong, f"{len(wrong)} of {len(cases)}:\n" + "\n".join(wrong)


def test_the_cases_that_cannot_exist_are_known_and_have_their_reason() -> None:
    reasons = [reason for case in EVERY if (reason := impossible(case)) is not None]
    assert len(set(reasons)) == 7
    assert (len(EVERY), len(POSSIBLE)) == (648, 157)
