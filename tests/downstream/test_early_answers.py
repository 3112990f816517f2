"""A 2026-07-28 client that sends answers with its first request, before it has been asked."""

from __future__ import annotations

from typing import Any

from tests.support.front import ask
from tests.support.raw_http import ENVELOPE, META, call, http, modern

YES = {"action": "accept", "content": {"x": "yes"}}
CAPABLE = {**ENVELOPE, META + "clientCapabilities": {"elicitation": {}}}


def answering(**answers: Any) -> dict[str, Any]:
    request = modern(call("ask"))
    request["json"]["params"] |= {"inputResponses": answers, "_meta": CAPABLE}
    return request


async def test_an_early_answer_counts_once_its_question_has_been_put_to_the_client(start_front) -> None:
    front = await start_front()
    front.servers.behaviours["ask"] = ask
    async with http(front) as client:
        response = await client.post("/mcp", **answering(q=YES, unknown=YES, odd=3))
    assert response.json()["result"]["structuredContent"] == {"answer": YES, "state": "server state"}
    first, second = front.servers.calls
    assert first.resume is None
    assert second.resume is not None
    assert second.resume.answers == {"q": YES}


async def test_an_answer_to_what_is_not_asked_changes_nothing(start_front) -> None:
    front = await start_front()
    front.servers.behaviours["ask"] = ask
    async with http(front) as client:
        result = (await client.post("/mcp", **answering(unknown=YES))).json()["result"]
        assert (result["resultType"], list(result["inputRequests"])) == ("input_required", ["q"])
        refused = await client.post(
            "/mcp", **modern({**call("ask"), "params": {**call("ask")["params"], "inputResponses": 3}})
        )
    assert refused.json()["error"]["code"] == -32602
    assert len(front.servers.calls) == 1
