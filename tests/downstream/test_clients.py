"""Real clients of the SDK, of both eras and all transports, against the client side alone."""

from __future__ import annotations

import asyncio
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.shared.exceptions import MCPError

from gateway.calls.model import Call, CallOutcome
from tests.support.front import Slow, ask, echo, progress

ERAS = ["legacy", "2026-07-28", "sse"]


def client(front: Any, era: str, **options: Any) -> Client:
    if era == "sse":
        return Client(sse_client(front.sse), mode="legacy", **options)
    return Client(front.url, mode=era, **options)


class Person:
    """Answers a form, and remembers what was asked."""

    def __init__(self, action: str = "accept") -> None:
        self.action = action
        self.seen: list[types.ElicitRequestParams] = []

    async def __call__(self, context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        self.seen.append(params)
        return types.ElicitResult(
            action=self.action, content={"x": "left"} if self.action == "accept" else None
        )


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_and_its_result_pass_unchanged(start_front, era) -> None:
    front = await start_front()
    front.servers.behaviours["echo"] = echo
    async with client(front, era) as session:
        tools = await session.list_tools()
        assert [tool.name for tool in tools.tools] == ["echo"]
        result = await session.call_tool("echo", {"a": [1, None]})
        assert result.structured_content["params"]["arguments"] == {"a": [1, None]}
    assert front.in_flight.__len__() == 0


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
async def test_a_question_reaches_the_client_and_its_answer_the_server(start_front, era, action) -> None:
    front = await start_front()
    front.servers.behaviours["ask"] = ask
    person = Person(action)
    async with client(front, era, elicitation_callback=person) as session:
        result = await session.call_tool("ask", {})
    assert result.structured_content["answer"]["action"] == action
    assert [params.message for params in person.seen] == [
        "Which?" if era != "2026-07-28" else "[fake] Which?"
    ]
    if era == "2026-07-28":
        assert result.structured_content["state"] == "server state"


@pytest.mark.parametrize("era", ERAS)
async def test_progress_comes_in_order_and_before_the_result(start_front, era) -> None:
    front = await start_front()
    front.servers.behaviours["progress"] = progress
    seen: list[float] = []

    async def on_progress(value: float, total: float | None, message: str | None) -> None:
        seen.append(value)

    async with client(front, era) as session:
        await session.call_tool("progress", {}, progress_callback=on_progress)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("era", ERAS)
async def test_log_messages_come_at_the_level_the_client_asked_for(start_front, era) -> None:
    front = await start_front()
    front.servers.behaviours["progress"] = progress
    logged: list[Any] = []
    arrived = asyncio.Event()

    async def on_log(params: types.LoggingMessageNotificationParams) -> None:
        logged.append(params.data)
        arrived.set()

    async with client(front, era, logging_callback=on_log, log_level="error") as session:
        if era != "2026-07-28":
            await session.set_logging_level("error")
        await session.call_tool("progress", {}, meta={"progressToken": 5})
        await arrived.wait()
    assert logged == ["done"]


@pytest.mark.parametrize("era", ERAS)
async def test_an_unknown_tool_is_an_error_that_names_it(start_front, era) -> None:
    front = await start_front()
    async with client(front, era) as session:
        with pytest.raises(MCPError, match="no server has a tool 'nope'") as caught:
            await session.call_tool("nope", {})
    assert caught.value.error.code == -32602


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_the_client_gives_up_is_cancelled_behind_the_gateway(start_front, era) -> None:
    front = await start_front()
    slow = front.servers.behaviours["slow"] = Slow()
    async with client(front, era) as session:
        calling = asyncio.create_task(session.call_tool("slow", {}))
        await slow.started.wait()
        calling.cancel()
        await asyncio.wait_for(slow.ended.wait(), 5)
        await asyncio.wait((calling,))


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
async def test_a_defect_of_ours_costs_one_answer_and_tells_nothing(start_front, era, caplog) -> None:
    front = await start_front()

    async def broken(call: Call, scope: Any) -> CallOutcome:
        raise ZeroDivisionError("secret detail")

    front.servers.behaviours.update(broken=broken, echo=echo)
    async with client(front, era) as session:
        with pytest.raises(MCPError) as caught:
            await session.call_tool("broken", {})
        assert "secret" not in str(caught.value)
        await session.call_tool("echo", {})
    assert "secret detail" in caplog.text


async def test_a_lists_change_reaches_a_session_and_a_listener(start_front) -> None:
    front = await start_front()
    heard = asyncio.Event()

    async def on_message(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            heard.set()

    async with (
        client(front, "legacy", message_handler=on_message),
        client(front, "2026-07-28") as modern,
        modern.listen(tools_list_changed=True) as events,
    ):
        front.subscriptions.list_changed("tools")
        await asyncio.wait_for(heard.wait(), 5)
        async for event in events:
            assert type(event).__name__ == "ToolsListChanged"
            break
