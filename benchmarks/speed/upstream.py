"""The MCP server behind every gateway of the benchmark: raw ASGI, both eras on one port, at `/mcp`.

Run with `python -m benchmarks.speed.upstream PORT`. It answers 2026-07-28 requests by their
`_meta` envelope and everything else as a handshake server with sessions, and does nothing else, so
that it is never what limits a measurement. `GET /counts` tells how often each method was called.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import uvicorn

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

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
JSON = [(b"content-type", b"application/json")]
SSE = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]


class Upstream:
    """The ASGI application. `sessions` holds the handshake sessions, `asked` the open questions."""

    def __init__(self, count: int) -> None:
        self.fixed = Fixed(count)
        self.sessions: set[bytes] = set()
        self.asked: dict[str, asyncio.Future[Json]] = {}
        self.counts: Counter[str] = Counter()
        self._numbers = 0

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        method, headers = scope["method"], scope["headers"]
        if scope["path"] == "/counts":
            await _whole(send, 200, orjson.dumps(self.counts))
        elif method == "POST":
            await self._post(headers, receive, send)
        elif method == "GET":
            await self._listen(receive, send)
        elif method == "DELETE":
            self.sessions.discard(_session(headers))
            await _whole(send, 200)
        else:
            await _whole(send, 405)

    async def _post(self, headers: list[tuple[bytes, bytes]], receive: Receive, send: Send) -> None:
        body = await _body(receive)
        message = orjson.loads(body)
        method = message.get("method")
        params = message.get("params") or {}
        if method is None:
            waiting = self.asked.pop(message["id"], None)
            if waiting is not None and not waiting.done():
                waiting.set_result(message.get("result") or {"error": message["error"]})
            await _whole(send, 202)
            return
        self.counts[method] += 1
        if "id" not in message:
            await _whole(send, 202)
            return
        modern = params.get("_meta", {}).get(ENVELOPE) == MODERN if "_meta" in params else False
        more: list[tuple[bytes, bytes]] = []
        if method == "initialize":
            more = [(b"mcp-session-id", self._open())]
        elif not modern and method != "server/discover" and _session(headers) not in self.sessions:
            await _whole(send, 404)
            return
        result = self.fixed.plain(method, params, modern)
        if result is not None:
            await _whole(send, 200, response(message["id"], result), more)
        else:
            await self._slow(message["id"], method, params, modern, receive, send)

    def _open(self) -> bytes:
        self._numbers += 1
        session = b"%032x" % self._numbers
        self.sessions.add(session)
        return session

    async def _slow(
        self, request_id: Any, method: str, params: Json, modern: bool, receive: Receive, send: Send
    ) -> None:
        """Answer what takes a stream, a question or time."""
        if method == "subscriptions/listen":
            await self._subscribe(request_id, params, receive, send)
            return
        name = params.get("name", "") if method == "tools/call" else ""
        arguments = params.get("arguments") or {}
        if name == "progress":
            await self._progress(request_id, int(arguments.get("steps", 100)), params, modern, send)
        elif name in QUESTIONS and modern:
            await _whole(send, 200, response(request_id, _round(name, params)))
        elif name in QUESTIONS:
            await self._ask(request_id, name, send)
        elif name == "wait":
            await asyncio.sleep(float(arguments.get("seconds", 0.1)))
            await _whole(send, 200, response(request_id, text_result("waited", modern)))
        else:
            # A status of its own for an unknown method, as the modern era has it; the old one does not mind.
            await _whole(send, 404 if modern else 200, unknown(request_id, name or method))

    async def _progress(self, request_id: Any, steps: int, params: Json, modern: bool, send: Send) -> None:
        token = params.get("_meta", {}).get("progressToken")
        await send({"type": "http.response.start", "status": 200, "headers": SSE})
        if token is not None:
            for step in range(1, steps + 1):
                await _event(send, progress(token, step, steps))
        await _event(send, response(request_id, text_result(f"{steps} steps", modern)))
        await send({"type": "http.response.body", "body": b""})

    async def _ask(self, request_id: Any, name: str, send: Send) -> None:
        self._numbers += 1
        number = f"question-{self._numbers}"
        method, params = QUESTIONS[name]
        waiting = self.asked[number] = asyncio.get_running_loop().create_future()
        await send({"type": "http.response.start", "status": 200, "headers": SSE})
        question = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        await _event(send, orjson.dumps(question))
        text = answer_text(await waiting)
        await _event(send, response(request_id, text_result(text, False)))
        await send({"type": "http.response.body", "body": b""})

    async def _subscribe(self, request_id: Any, params: Json, receive: Receive, send: Send) -> None:
        """Acknowledge a subscription to nothing in particular, and hold it."""
        await send({"type": "http.response.start", "status": 200, "headers": SSE})
        honored = {"notifications": params.get("notifications", {}), "_meta": {SUBSCRIPTION: request_id}}
        acknowledged = {
            "jsonrpc": "2.0",
            "method": "notifications/subscriptions/acknowledged",
            "params": honored,
        }
        await _event(send, orjson.dumps(acknowledged))
        await _left(receive)

    async def _listen(self, receive: Receive, send: Send) -> None:
        """Hold the general stream of a handshake session, on which nothing ever comes."""
        await send({"type": "http.response.start", "status": 200, "headers": SSE})
        await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
        await _left(receive)


def _round(name: str, params: Json) -> bytes:
    """The result of a modern call that asks: the question, or what became of it."""
    answers = params.get("inputResponses") or {}
    if "question" in answers:
        return text_result(answer_text(answers["question"]), True)
    method, asked = QUESTIONS[name]
    questions = {"question": {"method": method, "params": asked}}
    return orjson.dumps({"resultType": "input_required", "inputRequests": questions, "requestState": "asked"})


def _session(headers: list[tuple[bytes, bytes]]) -> bytes:
    for key, value in headers:
        if key == b"mcp-session-id":
            return value
    return b""


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _event(send: Send, message: bytes) -> None:
    body = b"event: message\ndata: %s\n\n" % message
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _whole(
    send: Send, status: int, body: bytes = b"", more: list[tuple[bytes, bytes]] | None = None
) -> None:
    headers = [*JSON, (b"content-length", b"%d" % len(body)), *(more or ())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve on the port that is the first argument."""
    pin()
    app: Any = Upstream(count_of_tools())
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level=os.environ.get("BENCH_LOG", "warning"),
        timeout_graceful_shutdown=1,
        timeout_keep_alive=600,
        backlog=4096,
    )


if __name__ == "__main__":
    main()
