"""A real MCP server that asks back, for tests: every transport, both eras.

    python asking.py --transport stdio|http|sse --era handshake|modern [options]

Over HTTP it prints its port as one line; the endpoint is `/mcp`, or `/sse`. A server of one era
refuses the other, as servers in the field do. Tools: see `asking_tools.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import warnings
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import anyio
import mcp.types as types
import uvicorn
from mcp import MCPDeprecationWarning, MCPError
from mcp.server.context import CallNext, ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.runner import serve_loop
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import ListenHandler
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.servers import asking_tools
from tests.support.servers.questions import Asker, InputNeeded, Json
from tests.support.servers.world import World

Context = ServerRequestContext[Any, Any]
STATE_KEY = b"the state key of every asking server"
COLOURS = ("red", "rose", "green", "blue")


class AskingServer(Server[Any]):
    """Declares that its lists change, whichever transport asks for the declaration."""

    def create_initialization_options(self, *args: Any, **kwargs: Any) -> InitializationOptions:
        return super().create_initialization_options(NotificationOptions(True, True, True))


class Handlers:
    """The handlers of one server process."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def list_tools(self, ctx: Context, params: Any) -> types.ListToolsResult:
        names = [*asking_tools.TOOLS, *self.world.grown["tool"]]
        shown, cursor = self._page(names, params)
        tools = [
            types.Tool(name=name, description=f"The tool {name}", input_schema={"type": "object"})
            for name in shown
        ]
        return types.ListToolsResult(tools=tools, next_cursor=cursor)

    async def call_tool(self, ctx: Context, params: types.CallToolRequestParams) -> Any:
        if params.name in self.world.grown["tool"]:
            return asking_tools.text(f"I am {params.name}")
        if params.name not in asking_tools.TOOLS:
            raise MCPError(types.INVALID_PARAMS, f"no tool {params.name}")
        return await asking_tools.call(self.world, self._asker(ctx), params.name, params.arguments or {})

    async def list_prompts(self, ctx: Context, params: Any) -> types.ListPromptsResult:
        argument = types.PromptArgument(name="topic", required=True)
        names, cursor = self._page(["greet", "ask_greet", *self.world.grown["prompt"]], params)
        prompts = [types.Prompt(name=name, arguments=[argument]) for name in names]
        return types.ListPromptsResult(prompts=prompts, next_cursor=cursor)

    async def get_prompt(self, ctx: Context, params: types.GetPromptRequestParams) -> Any:
        """`ask_greet` asks for the words first."""
        words: Any = f"Greet {(params.arguments or {}).get('topic')}"
        if params.name == "ask_greet":
            words = await self._asker(ctx).ask(*asking_tools.sampling({"text": words}))
        return {
            "resultType": "complete",
            "messages": [{"role": "user", "content": asking_tools.text(words)["content"][0]}],
        }

    async def list_resources(self, ctx: Context, params: Any) -> types.ListResourcesResult:
        names, cursor = self._page(["static", "ask", *self.world.grown["resource"]], params)
        resources = [
            types.Resource(uri=f"{self.world.name}://{name}", name=name, mime_type="text/plain")
            for name in names
        ]
        return types.ListResourcesResult(resources=resources, next_cursor=cursor)

    async def list_templates(self, ctx: Context, params: Any) -> types.ListResourceTemplatesResult:
        template = types.ResourceTemplate(uri_template=f"{self.world.name}://memo/{{colour}}", name="memo")
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def read_resource(self, ctx: Context, params: types.ReadResourceRequestParams) -> Any:
        """`…://ask` asks a person before it is read."""
        uri = str(params.uri)
        if not uri.startswith(f"{self.world.name}://"):
            raise MCPError(types.INVALID_PARAMS, f"no resource {uri}", {"uri": uri})
        words: Any = f"the text of {uri}"
        if uri.endswith("://ask"):
            words = await self._asker(ctx).ask(*asking_tools.form({}))
        contents = [{"uri": uri, **asking_tools.text(words)["content"][0]}]
        return {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "contents": contents}

    async def complete(self, ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        values = [colour for colour in COLOURS if colour.startswith(params.argument.value)]
        return types.CompleteResult(completion=types.Completion(values=values, total=len(values)))

    async def subscribe(self, ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        self.world.subscribe(str(params.uri), ctx.session)
        return types.EmptyResult()

    async def unsubscribe(self, ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        self.world.unsubscribe(str(params.uri), ctx.session)
        return types.EmptyResult()

    async def set_level(self, ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
        self.world.level = params.level
        return types.EmptyResult()

    async def initialized(self, ctx: Context, params: types.NotificationParams) -> None:
        self.world.connections.add(id(ctx.session.client_params))

    def _asker(self, ctx: Context) -> Asker:
        return Asker(ctx, self.world.related)

    def _page(self, names: Sequence[str], params: Any) -> tuple[Sequence[str], str | None]:
        start = int(params.cursor) if params is not None and params.cursor else 0
        end = start + self.world.page
        return names[start:end], (str(end) if end < len(names) else None)


async def ask_again(ctx: Context, call_next: CallNext) -> Any:
    """Turn "input needed" into the result that says so; return raw results raw."""
    try:
        return await call_next(ctx)
    except InputNeeded as needed:
        return needed.result


async def bypass(ctx: Context, call_next: CallNext) -> Any:
    """Answer the tool `raw` beside the SDK's models, which drop what they do not know."""
    if ctx.method == "tools/call" and ctx.params is not None and ctx.params.get("name") == "raw":
        return ctx.params["arguments"]["result"]
    return await call_next(ctx)


async def modern_only(ctx: Context, call_next: CallNext) -> Any:
    if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS or ctx.method == "initialize":
        raise _other_era(ctx.protocol_version)
    return await call_next(ctx)


def _other_era(requested: str) -> MCPError:
    data = {"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": requested}
    return MCPError(types.UNSUPPORTED_PROTOCOL_VERSION, "only 2026-07-28 is spoken here", data)


def build(world: World, era: str) -> AskingServer:
    handlers = Handlers(world)

    @contextlib.asynccontextmanager
    async def lifespan(server: Any) -> AsyncIterator[World]:
        async with anyio.create_task_group() as tasks:
            world.tasks = tasks
            yield world
            tasks.cancel_scope.cancel()

    eras: dict[str, Any] = {"on_subscriptions_listen": ListenHandler(world.bus)}
    if era == "handshake":
        eras = {
            "on_subscribe_resource": handlers.subscribe,
            "on_unsubscribe_resource": handlers.unsubscribe,
            "on_set_logging_level": handlers.set_level,
        }
    with warnings.catch_warnings(action="ignore", category=MCPDeprecationWarning):
        server = AskingServer(
            world.name,
            version="1.0",
            instructions=f"Ask {world.name} anything.",
            lifespan=lifespan,
            on_list_tools=handlers.list_tools,
            on_call_tool=handlers.call_tool,
            on_list_prompts=handlers.list_prompts,
            on_get_prompt=handlers.get_prompt,
            on_list_resources=handlers.list_resources,
            on_list_resource_templates=handlers.list_templates,
            on_read_resource=handlers.read_resource,
            on_completion=handlers.complete,
            **eras,
        )
    server.add_notification_handler(
        "notifications/initialized", types.NotificationParams, handlers.initialized
    )
    if era == "modern":
        security = RequestStateSecurity(keys=[STATE_KEY])
        server.middleware += [modern_only, RequestStateBoundary(security, default_audience=world.name)]
    server.middleware += [ask_again, bypass]
    return server


async def serve_stdio(server: AskingServer, era: str) -> None:
    options = server.create_initialization_options()
    async with stdio_server() as (read, write):
        if era == "modern":
            await server.run(read, write, options)
            return
        async with server.lifespan(server) as state:
            await serve_loop(server, read, write, lifespan_state=state, init_options=options)


def http_app(server: AskingServer, era: str) -> ASGIApp:
    """Streamable HTTP in one era; the other is refused as servers that never heard of it refuse it."""
    app = server.streamable_http_app()

    async def only(scope: Scope, receive: Receive, send: Send) -> None:
        version = dict(scope.get("headers", ())).get(b"mcp-protocol-version", b"").decode()
        modern = version not in ("", *HANDSHAKE_PROTOCOL_VERSIONS)
        if scope["type"] != "http" or modern == (era == "modern"):
            await app(scope, receive, send)
            return
        error: Json = {"code": types.INVALID_REQUEST, "message": f"Unsupported protocol version: {version}"}
        if era == "modern":
            error = _other_era(version or "initialize").error.model_dump(exclude_none=True)
        body = {"jsonrpc": "2.0", "id": None, "error": error}
        await JSONResponse(body, status_code=400)(scope, receive, send)

    return only


def sse_app(server: AskingServer) -> ASGIApp:
    transport = SseServerTransport("/messages/")
    options = server.create_initialization_options()

    async def connect(request: Any) -> Response:
        async with transport.connect_sse(request.scope, request.receive, request._send) as (read, write):
            await serve_loop(server, read, write, lifespan_state=None, init_options=options)
        return Response()

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with server.lifespan(server):
            yield

    routes = [Route("/sse", connect), Mount("/messages/", app=transport.handle_post_message)]
    return Starlette(routes=routes, lifespan=lifespan)


async def serve_http(app: ASGIApp, port: int, parser: Literal["auto", "h11"] = "auto") -> None:
    listener = socket.create_server(("127.0.0.1", port))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, http=parser, log_level="error", lifespan="on", timeout_graceful_shutdown=1)
    await uvicorn.Server(config).serve(sockets=[listener])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", choices=["stdio", "http", "sse"], default="stdio")
    parser.add_argument("--era", choices=["handshake", "modern"], default="handshake")
    parser.add_argument("--unrelated", action="store_true", help="ask on the GET stream, naming no call")
    parser.add_argument("--name", default="asking", help="its name, and the scheme of its resources")
    parser.add_argument("--page", type=int, default=1000, help="entries on a page of a listing")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--start-when", type=Path, help="serve only once this file exists")
    return parser.parse_args()


async def main(options: argparse.Namespace) -> None:
    while options.start_when is not None and not options.start_when.exists():
        await anyio.sleep(0.02)
    world = World(options.name, related=not options.unrelated, page=options.page)
    server = build(world, options.era)
    if options.transport == "stdio":
        await serve_stdio(server, options.era)
    elif options.transport == "sse":
        await serve_http(sse_app(server), options.port)
    else:
        await serve_http(http_app(server, options.era), options.port)


if __name__ == "__main__":
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    with contextlib.suppress(KeyboardInterrupt):
        anyio.run(main, arguments())
