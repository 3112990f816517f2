"""The raw server whose tool `ask` stands under many names, so that each can be routed by itself.

`reads-N` say that they only read, idempotently and in a closed world; `writes-N` say nothing.
`ask_outside` asks once its call is over, and writes the answer that it gets to the file `record`.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

MANY = 64
SAID = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
_AFTER = 0.05


async def ask_outside(server: Any, message: Any, arguments: Any, related: Any, unrelated: Any) -> Any:
    async def ask() -> None:
        await asyncio.sleep(_AFTER)
        question = arguments["request"]
        told = await server.ask(unrelated, question["method"], question["params"])
        Path(arguments["record"]).write_text(json.dumps(told) + "\n")

    server.outside = asyncio.ensure_future(ask())
    return {"content": []}


if __name__ == "__main__":
    from server import Server, main
    from tools import TOOL, TOOLS

    TOOL["ask_outside"] = ask_outside
    TOOLS.append({"name": "ask_outside", "inputSchema": {"type": "object"}})
    for number in range(MANY):
        TOOL[f"reads-{number}"] = TOOL[f"writes-{number}"] = TOOL["ask"]
        TOOLS.append({"name": f"reads-{number}", "inputSchema": {"type": "object"}, "annotations": SAID})
        TOOLS.append({"name": f"writes-{number}", "inputSchema": {"type": "object"}})
    asyncio.run(main(Server()))
