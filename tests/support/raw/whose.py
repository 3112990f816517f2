"""The raw server of `server.py` with tools that mark all they say, to see where it goes.

python whose.py stdio|http|sse handshake|modern [the other options of server.py]
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from server import Server, main
from tools import TOOL, TOOLS, UNRELATED, Json, Send, notification


async def whose(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    """Log, report progress, ask, and log again, each time with `arguments.token`; return the answer."""
    token, send = arguments["token"], unrelated if UNRELATED else related
    mark = message["params"].get("_meta", {}).get("progressToken")
    log = notification("notifications/message", level="info", data=token)
    await send(log)
    await send(notification("notifications/progress", progressToken=mark, progress=1, message=token))
    schema = {"type": "object", "properties": {"token": {"type": "string"}}}
    answer = await server.ask(send, "elicitation/create", {"message": token, "requestedSchema": schema})
    await send(log)
    return {"content": [], "structuredContent": {"asked": token, "answer": answer}}


async def levels(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    """Log a line at each of `arguments.levels`, whatever level is set; return the levels that were set."""
    for level in arguments["levels"]:
        send = unrelated if UNRELATED else related
        await send(notification("notifications/message", level=level, data=arguments.get("token", level)))
    told = [each["params"]["level"] for each in server.seen if each["method"] == "logging/setLevel"]
    asked = message["params"].get("_meta", {}).get("io.modelcontextprotocol/logLevel")
    return {"resultType": "complete", "content": [], "structuredContent": {"told": told, "asked": asked}}


async def late(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    """Report progress for the request before this one, which has ended, and then for this one."""
    mark = message["params"].get("_meta", {}).get("progressToken")
    for token in (mark, message["id"] - 1):
        report = notification("notifications/progress", progressToken=token, progress=1)
        await (unrelated if UNRELATED else related)(report)
    return {"resultType": "complete", "content": [], "structuredContent": {"mark": mark}}


async def stay(server: Server, message: Json, arguments: Json, related: Send, unrelated: Send) -> Json:
    """Stay until cancelled, perhaps with a question open; the file `record` tells what happened."""
    server.records[message["id"]] = arguments["record"]
    append(arguments["record"], "started")
    send = unrelated if UNRELATED else related
    mark = message["params"].get("_meta", {}).get("progressToken")
    await send(notification("notifications/progress", progressToken=mark, progress=1))
    try:
        if arguments.get("ask"):
            await server.ask(send, "elicitation/create", {"message": "Well?", "requestedSchema": {}})
            append(arguments["record"], "answered")
        await asyncio.Event().wait()
    finally:
        append(arguments["record"], "cancelled")
    raise AssertionError


def append(path: str, line: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{line}\n")


class Whose(Server):
    """Takes log levels, and records which calls of `stay` it was told are cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[Any, str] = {}

    async def notified(self, message: Json, session: str = "") -> None:
        requested = message.get("params", {}).get("requestId")
        if message["method"] == "notifications/cancelled" and requested in self.records:
            append(self.records[requested], "told")
        await super().notified(message, session)

    async def result(self, message: Json, related: Send, unrelated: Send) -> Json:
        if message["method"] == "logging/setLevel":
            await self.note(message)
            return {}
        return await super().result(message, related, unrelated)


for tool in (whose, levels, late, stay):
    TOOL[tool.__name__] = tool
    TOOLS.append({"name": tool.__name__, "inputSchema": {"type": "object"}})

if __name__ == "__main__":
    asyncio.run(main(Whose()))
