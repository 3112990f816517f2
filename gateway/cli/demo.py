"""`backchannel demo`: an example server, this gateway and a scripted client, in one go."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gateway.cli.common import DEFAULT_CONFIG, ConfigOption, fail, load_config
from gateway.cli.listening import Listening, listening

if TYPE_CHECKING:
    from gateway.app import Gateway

Json = dict[str, Any]

_ERAS = ("handshake", "modern")
_EXPECTED = {"sampling": "llm", "elicitation": "client"}
_PARTY = {"llm": "the gateway's own LLM", "client": "the client"}
_LEVELS = {
    "tool": "level 1, tool",
    "server": "level 2, external server",
    "organization": "level 3, organization",
    "smart_discovery": "level 4, smart discovery",
    "built_in": "level 5, built in",
}
_CLIENT_LIMIT = 120


def demo(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Show who answers what a server asks back. Exit status 1 if somebody else answered."""
    script = config.resolve().parent.parent / "examples" / "ask_client.py"
    if not script.is_file():
        fail(f"the demo needs its example client at {script}; run it from a checkout of the project")
    loaded = load_config(config, {"http.port": 0, "http.host": "127.0.0.1", "logging.level": "error"})
    from gateway.observability.logging import configure

    configure(loaded.logging)
    if not asyncio.run(_demo(listening(loaded), script, config)):
        raise typer.Exit(1)


async def _demo(at: Listening, script: Path, config: Path) -> bool:
    async with at as (gateway, url):
        down = [server for server in gateway.servers() if server.name == "ask" and server.state != "up"]
        if down:
            fail(f"the example server 'ask' is {down[0].state}: {down[0].reason}")
        print(f"A server asks back through the gateway at {url} ({config}).\n")
        as_expected = [await _scene(gateway, url, script, era) for era in _ERAS]
    print("Try it yourself:")
    print("  backchannel serve")
    print("  claude mcp add --transport http backchannel http://127.0.0.1:8080/mcp")
    print("  backchannel explain --server ask --tool summarize")
    return all(as_expected)


async def _scene(gateway: Gateway, url: str, script: Path, era: str) -> bool:
    """Run the client once, and tell what happened; true if the expected parties answered."""
    protocol = {"handshake": "2025-11-25, with a session", "modern": "2026-07-28, stateless"}[era]
    print(f"— A client of the {era} era ({protocol}) that has no language model —\n")
    seen = {decision["id"] for decision in gateway.decisions(1000)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), url, "--era", era, stdout=asyncio.subprocess.PIPE
    )
    asked: Json | None = None
    try:
        async with asyncio.timeout(_CLIENT_LIMIT):
            assert process.stdout is not None
            async for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "asked":
                    asked = event
                elif event["event"] == "call":
                    print(f"  client  calls {event['tool']} {json.dumps(event['arguments'])[:90]}")
                else:
                    _tell_questions(gateway, seen, asked)
                    asked = None
                    said = _short(event.get("text") or event.get("message"))
                    print(f"  client  gets {event['event']}: {said}\n")
            await process.wait()
    except TimeoutError:
        process.kill()
        fail(f"the demo's client did not finish within {_CLIENT_LIMIT} s")
    return process.returncode == 0 and _check(gateway, era)


def _tell_questions(gateway: Gateway, seen: set[str], asked: Json | None) -> None:
    for decision in reversed(gateway.decisions(1000)):
        if decision["id"] in seen:
            continue
        seen.add(decision["id"])
        print(f"  server  {decision['server']} asks back: {decision['method']}")
        if asked is not None and decision["kind"] == "elicitation":
            print(f"          client is shown: {asked['message']!r}")
        leg: Json = decision["legs"][-1] if decision["legs"] else {}
        who = _PARTY.get(decision["source"], "nobody")
        model = (
            f" ({leg['provider']} {leg['model']}, {decision['seconds']:.2f} s)" if leg.get("provider") else ""
        )
        verb = "is put to" if decision["outcome"] == "deferred" else "is answered by"
        print(f"  gateway says: it {verb} {who}{model}")
        print(f"          because {_LEVELS.get(decision['level'], 'no level')} says {decision['strategy']}")
        print(f"          {decision['path']}")


def _check(gateway: Gateway, era: str) -> bool:
    """Whether the latest decision of each kind names the party that the shipped policy names."""
    for kind, party in _EXPECTED.items():
        latest = gateway.decisions(1, kind=kind)
        if not latest or latest[0]["source"] != party:
            print(f"In the {era} era the {kind} request should have been answered by {_PARTY[party]}.")
            return False
    return True


def _short(text: str | None) -> str:
    words = " ".join((text or "").split())
    return words if len(words) <= 160 else f"{words[:157]}…"
