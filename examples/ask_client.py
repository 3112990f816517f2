"""An MCP client that can show a form but has no language model, like many clients of today.

    python examples/ask_client.py http://127.0.0.1:8080/mcp [--era handshake|modern]

It calls tools of `ask_server.py` through a gateway and prints what happens, one JSON object a line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from mcp import Client, MCPError
from mcp.types import ElicitRequestParams, ElicitResult, TextContent

TEXT = (
    "The lighthouse at the harbour was built in 1862. Its lamp is visible from thirty kilometres away, "
    "and its keeper still climbs two hundred steps every evening."
)
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("summarize", {"text": TEXT}),
    ("book_table", {"date": "Friday", "people": 4}),
]


def tell(event: str, **fields: Any) -> None:
    """Print one event."""
    print(json.dumps({"event": event, **fields}), flush=True)


async def answer_form(context: Any, params: ElicitRequestParams) -> ElicitResult:  # noqa: ARG001
    """Fill in a form as its user would; here the user is this script."""
    content: dict[str, Any] = {"seating": "terrace", "confirm": True}
    tell("asked", message=params.message, answer=content)
    return ElicitResult(action="accept", content=content)


async def run(url: str, era: str) -> None:
    """Connect, and make every call."""
    mode = "legacy" if era == "handshake" else "2026-07-28"
    async with Client(url, mode=mode, elicitation_callback=answer_form) as client:
        exposed = [tool.name for tool in (await client.list_tools()).tools]
        for name, arguments in CALLS:
            tool = next((tool for tool in exposed if tool.endswith(name)), name)
            tell("call", tool=tool, arguments=arguments)
            try:
                result = await client.call_tool(tool, arguments)
            except MCPError as error:
                tell("error", tool=tool, text=f"error {error.code}: {error.message}")
                continue
            text = " ".join(block.text for block in result.content if isinstance(block, TextContent))
            tell("result", tool=tool, text=text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A client that is asked back")
    parser.add_argument("url")
    parser.add_argument("--era", choices=["handshake", "modern"], default="handshake")
    options = parser.parse_args()
    asyncio.run(run(options.url, options.era))
