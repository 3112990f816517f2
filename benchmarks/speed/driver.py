"""A lean client of both eras on bare sockets: small enough to drive a gateway, and it sees every answer.

Nothing of an SDK is in it, so that what is measured is the gateway. A `Pool` keeps connections
alive between requests; `Modern` and `Handshake` speak the two eras through one.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.speed.sockets import Broken as Broken
from benchmarks.speed.sockets import Connection as Connection
from benchmarks.speed.sockets import Pool as Pool

Json = dict[str, Any]
Answerer = Callable[[str, Json], Json]
"""Gives the result of a question, from its method and its params."""

MODERN = "2026-07-28"
HANDSHAKE = "2025-11-25"
META = "io.modelcontextprotocol/"
EVERYTHING: Json = {"sampling": {"tools": {}}, "elicitation": {"form": {}, "url": {}}}
INFO: Json = {"name": "driver", "version": "1"}
_JSON = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


class Refused(Exception):
    """A response that carries no JSON-RPC response: its status, `Retry-After`, and its words."""

    def __init__(self, status: int, retry_after: str | None, text: str) -> None:
        super().__init__(f"HTTP {status}: {text[:200]}")
        self.status, self.retry_after = status, retry_after


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended: its response, how many questions it asked, and notifications it told."""

    message: Json
    status: int
    questions: int = 0
    told: int = 0
    retry_after: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the server's own result came, not an error in either of its two forms."""
        return "result" in self.message and not self.message["result"].get("isError")

    @property
    def result(self) -> Json:
        """The result; raises AssertionError with what came in its place."""
        assert "result" in self.message, self.message
        return self.message["result"]

    @property
    def code(self) -> int | None:
        """The code of a JSON-RPC error."""
        return self.message.get("error", {}).get("code")


class Client(Protocol):
    """A client of either era."""

    async def call(self, tool: str, arguments: Json, answer: Answerer | None = None, **meta: Any) -> Ended:
        """Call a tool, answer what is asked, and return how it ended."""
        ...


async def _messages(connection: Connection) -> AsyncIterator[tuple[str, Json]]:
    """Yield each message of a response with its event's id: one if it is JSON, several of a stream."""
    kind = connection.headers.get("content-type", "")
    if kind.startswith("text/event-stream"):
        async for event_id, data in connection.events():
            yield event_id, json.loads(data)
        return
    body = await connection.body()
    try:
        message = json.loads(body)
    except ValueError:
        message = None
    if not isinstance(message, dict) or not {"result", "error"} & message.keys():
        raise Refused(connection.status, connection.headers.get("retry-after"), body.decode(errors="replace"))
    yield "", message


_ids = itertools.count(1)


def request(method: str, params: Json) -> Json:
    """Build a request with an id of its own."""
    return {"jsonrpc": "2.0", "id": next(_ids), "method": method, "params": params}


@dataclass(slots=True)
class Modern:
    """A client of 2026-07-28: no session, answers by retrying."""

    pool: Pool
    capabilities: Json = field(default_factory=lambda: EVERYTHING)

    def encode(self, method: str, params: Json, meta: Json) -> tuple[dict[str, str], bytes, int]:
        """Return headers, body and id of a request with its envelope."""
        envelope = {
            META + "protocolVersion": MODERN,
            META + "clientInfo": INFO,
            META + "clientCapabilities": self.capabilities,
        }
        message = request(method, {**params, "_meta": {**envelope, **meta}})
        headers = {**_JSON, "mcp-protocol-version": MODERN, "mcp-method": method}
        if (name := params.get("name") or params.get("uri")) is not None:
            headers["mcp-name"] = name
        return headers, json.dumps(message).encode(), message["id"]

    async def post(self, method: str, params: Json, **meta: Any) -> Ended:
        """Send one request and return what it came to; cancelling closes its stream."""
        headers, body, _ = self.encode(method, params, meta)
        connection = await self.pool.send("POST", headers, body)
        told = 0
        try:
            async for _, message in _messages(connection):
                if "method" not in message:
                    ended = Ended(message, connection.status, 0, told, connection.headers.get("retry-after"))
                    await connection.body()
                    return ended
                told += 1
            raise Broken("the stream ended without a response")
        finally:
            self.pool.release(connection)

    async def call(self, tool: str, arguments: Json, answer: Answerer | None = None, **meta: Any) -> Ended:
        """Call a tool; each question is answered by a retry."""
        params: Json = {"name": tool, "arguments": arguments}
        questions = told = 0
        while True:
            ended = await self.post("tools/call", params, **meta)
            told += ended.told
            result = ended.message.get("result", {})
            if result.get("resultType") != "input_required" or answer is None:
                return Ended(ended.message, ended.status, questions, told, ended.retry_after)
            params = {"name": tool, "arguments": arguments, **retry(result, answer)}
            questions += len(params["inputResponses"])


