"""An MCP server that speaks bare JSON, of either era and over any transport: what it gets is what it gives.

    python server.py stdio|http|sse handshake|modern [--unrelated] [--json]

An SDK would check and drop fields on the way; this one does not, so that tests see what is
on the wire. The HTTP ones print their port on the first line. Standard library only.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from httpd import Httpd, Reply, Request

Json = dict[str, Any]
TRANSPORT, ERA = sys.argv[1], sys.argv[2]
MODERN = ERA == "modern"
UNRELATED = "--unrelated" in sys.argv
PLAIN_JSON = "--json" in sys.argv
INFO = {"name": f"raw-{ERA}", "version": "1", "x-unknown-info": True}
CAPABILITIES = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "logging": {},
    "x-unknown-capability": {"kept": 1},
}
META = "io.modelcontextprotocol/"

Send = Callable[[Json], Awaitable[None]]


class Server:
    """What every transport shares: the tools, and what has been seen."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.seen: list[Json] = []
        self.asked: dict[Any, asyncio.Future[Json]] = {}
        self.calls: dict[Any, asyncio.Task[None]] = {}
        self.listeners: dict[Any, Send] = {}
        self.last = 0
        self.arrived = asyncio.Event()
        self.changed = asyncio.Condition()

    def notified(self, message: Json) -> None:
        """Take a notification of the client."""
        if message["method"] == "notifications/cancelled":
            task = self.calls.get(message.get("params", {}).get("requestId"))
            if task is not None:
                task.cancel()
        elif message["method"] == "notifications/arrived":
            self.arrived.set()
        self.seen.append(message)

    async def ask(self, send: Send, method: str, params: Json | None) -> Json:
        """Send a request to the client and return its whole response message."""
        self.last += 1
        request_id = f"server-{self.last}"
        self.asked[request_id] = asyncio.get_running_loop().create_future()
        message: Json = {"jsonrpc": "2.0", "id": request_id, "method": method}
        if params is not None:
            message["params"] = params
        await send(message)
        return await self.asked[request_id]

    def answered(self, message: Json) -> None:
        future = self.asked.pop(message.get("id"), None)
        if future is not None and not future.done():
            future.set_result(message)

    async def run(self, message: Json, related: Send, unrelated: Send) -> None:
        """Carry out one request and send its response."""
        try:
            result = await self.result(message, related, unrelated)
            response = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        except Failure as failure:
            response = {"jsonrpc": "2.0", "id": message["id"], "error": failure.args[0]}
        await related(response)

    async def result(self, message: Json, related: Send, unrelated: Send) -> Json:
        method, params = message["method"], message.get("params") or {}
        self.seen.append(message)
        if method == "initialize":
            if MODERN:
                raise Failure(
                    {"code": -32022, "message": "no handshake", "data": {"supported": ["2026-07-28"]}}
                )
            return {
                "protocolVersion": params["protocolVersion"],
                "capabilities": CAPABILITIES,
                "serverInfo": INFO,
                "instructions": "Ask.",
                "x-unknown": [1, None],
            }
        if method == "server/discover" and MODERN:
            return {
                "resultType": "complete",
                "supportedVersions": ["2026-07-28"],
                "capabilities": CAPABILITIES,
                "instructions": "Ask.",
                "_meta": {META + "serverInfo": INFO},
            }
        if method == "subscriptions/listen" and MODERN:
            return await self.listen(message, related)
        if method == "tools/list":
            return {"tools": TOOLS, "x-unknown": "kept", "nextCursor": None}
        if method == "tools/call":
            return await TOOL[params["name"]](
                self, message, params.get("arguments") or {}, related, unrelated
            )
        raise Failure({"code": -32601, "message": f"no {method}", "data": {"x-unknown": method}})

    async def listen(self, message: Json, related: Send) -> Json:
        stamp = {"_meta": {META + "subscriptionId": message["id"]}}
        honored = message["params"]["notifications"]
        acknowledged = "notifications/subscriptions/acknowledged"
        await related(
            {"jsonrpc": "2.0", "method": acknowledged, "params": {**stamp, "notifications": honored}}
        )

        async def announce(notification: Json) -> None:
            await related({**notification, "params": {**notification["params"], **stamp}})

        async with self.changed:
            self.listeners[message["id"]] = announce
            self.changed.notify_all()
        try:
            await asyncio.Event().wait()
        finally:
            del self.listeners[message["id"]]
            async with self.changed:
                self.changed.notify_all()
        raise AssertionError


