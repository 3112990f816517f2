"""The raw server of `server.py`, which says things that no specification names wherever it can.

python strange.py stdio|http|sse handshake|modern [--array] [the other options of server.py]

With `--array` there is a tool whose structured content is an array, in the handshake era too.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from server import ERA, TRANSPORT, Server, main
from strangeness import ARRAY, CAPABILITIES, NOTIFICATIONS, NUMBERS, answers
from tools import Json, Send, notification

MESSAGE = "notifications/message"
ANSWERS = answers(f"{TRANSPORT}-{ERA}")
if "--array" in sys.argv:
    ANSWERS["tools/list"]["tools"].insert(0, ARRAY)


class Strange(Server):
    """Answers by `strangeness.py`; what it has no answer for is the raw server's own."""

    async def result(self, message: Json, related: Send, unrelated: Send) -> Json:
        method, params = message["method"], message.get("params") or {}
        if method in ("initialize", "server/discover"):
            result = await super().result(message, related, unrelated)
            return {**result, "capabilities": {**result["capabilities"], **CAPABILITIES}}
        if method == "tools/call" and params["name"] == "numbers":
            return NUMBERS
        if method == "resources/subscribe":
            self.seen.append(message)
            await unrelated(notification(MESSAGE, **NOTIFICATIONS[MESSAGE]))
            return {}
        strange = method in ANSWERS and (method != "tools/call" or params["name"] == "strange")
        if not strange:
            return await super().result(message, related, unrelated)
        self.seen.append(message)
        if method == "tools/call":
            for name, said in NOTIFICATIONS.items():
                token = {"progressToken": params["_meta"]["progressToken"]} if "progress" in name else {}
                await related(notification(name, **said, **token))
        return ANSWERS[method]


if __name__ == "__main__":
    asyncio.run(main(Strange()))
