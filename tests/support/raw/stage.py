"""A handshake-era server over Streamable HTTP in the test's own process, whose tools a test plays."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.support.raw.httpd import Httpd, Reply, Request

Json = dict[str, Any]


class Show:
    """One tool call as its server sees it; every `ask` goes on the call's own stream."""

    def __init__(self, stage: Stage, message: Json, reply: Reply) -> None:
        self.stage = stage
        self.params: Json = message["params"]
        self._reply = reply

    async def begin(self, method: str, params: Json | None = None) -> tuple[str, asyncio.Future[Json]]:
        """Ask, and return the question's id and what will be its whole response."""
        number = f"question-{next(self.stage.numbers)}"
        answer = asyncio.get_running_loop().create_future()
        self.stage.asked[number] = answer
        await self.say(method, params, id=number)
        return number, answer

    async def ask(self, method: str, params: Json | None = None) -> Json:
        """Ask and return the whole response."""
        return await (await self.begin(method, params))[1]

    async def ask_all(self, *requests: Json) -> list[Json]:
        """Ask several things at once and return the responses."""
        begun = [await self.begin(each["method"], each.get("params")) for each in requests]
        return [await answer for _, answer in begun]

    async def withdraw(self, number: str) -> None:
        """Take a question back."""
        await self.say("notifications/cancelled", {"requestId": number, "reason": "no longer needed"})

    async def progress(self, step: int) -> None:
        """Report progress under the token that the call came with, if it has one."""
        token = self.params.get("_meta", {}).get("progressToken")
        if token is not None:
            await self.say("notifications/progress", {"progressToken": token, "progress": step})

    async def log(self, level: str, data: Any) -> None:
        """Send a log message."""
        await self.say("notifications/message", {"level": level, "data": data})

    async def say(self, method: str, params: Json | None, **more: Any) -> None:
        body = {} if params is None else {"params": params}
        await self._reply.event({"jsonrpc": "2.0", "method": method, **body, **more})


Play = Callable[[Show], Awaitable[Json]]
"""Carries out one tool call and returns its result."""


class Stage:
    """The server. `plays` are its tools by name.

    `answers` are the responses that its questions got, `cancelled` counts calls that the client
    cancelled, `started` those that came in, `ended` sessions that were deleted.
    """

    def __init__(self, **plays: Play) -> None:
        self.plays = plays
        self.numbers = itertools.count(1)
        self.asked: dict[str, asyncio.Future[Json]] = {}
        self.answers: list[Json] = []
        self.started = 0
        self.cancelled = 0
        self.ended = 0
        self.declared: list[Json] = []
        self._calls: dict[tuple[str, Any], asyncio.Task[Json]] = {}
        self._changed = asyncio.Condition()

    async def until(self, reached: Callable[[Stage], Any], seconds: float = 20) -> None:
        """Wait until something holds; looked at whenever a message came."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: reached(self))

    async def __call__(self, request: Request, reply: Reply) -> None:
        session = request.headers.get("mcp-session-id", "")
        if request.method == "POST":
            await self._post(request.json, session, reply)
        elif request.method == "DELETE":
            self.ended += 1
            await reply.send(200)
            await self._note()
        else:
            await reply.send(405)

    async def _post(self, message: Json, session: str, reply: Reply) -> None:
        method = message.get("method")
        if method == "tools/call":
            await self._call(message, session, reply)
        elif method == "initialize":
            self.declared.append(message["params"]["capabilities"])
            result = {
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}, "logging": {}},
                "serverInfo": {"name": "stage", "version": "1"},
            }
            await _answer(message, reply, result, mcp_session_id=f"session-{next(self.numbers)}")
        elif method == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in self.plays]
            await _answer(message, reply, {"tools": tools})
        elif method == "server/discover":
            await reply.send(400, b"no session")
        elif "id" in message and method is not None:
            await _answer(message, reply, {})
        else:
            self._aside(message, session)
            await reply.send(202)
        await self._note()

    def _aside(self, message: Json, session: str) -> None:
        if "method" not in message:
            self.answers.append(message)
            future = self.asked.pop(message["id"], None)
            if future is not None and not future.done():
                future.set_result(message)
        elif message["method"] == "notifications/cancelled":
            task = self._calls.get((session, message["params"]["requestId"]))
            if task is not None and task.cancel():
                self.cancelled += 1

    async def _call(self, message: Json, session: str, reply: Reply) -> None:
        await reply.stream()
        play = self.plays[message["params"]["name"]]
        task = asyncio.ensure_future(play(Show(self, message, reply)))
        self._calls[session, message["id"]] = task
        self.started += 1
        await self._note()
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            del self._calls[session, message["id"]]
        if not task.cancelled():
            await reply.event({"jsonrpc": "2.0", "id": message["id"], "result": task.result()})
        await reply.end()

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()


async def _answer(message: Json, reply: Reply, result: Json, **headers: str) -> None:
    await reply.send_json({"jsonrpc": "2.0", "id": message["id"], "result": result}, **headers)


@asynccontextmanager
async def staged(stage: Stage) -> AsyncGenerator[str]:
    """Serve a stage and yield its URL."""
    async with Httpd(stage) as httpd:
        yield f"{httpd.url}/mcp"