class Failure(Exception):
    """A JSON-RPC error object."""


def notification(method: str, **params: Any) -> Json:
    return {"jsonrpc": "2.0", "method": method, "params": params}


async def echo(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    return {
        "content": [{"type": "text", "text": "ok", "x-unknown": 1.5}],
        "structuredContent": arguments,
        "received": message["params"],
        "_meta": {"com.example/mark": {"deep": [True, None]}},
    }


async def fail(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    raise Failure({"code": -32050, "message": "as asked", "data": {"x-unknown": arguments}})


async def ask(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    """Put `arguments.requests` (by key) to the client, in its era's form, and return all that came back."""
    requests: Json = arguments["requests"]
    if not MODERN:
        send = unrelated if UNRELATED else related
        told = [await server.ask(send, entry["method"], entry.get("params")) for entry in requests.values()]
        answers = dict(zip(requests, told, strict=True))
        return {"content": [], "structuredContent": {"answers": answers}, "answers": answers}
    params = message["params"]
    answers = params.get("inputResponses") or {}
    missing = {key: entry for key, entry in requests.items() if key not in answers}
    state = params.get("requestState")
    rounds = int(state.split("#")[1]) if state else 0
    if missing or rounds < int(arguments.get("rounds", 1)):
        result: Json = {"resultType": "input_required", "requestState": f'{{"ö": 1}}#{rounds + 1}'}
        if not arguments.get("state_only"):
            result["inputRequests"] = missing or requests
        elif rounds == 0:
            result["requestState"] = '{"ö": 1}#1'
        return result
    return {
        "resultType": "complete",
        "content": [],
        "structuredContent": {"answers": answers},
        "answers": answers,
        "requestState": state,
        "rounds": rounds,
    }


async def wait(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    """Never end; a cancellation is noted under `arguments.name`."""
    await unrelated(notification("notifications/message", level="info", data="waiting"))
    await related(notification("notifications/progress", progressToken=_token(message), progress=1))
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        async with server.changed:
            server.cancelled.append(arguments["name"])
            server.changed.notify_all()
        raise
    raise AssertionError


async def progress(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    for step in (1, 2, 3):
        await related(
            notification(
                "notifications/progress", progressToken=_token(message), progress=step, total=3, x=step
            )
        )
    await related(notification("notifications/message", level="info", data={"x-unknown": 1}))
    return {"content": [], "token": _token(message)}


async def seen(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    return {
        "content": [],
        "structuredContent": {"cancelled": server.cancelled},
        "cancelled": server.cancelled,
        "seen": server.seen,
        "listeners": len(server.listeners),
    }


async def until(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    """Return once so many calls were cancelled and so many subscriptions are open."""

    def reached() -> bool:
        enough = len(server.cancelled) >= arguments.get("cancelled", 0)
        return enough and len(server.listeners) == arguments.get("listeners", len(server.listeners))

    async with server.changed:
        await server.changed.wait_for(reached)
    return {"content": [], "cancelled": server.cancelled}


async def big(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    return {"content": [{"type": "text", "text": "é" * (arguments["bytes"] // 2)}]}


async def die(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    print("a last word", file=sys.stderr, flush=True)
    if arguments.get("status") is not None:
        os._exit(arguments["status"])
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


async def ping(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    return {"content": [], "pong": await server.ask(related, "ping", None)}


async def withdraw(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    """Ask, wait to be told that the question has arrived, and take it back."""
    asking = asyncio.ensure_future(server.ask(related, "elicitation/create", {"message": "?"}))
    await server.arrived.wait()
    await related(notification("notifications/cancelled", requestId=f"server-{server.last}", reason="enough"))
    asking.cancel()
    return {"content": []}


async def announce(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    change = notification(arguments["method"], **arguments.get("params", {}))
    if MODERN:
        for send in list(server.listeners.values()):
            await send(change)
    else:
        await unrelated(change)
    return {"content": []}


async def nonsense(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    """Send what is no message, in every way that does not break the framing."""
    for bad in (
        "{not json",
        '"text"',
        "17",
        '{"jsonrpc":"1.0"}',
        '{"jsonrpc":"2.0","id":{},"method":"x"}',
        "[[[]]]",
    ):
        await related({"__raw__": bad})
    await related({"jsonrpc": "2.0", "id": 9999, "result": {}})
    await unrelated({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "what?"}})
    await related(notification("notifications/progress", progressToken=[1], progress="x"))
    await related(notification("notifications/cancelled", requestId={"a": 1}))
    return {"content": [], "sane": True}


TOOL = {
    tool.__name__: tool
    for tool in (echo, fail, ask, wait, progress, seen, until, big, die, ping, withdraw, announce, nonsense)
}
TOOLS = [{"name": name, "inputSchema": {"type": "object"}, "x-unknown": {"of": name}} for name in TOOL]


def _token(message: Json) -> Any:
    return message["params"].get("_meta", {}).get("progressToken")


def encoded(message: Json) -> str:
    return message.get("__raw__") or json.dumps(message)


# stdio


async def stdio(server: Server) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def send(message: Json) -> None:
        sys.stdout.write(encoded(message) + "\n")
        sys.stdout.flush()

    while line := await reader.readline():
        message = json.loads(line)
        if "method" not in message:
            server.answered(message)
        elif "id" in message:
            server.calls[message["id"]] = asyncio.create_task(server.run(message, send, send))
        else:
            server.notified(message)


# HTTP


class Http:
    """Streamable HTTP of either era, or HTTP+SSE."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.get: Reply | None = None

    async def handle(self, request: Request, reply: Reply) -> None:
        if request.method == "GET":
            await self.open_stream(reply)
        elif request.method == "DELETE":
            await reply.send(200)
        elif TRANSPORT == "sse":
            await self.message(request, reply)
        else:
            await self.post(request, reply)

    async def open_stream(self, reply: Reply) -> None:
        if MODERN:
            await reply.send(405)
            return
        await reply.stream()
        self.get = reply
        if TRANSPORT == "sse":
            await reply.event("/messages?session=1", name="endpoint")
        await reply.left.wait()

    async def unrelated(self, message: Json) -> None:
        if self.get is not None:
            await self.get.event(encoded(message))

    async def message(self, request: Request, reply: Reply) -> None:
        message = request.json
        if "method" in message and "id" in message:
            run = self.server.run(message, self.unrelated, self.unrelated)
            self.server.calls[message["id"]] = asyncio.create_task(run)
        else:
            self.aside(message)
        await reply.send(202)

    def aside(self, message: Json) -> None:
        if "method" not in message:
            self.server.answered(message)
        else:
            self.server.notified(message)

    async def post(self, request: Request, reply: Reply) -> None:
        message = request.json
        if not ("method" in message and "id" in message):
            self.aside(message)
            await reply.send(202)
            return
        if not MODERN and message["method"] == "server/discover":
            error = {"code": -32600, "message": "Bad Request: Missing session ID"}
            await reply.send_json({"jsonrpc": "2.0", "id": "server-error", "error": error}, 400)
            return
        message = {**message, "headers": request.headers}
        session = {"mcp_session_id": "s-1"} if message["method"] == "initialize" else {}
        if PLAIN_JSON:
            await self.plain(message, reply, session)
            return
        await reply.stream(**session)

        async def send(outgoing: Json) -> None:
            await reply.event(encoded(outgoing))

        run = asyncio.create_task(self.server.run(message, send, self.unrelated))
        self.server.calls[message["id"]] = run
        leaving = asyncio.ensure_future(reply.left.wait())
        # Only in the modern era does leaving cancel.
        await asyncio.wait({run, leaving} if MODERN else {run}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not run.done():
            run.cancel()
            return
        if not run.cancelled():
            run.result()
        await reply.end()

    async def plain(self, message: Json, reply: Reply, session: dict[str, str]) -> None:
        async def send(outgoing: Json) -> None:
            if "method" not in outgoing and "__raw__" not in outgoing and outgoing["id"] == message["id"]:
                await reply.send_json(outgoing, **session)

        await self.server.run(message, send, self.unrelated)


async def main() -> None:
    server = Server()
    if TRANSPORT == "stdio":
        await stdio(server)
        return
    async with Httpd(Http(server).handle) as httpd:
        print(httpd.port, flush=True)
        # The port's reader is the server's keeper: when it goes, so does the server.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
