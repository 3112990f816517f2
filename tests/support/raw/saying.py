"""The raw server of `server.py`, whose answers a test dictates, before and while it runs.

    python saying.py stdio|http|sse handshake|modern --says JSON [the other options of server.py]

JSON has results by method; what it says of `initialize` and `server/discover` is laid over the
raw server's own answer. The tool `say` takes more of it as its arguments, for this process and
(`notify`, `params`) with a notification after it; a tool that no list of the raw server has is an `echo`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from server import Server, main
from tools import TOOL, Json, Send, notification

SAYS: Json = {"resources/list": {"resources": []}, **json.loads(sys.argv[sys.argv.index("--says") + 1])}
OVER_ITS_OWN = ("initialize", "server/discover")


class Saying(Server):
    """Says what it was told to, and notes everything it was asked."""

    async def result(self, message: Json, related: Send, unrelated: Send) -> Json:
        method, params = message["method"], message.get("params") or {}
        if method in OVER_ITS_OWN:
            return {**await super().result(message, related, unrelated), **SAYS.get(method, {})}
        if method in SAYS:
            await self.note(message)
            return SAYS[method]
        if method == "tools/call" and params["name"] == "say":
            return await self.say(params.get("arguments") or {}, unrelated)
        if method == "tools/call" and params["name"] not in TOOL:
            await self.note(message)
            return {"content": [], "received": params, "pid": os.getpid()}
        return await super().result(message, related, unrelated)

    async def say(self, more: Json, unrelated: Send) -> Json:
        SAYS.update(more.get("says", {}))
        if "notify" in more:
            change = notification(more["notify"], **more.get("params", {}))
            for send in [*self.listeners.values()] or [unrelated]:
                await send(change)
        return {"content": []}


if __name__ == "__main__":
    asyncio.run(main(Saying()))
