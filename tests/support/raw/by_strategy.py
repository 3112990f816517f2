"""The raw server with its tool `ask` under the name of each strategy and kind of question.

An operator routes by tool: so one gateway shows every strategy on the same servers.
"""

from __future__ import annotations

import asyncio

STRATEGIES = ("magictunnel_handled", "client_forwarded", "magictunnel_first", "client_first")
ASKING_BOTH = ("parallel", "hybrid")
KINDS = ("sampling", "form", "url", "roots")

if __name__ == "__main__":
    from server import Server, main
    from tools import TOOL, TOOLS

    for name in [f"{strategy}-{kind}" for strategy in (*STRATEGIES, *ASKING_BOTH) for kind in KINDS]:
        TOOL[name] = TOOL["ask"]
        TOOLS.append({"name": name, "inputSchema": {"type": "object"}})
    asyncio.run(main(Server()))
