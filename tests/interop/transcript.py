"""Print what happens between third-party servers, a gateway and a client: the text of docs/interop.md.

scripts/interop && .venv/bin/python -m tests.interop.transcript
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from gateway.config.resolved import Logging
from gateway.observability.logging import configure
from tests.interop.test_servers_in_the_field import FORM, SAMPLE, config
from tests.support.clients import Mode, Person, accepted, connect
from tests.support.gateway import Running, running_gateway

TIME = "time__get_current_time"
CALLS: list[tuple[str, dict[str, Any]]] = [
    (TIME, {"timezone": "UTC"}),
    (SAMPLE, {"prompt": "Say hello.", "maxTokens": 24}),
    (FORM, {}),
]
TITLES: dict[Mode, str] = {
    "handshake": "A client of protocol 2025-11-25, with a session",
    "modern": "A client of protocol 2026-07-28, stateless",
}
WIDTH = 110


def short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= WIDTH else f"{words[: WIDTH - 1]}…"


async def main() -> None:
    configure(Logging(level="error"))
    with tempfile.TemporaryDirectory() as folder:
        async with running_gateway(Path(folder), config()) as running:
            for server in running.gateway.servers():
                version = f"{server.era} era, {server.protocol_version}"
                name = f"{server.server_info['name']} {server.server_info['version']}"
                print(f"server   '{server.name}' is {name} ({server.transport}, {version})")
            for mode, title in TITLES.items():
                print(f"\n{title}\n")
                await converse(running, mode)


async def converse(running: Running, mode: Mode) -> None:
    person = Person(elicitation=accepted(name="Ada", check=True))
    told = len(await running.decisions())
    async with connect(running.url, person, mode) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        print(f"  client   sees {len(tools)} tools of both servers; can show a form, has no language model")
        for name, arguments in CALLS:
            print(f"\n  client   calls {name}({json.dumps(arguments)})")
            result = await client.call_tool(name, arguments)
            decisions = await running.decisions()
            for decision in decisions[told:]:
                tell(decision)
            told = len(decisions)
            text = " ".join(block.text for block in result.content if block.type == "text")
            print(f"  client   gets {short(gist(text))}")


def gist(text: str) -> str:
    """Return what a sampling tool's text says, without the rest of the answer that it prints."""
    if not text.startswith("LLM sampling result"):
        return text
    answer = json.loads(text.partition("\n")[2])
    source = answer["_meta"]["backchannel/routing"]["source"]
    return f"{answer['content']['text']!r}, by {answer['model']}, from the {source}"


def tell(decision: dict[str, Any]) -> None:
    print(f"  server   '{decision['server']}' asks back: {decision['method']}")
    print(f"  gateway  follows {decision['strategy']} of {Path(decision['path']).name}")
    (leg,) = decision["legs"]
    who = f"LLM      {leg['provider']} {leg['model']}" if leg["source"] == "llm" else "client  "
    print(f"  {who} answers in {decision['seconds']:.2f} s")


if __name__ == "__main__":
    asyncio.run(main())
