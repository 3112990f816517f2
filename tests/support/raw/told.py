"""Servers of both eras over Streamable HTTP, in the test's own process, that answer as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.raw.httpd import Reply, Request
from tests.support.raw.stateless import META

Json = dict[str, Any]
Act = Callable[["Told", Json, Reply], Awaitable[Json]]


class Refused(Exception):
    """The JSON-RPC error object that a request is to be answered with."""


class Told:
    """A server whose answers are given by tool name, resource URI or method.

    An answer is a result, a `Refused`, or a function that may say more on the reply's stream
    before it returns the result. `requests` keeps what came, `stream` is the GET stream.
    """

    def __init__(self, era: str, answers: dict[str, Json | Refused | Act], tools: list[Json]) -> None:
        self.modern = era == "modern"
        self.answers = answers
        self.tools = tools
        self.requests: list[Json] = []
        self.stream: Reply | None = None
        self.streaming = asyncio.Event()
        self._asked: dict[str, asyncio.Future[Json]] = {}

    async def __call__(self, request: Request, reply: Reply) -> None:
        if request.method == "GET" and not self.modern:
            await reply.stream()
            self.stream = reply
            self.streaming.set()
            await reply.left.wait()
        elif request.method != "POST":
            await reply.send(405)
        elif "id" not in request.json:
            await reply.send(202)
        elif "method" not in request.json:
            self._asked.pop(request.json["id"]).set_result(request.json)
            await reply.send(202)
        else:
            await self._answer(request.json, reply)

    async def ask(self, reply: Reply, method: str, params: Json) -> Json:
        """Ask on a request's own stream; returns the whole response."""
        request_id = f"server-{len(self._asked)}-{len(self.requests)}"
        self._asked[request_id] = answer = asyncio.get_running_loop().create_future()
        await reply.event({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        return await answer

    def sent(self, method: str) -> list[Json]:
        """The params of every request of this method so far."""
        return [request["params"] for request in self.requests if request["method"] == method]

    async def _answer(self, message: Json, reply: Reply) -> None:
        self.requests.append(message)
        if message["method"] == "server/discover" and not self.modern:
            await reply.send(400, b"no session")
            return
        session = {"mcp_session_id": "s"} if message["method"] == "initialize" else {}
        params = message.get("params") or {}
        named = params.get("name") or params.get("uri") or message["method"]
        answer = self.answers.get(named) or self._usual(message["method"])
        if callable(answer):
            await reply.stream()
            await reply.event(await self._response(message, answer(self, message, reply)))
            await reply.end()
            return
        refused = isinstance(answer, Refused)
        body = {"error": answer.args[0]} if refused else {"result": self._stamped(answer)}
        await reply.send_json({"jsonrpc": "2.0", "id": message["id"], **body}, **session)

    async def _response(self, message: Json, answering: Awaitable[Json]) -> Json:
        try:
            return {"jsonrpc": "2.0", "id": message["id"], "result": self._stamped(await answering)}
        except Refused as refused:
            return {"jsonrpc": "2.0", "id": message["id"], "error": refused.args[0]}

    def _stamped(self, result: Json) -> Json:
        return {"resultType": "complete", **result} if self.modern else result

    def _usual(self, method: str) -> Json | Refused:
        offered: Json = {"tools": {}, "resources": {}, "prompts": {}, "completions": {}, "logging": {}}
        resources = [{"uri": name, "name": name} for name in self.answers if "://" in name]
        if self.modern and method == "server/discover":
            return {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {**offered, "extensions": {META + "tasks": {}}},
                "ttlMs": 5,
                "cacheScope": "public",
            }
        usual: dict[str, Json] = {
            "initialize": {
                "protocolVersion": "2025-11-25",
                "capabilities": {**offered, "tasks": {"requests": {"tools": {"call": {}}}}},
                "serverInfo": {"name": "told", "version": "1"},
            },
            "tools/list": {"tools": self.tools},
            "resources/list": {"resources": resources},
            "resources/templates/list": {"resourceTemplates": []},
            "prompts/list": {"prompts": []},
        }
        return usual.get(method) or Refused({"code": -32601, "message": f"no {method}"})


def refuse(code: int, message: str = "no", **data: Any) -> Refused:
    """Return an answer that is an error."""
    return Refused({"code": code, "message": message, "data": data})
