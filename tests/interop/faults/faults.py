"""What a broken or hostile server does, one fault a function, told apart by the name of the tool.

`Wire` is the way to the client of the one call: framed messages, or raw bytes where a message
would stand. Standard library only.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

Json = dict[str, Any]
QUESTION: Json = {
    "method": "elicitation/create",
    "params": {"message": "?", "requestedSchema": {"type": "object", "properties": {}}},
}


class Wire(Protocol):
    """One call's way back. `status` answers over HTTP with a whole response in place of a stream."""

    async def send(self, text: str | bytes) -> None: ...
    async def raw(self, data: bytes) -> None: ...
    async def status(self, status: int, body: bytes, **headers: str) -> None: ...
    def cut(self) -> None: ...
    async def answers(self, count: int) -> list[Json]: ...


Fault = Callable[[Wire, Any, Json], Awaitable[None]]
FAULTS: dict[str, Fault] = {}
OVER_HTTP: set[str] = set()
"""Faults that only a response over Streamable HTTP can have."""


def fault(function: Fault) -> Fault:
    FAULTS[function.__name__] = function
    return function


def http_fault(function: Fault) -> Fault:
    OVER_HTTP.add(function.__name__)
    return fault(function)


def result(call_id: Any, text: str = "ok", **more: Any) -> str:
    content = [{"type": "text", "text": text}]
    return json.dumps(
        {"jsonrpc": "2.0", "id": call_id, "result": {"resultType": "complete", "content": content, **more}}
    )


def notification(method: str, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params})


@fault
async def ok(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.send(result(call))


@fault
async def die(wire: Wire, call: Any, arguments: Json) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@fault
async def hang(wire: Wire, call: Any, arguments: Json) -> None:
    await asyncio.Event().wait()


@fault
async def big(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.send(result(call, "x" * arguments["bytes"]))


@fault
async def malformed(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.send(result(call)[:-1] + ",}")


@fault
async def not_rpc(wire: Wire, call: Any, arguments: Json) -> None:
    old = json.dumps({"jsonrpc": "1.0", "id": call, "result": {}})
    for text in ('"text"', "17", "[]", "{}", old):
        await wire.send(text)
    await wire.send(result(call))


@fault
async def half_then_close(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.raw(b'data: {"jsonrpc":"2.0","id":')
    wire.cut()


@fault
async def unknown_requests(wire: Wire, call: Any, arguments: Json) -> None:
    for number, method in enumerate(("tools/call", "x/unknown", "initialize", "tasks/get", "")):
        await wire.send(json.dumps({"jsonrpc": "2.0", "id": f"u{number}", "method": method}))
    told = await wire.answers(5) if arguments.get("wait", True) else []
    await wire.send(result(call, told=[answer["error"]["code"] for answer in told]))


@fault
async def unknown_notifications(wire: Wire, call: Any, arguments: Json) -> None:
    for method in ("x/unknown", "notifications/unknown", "", "notifications/cancelled"):
        await wire.send(notification(method, requestId={"a": 1}))
    await wire.send('{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":[[1]]}}')
    await wire.send('{"jsonrpc":"2.0","method":"notifications/message","params":{"level":7,"data":null}}')
    await wire.send(result(call))


@fault
async def questions(wire: Wire, call: Any, arguments: Json) -> None:
    """Ask so many questions at once, under one id if `same`, and tell how many were answered how."""
    count = arguments["count"]
    for number in range(count):
        name = "q" if arguments.get("same") else f"q{number}"
        await wire.send(json.dumps({"jsonrpc": "2.0", "id": name, **QUESTION}))
    told = await wire.answers(1 if arguments.get("same") else count)
    refused = sum("error" in answer for answer in told)
    await wire.send(result(call, answered=len(told) - refused, refused=refused))


@fault
async def flood(wire: Wire, call: Any, arguments: Json) -> None:
    """Send so many notifications of a method, then the result."""
    text = notification(arguments["method"], **arguments.get("params", {}))
    for _ in range(arguments["count"]):
        await wire.send(text)
    await wire.send(result(call))


@fault
async def batch(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.send("[" + "1," * 1_000_000 + "1]")
    await wire.send(result(call))


@fault
async def deep(wire: Wire, call: Any, arguments: Json) -> None:
    levels = arguments["levels"]
    await wire.send(result(call, deep=0).replace('"deep": 0', '"deep": ' + "[" * levels + "]" * levels))


@fault
async def endless(wire: Wire, call: Any, arguments: Json) -> None:
    while True:
        await wire.raw(b"x" * 65536)


@fault
async def twice(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.send(result(call, "first"))
    await wire.send(result(call, "second"))


@fault
async def unknown_id(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.send(result("nobody's"))
    await wire.send(result(None))


@fault
async def wrong_id(wire: Wire, call: Any, arguments: Json) -> None:
    for wrong in ([call], {"id": call}, True, float(call) + 0.5):
        await wire.send(result(wrong))
    await wire.send(result(str(call)))


@fault
async def bad_utf8(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.send(result(call, "MARK").encode().replace(b"MARK", b"\xff\xfe\xc3"))


@fault
async def surrogates(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.send(result(call, "\ud800 x"))


@fault
async def duplicate_keys(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.send(result(call).replace('"text": "ok"', '"text": "first", "text": "ok"'))


@fault
async def nan(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.send(result(call, value=float("nan"), large=float("inf")))


@fault
async def long_numbers(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.send(result(call, large=2**200, negative=-(2**63) - 1))


@fault
async def drip(wire: Wire, call: Any, arguments: Json) -> None:
    """Send a result byte by byte; each is its own write."""
    await wire.send(b"\0drip" + result(call).encode())


@http_fault
async def status(wire: Wire, call: Any, arguments: Json) -> None:
    location = {"location": arguments["location"]} if "location" in arguments else {}
    await wire.status(arguments["status"], b"<h1>no</h1>", content_type="text/html", **location)


@http_fault
async def wrong_type(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.status(200, result(call).encode(), content_type="text/html")


@http_fault
async def no_response(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.status(200, b"{}", content_type="application/json")


@http_fault
async def huge_headers(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.status(200, result(call).encode(), content_type="application/json", x_big="x" * 1_000_000)


@http_fault
async def packed(wire: Wire, call: Any, arguments: Json) -> None:
    """Send 10 GB, packed twice."""
    bomb = gzip.compress(gzip.compress(b"\0" * 10_000_000) * 1000)
    await wire.status(200, bomb, content_type="application/json", content_encoding=arguments["encoding"])


@http_fault
async def odd_events(wire: Wire, call: Any, arguments: Json) -> None:
    await wire.raw(b"retry: " + b"9" * 5000 + b"\nid: \x01\nevent: other\ndata: {}\n\n")
    await wire.raw(b"data\n\n:\n\ndata:\n\nnonsense: 1\n\n")
    await wire.send(result(call))