def retry(result: Json, answer: Answerer) -> Json:
    """Return what a retry adds to the params of its call: the state, and an answer to each question."""
    asked: Json = result.get("inputRequests") or {}
    answers = {key: answer(each["method"], each.get("params") or {}) for key, each in asked.items()}
    more: Json = {"inputResponses": answers}
    if "requestState" in result:
        more["requestState"] = result["requestState"]
    return more


@dataclass(slots=True)
class Handshake:
    """A session of 2025-11-25: asked on the streams of its calls, answers with POSTs."""

    pool: Pool
    capabilities: Json = field(default_factory=lambda: EVERYTHING)
    session: str = ""
    last_event: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What each request of the session carries."""
        named = {"mcp-session-id": self.session} if self.session else {}
        return {**_JSON, "mcp-protocol-version": HANDSHAKE, **named}

    async def open(self) -> Handshake:
        """Initialize; returns itself."""
        params = {"protocolVersion": HANDSHAKE, "capabilities": self.capabilities, "clientInfo": INFO}
        body = json.dumps(request("initialize", params)).encode()
        connection = await self.pool.send("POST", _JSON, body)
        try:
            async for _, message in _messages(connection):
                assert "result" in message, message
            self.session = connection.headers.get("mcp-session-id", "")  # some keep none
        finally:
            self.pool.release(connection)
        await self.tell({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    async def tell(self, message: Json) -> int:
        """POST a notification or an answer, and return the status."""
        connection = await self.pool.send("POST", self.headers, json.dumps(message).encode())
        try:
            await connection.body()
            return connection.status
        finally:
            self.pool.release(connection)

    async def listen(self, last_event: str = "") -> Connection:
        """Open the general stream, or take one up again after an event; the caller reads and breaks it."""
        more = {"last-event-id": last_event} if last_event else {}
        return await self.pool.send("GET", {**self.headers, "accept": "text/event-stream", **more})

    async def close(self) -> int:
        """End the session."""
        connection = await self.pool.send("DELETE", self.headers)
        try:
            await connection.body()
            return connection.status
        finally:
            self.pool.release(connection)

    async def post(self, method: str, params: Json, answer: Answerer | None = None) -> Ended:
        """Send one request, and answer what is asked on its stream."""
        message = request(method, params)
        connection = await self.pool.send("POST", self.headers, json.dumps(message).encode())
        try:
            return await self.follow(connection, message["id"], answer)
        finally:
            self.pool.release(connection)

    async def follow(self, connection: Connection, request_id: int, answer: Answerer | None) -> Ended:
        """Read a call's stream to its response; `last_event` names the last event that came."""
        questions = told = 0
        async for event_id, said in _messages(connection):
            self.last_event = event_id or self.last_event
            if "method" not in said:
                await connection.body()
                retry_after = connection.headers.get("retry-after")
                assert said.get("id") in (request_id, None), said
                return Ended(said, connection.status, questions, told, retry_after)
            if "id" not in said:
                told += 1
            elif answer is not None:
                questions += 1
                result = answer(said["method"], said.get("params") or {})
                await self.tell({"jsonrpc": "2.0", "id": said["id"], "result": result})
        raise Broken("the stream ended without a response")

    async def call(self, tool: str, arguments: Json, answer: Answerer | None = None, **meta: Any) -> Ended:
        """Call a tool; each question is answered on a POST of its own."""
        params: Json = {"name": tool, "arguments": arguments}
        if meta:
            params["_meta"] = meta
        return await self.post("tools/call", params, answer)


def call_bytes(client: Modern | Handshake, tool: str, arguments: Json) -> bytes:
    """Return the whole HTTP request of a tool call, to be sent as often as wanted."""
    params: Json = {"name": tool, "arguments": arguments}
    if isinstance(client, Modern):
        headers, body, _ = client.encode("tools/call", params, {})
    else:
        headers, body = client.headers, json.dumps(request("tools/call", params)).encode()
    return client.pool.encoded("POST", headers, body)
