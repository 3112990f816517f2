"""An MCP server that has every fault of `faults.py`, as tools: bare JSON, of either era.

    python server.py stdio|http|sse handshake|modern [--pages] [--tools=N] [--instructions=N]

The HTTP ones print their port on the first line. `--pages` makes its listing go on for ever.
`tests.support.raw.peers.raw_server` runs it, with this file as `script`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "support" / "raw"))
sys.path.insert(0, str(Path(__file__).parent))
from faults import FAULTS, Json
from httpd import Httpd, Reply, Request

TRANSPORT, ERA = sys.argv[1], sys.argv[2]
FLAGS = dict(flag.removeprefix("--").partition("=")[::2] for flag in sys.argv[3:])
INSTRUCTIONS = "i" * int(FLAGS.get("instructions", "0"))
META = "io.modelcontextprotocol/"


class Answers:
    """The client's answers to what was asked, waited for by their number."""

    def __init__(self) -> None:
        self.got: list[Json] = []
        self.changed = asyncio.Condition()

    async def put(self, message: Json) -> None:
        async with self.changed:
            self.got.append(message)
            self.changed.notify_all()

    async def wait(self, count: int) -> list[Json]:
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.got) >= count)
            got, self.got = self.got, []
            return got


ANSWERS = Answers()


def simple(message: Json) -> Json | None:
    """The result of whatever is no tool call; None for what this server does not have."""
    method, params = message["method"], message.get("params") or {}
    capabilities = {"tools": {"listChanged": True}, "logging": {}}
    if method == "initialize" and ERA == "handshake":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": capabilities,
            "serverInfo": {"name": "faulty", "version": "1"},
            "instructions": INSTRUCTIONS,
        }
    if method == "server/discover" and ERA == "modern":
        return {
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}},
            "instructions": INSTRUCTIONS,
            "_meta": {META + "serverInfo": {"name": "faulty", "version": "1"}},
        }
    if method == "tools/list":
        return {"resultType": "complete", **listing(params)}
    return None


def listing(params: Json) -> Json:
    """Every fault as a tool, and what the flags add."""
    page = int(params.get("cursor") or 0)
    names = list(FAULTS) if page == 0 else []
    if "pages" in FLAGS:
        return {"tools": [tool(name) for name in [*names, f"p{page}"]], "nextCursor": str(page + 1)}
    more = [f"t{number}" for number in range(int(FLAGS.get("tools", "0")))]
    return {"tools": [tool(name) for name in [*names, *more]]}


def tool(name: str) -> Json:
    return {"name": name, "inputSchema": {"type": "object"}}


async def serve(message: Json, wire: Any) -> None:
    """Answer one request."""
    if message["method"] == "tools/call":
        params = message["params"]
        await FAULTS[params["name"]](wire, message["id"], params.get("arguments") or {})
        return
    found = simple(message)
    error = {"code": -32601, "message": "no such method"}
    body = {"result": found} if found is not None else {"error": error}
    await wire.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], **body}))


def encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


class StdioWire:
    """A call over stdio: all calls share the one stream."""

    answers = staticmethod(ANSWERS.wait)

    async def send(self, text: str | bytes) -> None:
        data = encoded(text)
        if data.startswith(b"\0drip"):
            for byte in data.removeprefix(b"\0drip"):
                await self.raw(bytes([byte]))
            data = b""
        await self.raw(data + b"\n")

    async def raw(self, data: bytes) -> None:
        # Blocking: a client that does not read stops this server, as it would most.
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    async def status(self, status: int, body: bytes, **headers: str) -> None:
        raise NotImplementedError("only over HTTP")

    def cut(self) -> None:
        os._exit(3)


class EventWire:
    """A call whose messages are events of a stream over HTTP."""

    answers = staticmethod(ANSWERS.wait)

    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    async def send(self, text: str | bytes) -> None:
        data = encoded(text)
        if data.startswith(b"\0drip"):
            for byte in b"data: " + data.removeprefix(b"\0drip") + b"\n\n":
                await self.raw(bytes([byte]))
            return
        await self.raw(b"data: " + data + b"\n\n")

    async def raw(self, data: bytes) -> None:
        if not self.reply.streaming:
            await self.reply.stream()
        await self.reply.chunk(data)

    async def status(self, status: int, body: bytes, **headers: str) -> None:
        await self.reply.send(status, body, **headers)

    def cut(self) -> None:
        self.reply.abort()


class Http:
    """Streamable HTTP of either era, or HTTP+SSE with one stream a session."""

    def __init__(self) -> None:
        self.streams: dict[str, Reply] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def handle(self, request: Request, reply: Reply) -> None:
        if request.method != "POST":
            await self.other(request, reply)
            return
        message = request.json
        if "method" not in message:
            await ANSWERS.put(message)
        if "method" not in message or "id" not in message:
            await reply.send(202)
        elif TRANSPORT == "sse":
            await reply.send(202)
            stream = self.streams[request.path.rpartition("=")[2]]
            self.tasks.add(task := asyncio.create_task(serve(message, EventWire(stream))))
            task.add_done_callback(self.tasks.discard)
        else:
            await self.stream(message, reply)

    async def stream(self, message: Json, reply: Reply) -> None:
        if message["method"] == "initialize":
            body = {"jsonrpc": "2.0", "id": message["id"], "result": simple(message)}
            await reply.send_json(body, Mcp_Session_Id="s")
            return
        serving = asyncio.create_task(serve(message, EventWire(reply)))
        leaving = asyncio.create_task(reply.left.wait())
        await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not serving.done():
            serving.cancel()
        elif not serving.exception() and reply.streaming:
            await reply.end()

    async def other(self, request: Request, reply: Reply) -> None:
        if request.method != "GET" or TRANSPORT != "sse":
            await reply.send(405 if request.method == "GET" else 200)
            return
        name = str(request.connection)
        self.streams[name] = reply
        await reply.stream()
        await reply.event(f"/messages?s={name}", name="endpoint")
        await reply.left.wait()


async def stdio() -> None:
    reader = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    tasks: set[asyncio.Task[None]] = set()
    while line := await reader.readline():
        message = json.loads(line)
        if "method" not in message:
            await ANSWERS.put(message)
        elif "id" in message:
            tasks.add(task := asyncio.create_task(serve(message, StdioWire())))
            task.add_done_callback(tasks.discard)


async def main() -> None:
    if TRANSPORT == "stdio":
        await stdio()
        return
    async with Httpd(Http().handle) as httpd:
        print(httpd.port, flush=True)
        # The port's reader is the server's keeper: when it goes, so does the server.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
