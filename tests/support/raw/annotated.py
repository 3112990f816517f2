"""The raw server whose tool `ask` stands under two more names: one says that it only reads, one nothing."""

from __future__ import annotations

import asyncio

if __name__ == "__main__":
    from server import Server, main
    from tools import TOOL, TOOLS

    TOOL["reads"] = TOOL["deletes"] = TOOL["ask"]
    TOOLS.append({"name": "reads", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}})
    TOOLS.append({"name": "deletes", "inputSchema": {"type": "object"}})
    asyncio.run(main(Server()))
