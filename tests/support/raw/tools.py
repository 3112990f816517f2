"""The tools of `server.py`: each does one thing that a connection must cope with."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

Json = dict[str, Any]
Send = Callable[[Json], Awaitable[None]]
MODERN = "modern" in sys.argv
UNRELATED = "--unrelated" in sys.argv
Server = Any  # of server.py


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
    """Return once so many calls were cancelled, subscriptions are open, messages of a method were seen."""

    def reached() -> bool:
        enough = len(server.cancelled) >= arguments.get("cancelled", 0)
        met = [message for message in server.seen if message["method"] == arguments.get("seen")]
        enough = enough and len(met) >= arguments.get("times", 0)
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


async def arrive(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    """Let `withdraw` go on, where notifications of a test do not come through."""
    server.arrived.set()
    return {"content": []}


async def announce(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    """Tell of something: on the call's own stream if `arguments.related`, else as news of no call.

    With `arguments.later` it is told when the client's next notification comes.
    """
    change = notification(arguments["method"], **arguments.get("params", {}))
    if arguments.get("related"):
        await related(change)
    elif arguments.get("later"):
        server.later = lambda: unrelated(change)
    elif MODERN:
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
    for tool in (
        echo,
        fail,
        ask,
        wait,
        progress,
        seen,
        until,
        big,
        die,
        ping,
        withdraw,
        arrive,
        announce,
        nonsense,
    )
}
TOOLS = [{"name": name, "inputSchema": {"type": "object"}, "x-unknown": {"of": name}} for name in TOOL]


def _token(message: Json) -> Any:
    return message["params"].get("_meta", {}).get("progressToken")
