"""A server with everything that the official conformance suite asks a server for, in both eras.

    python -m tests.interop.everything.server

Speaks Streamable HTTP at `/mcp` on a free port of the loopback address, which it prints as one line.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import anyio
import mcp.types as types
from mcp import MCPDeprecationWarning, MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler

from tests.interop.everything import content
from tests.interop.everything.content import Json
from tests.interop.everything.tools import TOOLS, Call, ToolFailed, ask, form
from tests.support.servers.asking import ask_again, serve_http
from tests.support.servers.questions import Asker

Context = ServerRequestContext[Any, Any]
NAME = "everything"
STATE_KEY = b"the state key of the everything-server"
COMPLETIONS = ("paris", "park", "party")


class EverythingServer(Server[Any]):
    """Declares that its lists change, whichever transport asks for the declaration."""

    def create_initialization_options(self, *args: Any, **kwargs: Any) -> InitializationOptions:
        return super().create_initialization_options(NotificationOptions(True, True, True))


class Handlers:
    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self.subscribed: set[str] = set()

    async def list_tools(self, ctx: Context, params: Any) -> Json:
        return _listing("tools", [tool.listing for tool in TOOLS.values()])

    async def call_tool(self, ctx: Context, params: types.CallToolRequestParams) -> Json:
        tool = TOOLS.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"no tool {params.name}")
        try:
            blocks = await tool.run(self._call(ctx, params.arguments or {}))
        except ToolFailed as error:
            failure = [content.text(str(error))]
            return {"resultType": "complete", "content": failure, "isError": True}
        return {"resultType": "complete", "content": blocks}

    async def list_prompts(self, ctx: Context, params: Any) -> Json:
        return _listing("prompts", content.PROMPTS)

    async def get_prompt(self, ctx: Context, params: types.GetPromptRequestParams) -> Json:
        blocks = content.prompt(params.name, params.arguments or {})
        if params.name == content.ASKING_PROMPT:
            wanted = content.object_of("context", context=content.STRING)
            asked = form("What context should the prompt use?", wanted)
            answers = await ask(self._call(ctx, {}), user_context=asked)
            context = answers["user_context"].get("content", {}).get("context")
            blocks = [content.text(f"Use the following context: {context}")]
        if blocks is None:
            raise MCPError(types.INVALID_PARAMS, f"no prompt {params.name}")
        messages = [{"role": "user", "content": block} for block in blocks]
        return {"resultType": "complete", "messages": messages}

    async def list_resources(self, ctx: Context, params: Any) -> Json:
        return _listing("resources", content.RESOURCES)

    async def list_templates(self, ctx: Context, params: Any) -> Json:
        return _listing("resourceTemplates", content.TEMPLATES)

    async def read_resource(self, ctx: Context, params: types.ReadResourceRequestParams) -> Json:
        contents = content.read(str(params.uri))
        if contents is None:
            raise MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": str(params.uri)})
        return _listing("contents", [contents])

    async def complete(self, ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        values = [word for word in COMPLETIONS if word.startswith(params.argument.value)]
        return types.CompleteResult(completion=types.Completion(values=values, total=len(values)))

    async def subscribe(self, ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        self.subscribed.add(str(params.uri))
        return types.EmptyResult()

    async def unsubscribe(self, ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        self.subscribed.discard(str(params.uri))
        return types.EmptyResult()

    async def set_level(self, ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
        return types.EmptyResult()

    def _call(self, ctx: Context, arguments: Json) -> Call:
        return Call(Asker(ctx, related=True), arguments, self.bus)


def _listing(member: str, entries: list[Json]) -> Json:
    return {"resultType": "complete", member: entries, "ttlMs": 0, "cacheScope": "private"}


def build() -> EverythingServer:
    handlers = Handlers()
    with warnings.catch_warnings(action="ignore", category=MCPDeprecationWarning):
        server = EverythingServer(
            NAME,
            version="1.0",
            on_list_tools=handlers.list_tools,
            on_call_tool=handlers.call_tool,
            on_list_prompts=handlers.list_prompts,
            on_get_prompt=handlers.get_prompt,
            on_list_resources=handlers.list_resources,
            on_list_resource_templates=handlers.list_templates,
            on_read_resource=handlers.read_resource,
            on_completion=handlers.complete,
            on_subscribe_resource=handlers.subscribe,
            on_unsubscribe_resource=handlers.unsubscribe,
            on_set_logging_level=handlers.set_level,
            on_subscriptions_listen=ListenHandler(handlers.bus),
        )
    security = RequestStateSecurity(keys=[STATE_KEY])
    server.middleware += [RequestStateBoundary(security, default_audience=NAME), ask_again]
    return server


async def main() -> None:
    # Of uvicorn's two parsers only h11 trims the white space around a header's value (RFC 9110, 5.5).
    await serve_http(build().streamable_http_app(), 0, parser="h11")


if __name__ == "__main__":
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    with contextlib.suppress(KeyboardInterrupt):
        anyio.run(main)
