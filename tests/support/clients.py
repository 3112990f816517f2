"""Clients on the official SDK, in either era, that answer by script and remember what they saw."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import httpx2
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.session import ClientRequestContext, IncomingMessage
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    CreateMessageResultWithTools,
    ElicitRequestParams,
    ElicitResult,
    ErrorData,
    ListRootsResult,
    LoggingLevel,
    LoggingMessageNotificationParams,
    SamplingCapability,
    SamplingToolsCapability,
    ServerNotification,
)
from pydantic import BaseModel

Json = dict[str, Any]
Mode = Literal["handshake", "modern"]
Reply = Json | ErrorData | Callable[[Json], Awaitable[Json | ErrorData]]
"""The result to answer with, the error, or an async function from the question's params to either."""

MODES: dict[Mode, Any] = {"handshake": "legacy", "modern": "2026-07-28"}
ResultT = TypeVar("ResultT", bound=BaseModel)


def sampled(text: str, model: str = "the-client") -> Json:
    """Return a sampling result."""
    content = {"type": "text", "text": text}
    return {"role": "assistant", "content": content, "model": model, "stopReason": "endTurn"}


def accepted(**content: Any) -> Json:
    """Return an elicitation result with what the person filled in."""
    return {"action": "accept", "content": content}


DECLINED: Json = {"action": "decline"}
REJECTED = ErrorData(code=-1, message="User rejected sampling request")


@dataclass
class Person:
    """What a client answers, and what it was asked. A kind without a reply is not declared."""

    sampling: Reply | None = None
    elicitation: Reply | None = None
    roots: Reply | None = None
    sampling_tools: bool = False
    asked: list[tuple[str, Json]] = field(default_factory=list[tuple[str, Json]])
    logged: list[Json] = field(default_factory=list[Json])
    notified: list[ServerNotification] = field(default_factory=list[ServerNotification])
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def questions(self, method: str) -> list[Json]:
        """Return the params of every question of one method, in order."""
        return [params for asked, params in self.asked if asked == method]

    async def until(self, reached: Callable[[Person], bool], seconds: float = 10.0) -> None:
        """Wait until `reached` holds; it is looked at whenever something arrives.

        Raises:
            AssertionError: it does not hold within `seconds`.
        """
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(lambda: reached(self))
        except TimeoutError:
            raise AssertionError(
                f"never came: asked {self.asked}, logged {self.logged}, notified {self.notified}"
            ) from None

    async def until_asked(self, count: int = 1) -> None:
        """Wait for `count` questions in all."""
        await self.until(lambda person: len(person.asked) >= count)

    async def until_notified(self, method: str) -> None:
        """Wait for a notification."""
        await self.until(lambda person: any(each.method == method for each in person.notified))

    async def sample(
        self, context: ClientRequestContext, params: CreateMessageRequestParams
    ) -> CreateMessageResult | CreateMessageResultWithTools | ErrorData:
        return await self._answer("sampling/createMessage", params, self.sampling, CreateMessageResult)

    async def elicit(
        self, context: ClientRequestContext, params: ElicitRequestParams
    ) -> ElicitResult | ErrorData:
        return await self._answer("elicitation/create", params, self.elicitation, ElicitResult)

    async def list_roots(self, context: ClientRequestContext) -> ListRootsResult | ErrorData:
        return await self._answer("roots/list", None, self.roots, ListRootsResult)

    async def log(self, params: LoggingMessageNotificationParams) -> None:
        async with self._news:
            self.logged.append(_fields(params))
            self._news.notify_all()

    async def message(self, message: IncomingMessage) -> None:
        if isinstance(message, Exception):
            return
        async with self._news:
            self.notified.append(message)
            self._news.notify_all()

    async def _answer(
        self, method: str, params: BaseModel | None, reply: Reply | None, result: type[ResultT]
    ) -> ResultT | ErrorData:
        shown = {} if params is None else _fields(params)
        async with self._news:
            self.asked.append((method, shown))
            self._news.notify_all()
        assert reply is not None, f"{method} was asked though it was not declared"
        answer = await reply(shown) if callable(reply) else reply
        return answer if isinstance(answer, ErrorData) else result.model_validate(answer)


@contextlib.asynccontextmanager
async def connect(
    target: str | StdioServerParameters,
    person: Person | None = None,
    mode: Mode = "handshake",
    *,
    headers: dict[str, str] | None = None,
    log_level: LoggingLevel | None = None,
) -> AsyncIterator[Client]:
    """Connect an SDK client to a URL (`…/sse` is HTTP+SSE) or a command."""
    person = person or Person()
    async with contextlib.AsyncExitStack() as stack:
        transport: Any = target
        if isinstance(target, str) and target.endswith("/sse"):
            transport = sse_client(target, headers=headers)
        elif isinstance(target, str):
            timeout = httpx2.Timeout(30, read=300)
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=timeout))
            transport = streamable_http_client(target, http_client=http)
        client = Client(
            transport,
            mode=MODES[mode],
            sampling_callback=None if person.sampling is None else person.sample,
            sampling_capabilities=(
                SamplingCapability(tools=SamplingToolsCapability()) if person.sampling_tools else None
            ),
            elicitation_callback=None if person.elicitation is None else person.elicit,
            list_roots_callback=None if person.roots is None else person.list_roots,
            logging_callback=person.log,
            message_handler=person.message,
            log_level=log_level,
            cache=None,
        )
        yield await stack.enter_async_context(client)


async def call(client: Client, name: str, **arguments: Any) -> Any:
    """Call a tool of an asking server and return the JSON that its text is."""
    result = await client.call_tool(name, arguments)
    return json.loads(text_of(result))


def text_of(result: Any) -> str:
    """Return the text of a tool result's only content."""
    assert not result.is_error, result
    (content,) = result.content
    return content.text


def _fields(model: BaseModel) -> Json:
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)
