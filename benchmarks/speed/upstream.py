"""The MCP server behind every gateway of the benchmark: both eras on one port, at `/mcp`.

Run with `python -m benchmarks.speed.upstream PORT`. It answers 2026-07-28 requests by their
`_meta` envelope and everything else as a handshake server with sessions. A request that needs
no waiting is answered where its last byte is read, by a parser in C, without a task, a framework
or a header that nobody reads, so that the server is never what limits a measurement.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Coroutine
from typing import Any

import httptools
import orjson
import uvloop

from benchmarks.speed.upstream_tools import (
    ENVELOPE,
    MODERN,
    QUESTIONS,
    SUBSCRIPTION,
    Fixed,
    Json,
    answer_text,
    count_of_tools,
    pin,
    progress,
    response,
    text_result,
    unknown,
)

STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
REASONS = {200: b"OK", 202: b"Accepted", 404: b"Not Found", 405: b"Method Not Allowed"}
HEADS = {
    status: b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\n" % (status, reason)
    for status, reason in REASONS.items()
}
FOREVER = 1e9


class State:
    """What all connections share: the handshake sessions, and the questions that are open."""

    def __init__(self, count: int) -> None:
        self.fixed = Fixed(count)
        self.sessions: set[bytes] = set()
        self.asked: dict[str, asyncio.Future[tuple[Json, float]]] = {}
        self._numbers = 0

    def number(self) -> int:
        """A number that was not used before."""
        self._numbers += 1
        return self._numbers


class Connection(asyncio.Protocol):
    """One connection of a gateway: one request at a time, whose `_work` it is where it takes time."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._session = b""
        self._body: list[bytes] = []
        self._work: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        if self._work is not None:
            self._work.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._session = b""
        self._body.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 14 and name.lower() == b"mcp-session-id":
            self._session = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method()
        if method == b"POST":
            self._post(orjson.loads(b"".join(self._body)))
        elif method == b"GET":
            self._begin(self._listen())
        elif method == b"DELETE":
            self.state.sessions.discard(self._session)
            self._whole(200)
        else:
            self._whole(405)

    def _post(self, message: Json) -> None:
        method = message.get("method")
        if method is None:
            self._answered(message)
            self._whole(202)
            return
        if "id" not in message:
            self._whole(202)
            return
        params: Json = message.get("params") or {}
        meta: Json | None = params.get("_meta")
        modern = meta is not None and meta.get(ENVELOPE) == MODERN
        more = b""
        if method == "initialize":
            session = b"%032x" % self.state.number()
            self.state.sessions.add(session)
            more = b"mcp-session-id: %s\r\n" % session
        elif not modern and self._session not in self.state.sessions:
            self._whole(404)
            return
        result = self.state.fixed.plain(method, params, modern)
        if result is not None:
            self._whole(200, response(message["id"], result), more)
        else:
            self._slow(message["id"], method, params, modern)

    def _answered(self, message: Json) -> None:
        waiting = self.state.asked.pop(message["id"], None)
        if waiting is not None and not waiting.done():
            answer = message.get("result") or {"error": message["error"]}
            waiting.set_result((answer, time.perf_counter()))

    def _slow(self, request_id: Any, method: str, params: Json, modern: bool) -> None:
        """Answer what takes a stream, a question or time."""
        name = params.get("name", "") if method == "tools/call" else ""
        arguments: Json = params.get("arguments") or {}
        if method == "subscriptions/listen":
            self._begin(self._subscribe(request_id, params))
        elif name == "progress":
            self._begin(self._progress(request_id, int(arguments.get("steps", 100)), params, modern))
        elif name in QUESTIONS and modern:
            self._whole(200, response(request_id, _round(name, params)))
        elif name in QUESTIONS:
            self._begin(self._ask(request_id, name))
        elif name == "wait":
            self._begin(self._wait(request_id, float(arguments.get("seconds", 0.1)), modern))
        else:
            # The modern era has a status of its own for what is not there; the other does not mind.
            self._whole(404 if modern else 200, unknown(request_id, name or method))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = asyncio.ensure_future(work)

    async def _wait(self, request_id: Any, seconds: float, modern: bool) -> None:
        await asyncio.sleep(seconds)
        self._whole(200, response(request_id, text_result("waited", modern)))

    async def _progress(self, request_id: Any, steps: int, params: Json, modern: bool) -> None:
        token = params.get("_meta", {}).get("progressToken")
        self._transport.write(STREAM)
        if token is not None:
            for step in range(1, steps + 1):
                await self._event(progress(token, step, steps))
        await self._event(response(request_id, text_result(f"{steps} steps", modern)))
        self._transport.write(b"0\r\n\r\n")

    async def _ask(self, request_id: Any, name: str) -> None:
        number = f"question-{self.state.number()}"
        method, params = QUESTIONS[name]
        waiting = self.state.asked[number] = asyncio.get_running_loop().create_future()
        self._transport.write(STREAM)
        try:
            asked = time.perf_counter()
            await self._event(
                orjson.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
            )
            answer, came = await waiting
        finally:
            self.state.asked.pop(number, None)
        await self._event(response(request_id, text_result(answer_text(answer), False, came - asked)))
        self._transport.write(b"0\r\n\r\n")

    async def _subscribe(self, request_id: Any, params: Json) -> None:
        """Acknowledge a subscription to nothing in particular, and hold it."""
        self._transport.write(STREAM)
        honored = {"notifications": params.get("notifications", {}), "_meta": {SUBSCRIPTION: request_id}}
        method = "notifications/subscriptions/acknowledged"
        await self._event(orjson.dumps({"jsonrpc": "2.0", "method": method, "params": honored}))
        await asyncio.sleep(FOREVER)

    async def _listen(self) -> None:
        """Hold the general stream of a handshake session, on which nothing ever comes."""
        self._transport.write(STREAM + b"8\r\n: open\n\n\r\n")
        await asyncio.sleep(FOREVER)

    async def _event(self, message: bytes) -> None:
        body = b"event: message\ndata: %s\n\n" % message
        await self._writable.wait()
        self._transport.write(b"%x\r\n%s\r\n" % (len(body), body))
        await asyncio.sleep(0)  # each event leaves by itself, as one that took work would

    def _whole(self, status: int, body: bytes = b"", more: bytes = b"") -> None:
        head = b"%s%scontent-length: %d\r\n\r\n" % (HEADS[status], more, len(body))
        self._transport.write(head + body)


def _round(name: str, params: Json) -> bytes:
    """The result of a modern call that asks: the question, or what became of it."""
    answers: Json = params.get("inputResponses") or {}
    if "question" in answers:
        waited = time.perf_counter() - float(params["requestState"])
        return text_result(answer_text(answers["question"]), True, waited)
    method, asked = QUESTIONS[name]
    questions = {"question": {"method": method, "params": asked}}
    state = repr(time.perf_counter())  # of this machine's clock, which all its processes share
    return orjson.dumps({"resultType": "input_required", "inputRequests": questions, "requestState": state})


async def serve(port: int) -> None:
    """Serve until the process ends."""
    state = State(count_of_tools())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(state), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    pin()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(int(sys.argv[1])))
