"""An MCP server that speaks bare JSON, of either era and over any transport: what it gets is what it gives.

    python server.py stdio|http|sse handshake|modern [--unrelated] [--json]

An SDK would check and drop fields on the way; this one does not, so that tests see what is
on the wire. The HTTP ones print their port on the first line. Standard library only.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from httpd import Httpd, Reply, Request
from tools import TOOL, TOOLS, Failure, Json, Send

TRANSPORT, ERA = sys.argv[1], sys.argv[2]
MODERN = ERA == "modern"
PLAIN_JSON = "--json" in sys.argv
INFO = {"name": f"raw-{ERA}", "version": "1", "x-unknown-info": True}
CAPABILITIES = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "logging": {},
    "x-unknown-capability": {"kept": 1},
}
META = "io.modelcontextprotocol/"


class Server:
    """What every transport shares: the tools, and what has been seen."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.seen: list[Json] = []
        self.asked: dict[Any, asyncio.Future[Json]] = {}
        self.calls: dict[tuple[str, Any], asyncio.Task[None]] = {}
        self.listeners: dict[Any, Send] = {}
        self.last = 0
        self.arrived = asyncio.Event()
        self.changed = asyncio.Condition()
        self.later: Any = None

    async def note(self, message: Json) -> None:
        async with self.changed:
            self.seen.append(message)
            self.changed.notify_all()

    async def notified(self, message: Json, session: str = "") -> None:
        """Take a notification of the client."""
        if message["method"] == "notifications/cancelled":
            task = self.calls.get((session, message.get("params", {}).get("requestId")))
            if task is not None:
                task.cancel()
        elif message["method"] == "notifications/arrived":
            self.arrived.set()
        later, self.later = self.later, None
        if later is not None:
            await later()
        await self.note(message)

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
        await self.note(message)
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
        if method == "resources/list":
            return {"resources": [{"uri": f"raw-{TRANSPORT}-{ERA}:///thing", "name": "thing"}]}
        if method in ("resources/subscribe", "resources/unsubscribe") and not MODERN:
            if params["uri"] != f"raw-{TRANSPORT}-{ERA}:///thing":
                raise Failure({"code": -32002, "message": "no such resource"})
            return {}
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
            await self.note({"method": "(no longer listening)", "params": message["params"]})
        raise AssertionError


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
            server.calls["", message["id"]] = asyncio.create_task(server.run(message, send, send))
        else:
            await server.notified(message)


# HTTP


class Http:
    """Streamable HTTP of either era, or HTTP+SSE."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.gets: dict[str, Reply] = {}
        self.streams: list[Reply] = []
        self.sessions = 0

    async def handle(self, request: Request, reply: Reply) -> None:
        if request.method == "GET":
            await self.open_stream(request, reply)
        elif request.method == "DELETE":
            await reply.send(200)
        elif TRANSPORT == "sse":
            await self.message(request, reply)
        else:
            await self.post(request, reply)

    async def open_stream(self, request: Request, reply: Reply) -> None:
        if MODERN:
            await reply.send(405)
            return
        await reply.stream()
        self.gets[request.headers.get("mcp-session-id", "")] = reply
        if TRANSPORT == "sse":
            self.streams.append(reply)
            await reply.event(f"/messages?session={len(self.streams)}", name="endpoint")
        await reply.left.wait()

    def unrelated(self, session: str) -> Send:
        """What is sent on a session's GET stream, if it has one."""

        async def send(message: Json) -> None:
            stream = self.gets.get(session)
            if stream is not None:
                await stream.event(encoded(message))

        return send

    async def message(self, request: Request, reply: Reply) -> None:
        message = request.json
        session = request.path.partition("session=")[2]
        stream = self.streams[int(session) - 1]

        async def send(outgoing: Json) -> None:
            await stream.event(encoded(outgoing))

        if "method" in message and "id" in message:
            run = self.server.run(message, send, send)
            self.server.calls[session, message["id"]] = asyncio.create_task(run)
        else:
            await self.aside(message, session)
        await reply.send(202)

    async def aside(self, message: Json, session: str) -> None:
        if "method" not in message:
            self.server.answered(message)
        else:
            await self.server.notified(message, session)

    async def post(self, request: Request, reply: Reply) -> None:
        message, named = request.json, request.headers.get("mcp-session-id", "")
        if not ("method" in message and "id" in message):
            await self.aside(message, named)
            await reply.send(202)
            return
        if not MODERN and message["method"] == "server/discover":
            error = {"code": -32600, "message": "Bad Request: Missing session ID"}
            await reply.send_json({"jsonrpc": "2.0", "id": "server-error", "error": error}, 400)
            return
        message = {**message, "headers": request.headers}
        session: dict[str, str] = {}
        if message["method"] == "initialize":
            self.sessions += 1
            session["mcp_session_id"] = f"s-{self.sessions}"
        if PLAIN_JSON:
            await self.plain(message, reply, session, self.unrelated(named))
            return
        await reply.stream(**session)

        async def send(outgoing: Json) -> None:
            await reply.event(encoded(outgoing))

        run = asyncio.create_task(self.server.run(message, send, self.unrelated(named)))
        self.server.calls[named, message["id"]] = run
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

    async def plain(self, message: Json, reply: Reply, session: dict[str, str], unrelated: Send) -> None:
        async def send(outgoing: Json) -> None:
            if "method" not in outgoing and "__raw__" not in outgoing and outgoing["id"] == message["id"]:
                await reply.send_json(outgoing, **session)

        await self.server.run(message, send, unrelated)


async def main(server: Server) -> None:
    if TRANSPORT == "stdio":
        await stdio(server)
        return
    async with Httpd(Http(server).handle) as httpd:
        print(httpd.port, flush=True)
        # The port's reader is the server's keeper: when it goes, so does the server.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Server()))
