"""`backchannel demo`: an example server, this gateway and a scripted client, in one go."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gateway.cli.common import DEFAULT_CONFIG, ConfigOption, fail, load_config
from gateway.cli.listening import Listening, listening

if TYPE_CHECKING:
    from gateway.app import Gateway
    from gateway.config.resolved import GatewayConfig
    from gateway.policy.model import Kind

Json = dict[str, Any]

_CLIENT = Path("examples/ask_client.py")
_SERVER = "ask"
_TITLES = {
    "handshake": "A client of protocol 2025-11-25, with a session",
    "modern": "A client of protocol 2026-07-28, stateless",
}
_TOOLS: dict[Kind, str] = {"sampling": "summarize", "elicitation": "book_table"}
"""The tool of the example server that asks each kind of question."""
_PARTY = {"llm": "the gateway's own LLM", "client": "the client"}
_LEVELS = {
    "tool": "level 1, tool",
    "server": "level 2, external server",
    "organization": "level 3, organization",
    "smart_discovery": "level 4, smart discovery",
    "built_in": "level 5, built in",
}
_CLIENT_LIMIT = 120
"""Seconds in which the client has to finish."""
_BREAK = "\n" + " " * 11
"""What continues a line under the words of its party."""


def demo(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Show who answers what a server asks back. Exit status 1 if the policy's party did not answer."""
    if config == DEFAULT_CONFIG and not config.exists():
        config = Path(__file__).resolve().parents[2] / DEFAULT_CONFIG
    loaded = load_config(config, {"http.port": 0, "http.host": "127.0.0.1", "logging.level": "error"})
    example = [server for server in loaded.servers if server.name == _SERVER]
    if not example:
        fail(f"the demo needs the example server '{_SERVER}' among the servers of {config}, as it is shipped")
    from gateway.observability.logging import configure

    configure(loaded.logging)
    alone = dataclasses.replace(loaded, servers=tuple(example), api_keys=())
    if not asyncio.run(_demo(listening(alone), _find_client(config), loaded)):
        raise typer.Exit(1)


def _find_client(config: Path) -> Path:
    """Return the example client: of the project the configuration is of, of here, or of this program."""
    folders = (config.resolve().parent.parent, Path.cwd(), Path(__file__).resolve().parents[2])
    found = next((folder / _CLIENT for folder in folders if (folder / _CLIENT).is_file()), None)
    if found is None:
        fail(f"the demo needs {_CLIENT} of the project; run it from the project's folder")
    return found


async def _demo(at: Listening, script: Path, config: GatewayConfig) -> bool:
    async with at as (gateway, url):
        (server,) = gateway.servers()
        if server.state != "up":
            fail(f"the example server '{_SERVER}' is {server.state}: {server.reason or 'no answer yet'}")
        tools = f"{server.transport}, {server.tools} tools"
        print(f"server   '{_SERVER}', an MCP server whose tools ask back ({tools})")
        print(f"gateway  {url}, policy of {config.file}")
        print("client   can show its user a form, and has no language model\n")
        scenes = [await _Scene(gateway, url, script, era, config).play() for era in _TITLES]
    program = _program()
    print("Try it yourself:\n")
    print(f"  {program} serve")
    print("  claude mcp add --transport http backchannel http://127.0.0.1:8080/mcp")
    print("  curl http://127.0.0.1:8080/api/decisions")
    print(f"  {program} explain --server {_SERVER} --tool {_TOOLS['sampling']}")
    return all(scenes)


def _program() -> str:
    """Return how this program is called from here: by its name only where the shell would find it."""
    return "backchannel" if shutil.which("backchannel") else shlex.quote(os.path.relpath(sys.argv[0]))


class _Scene:
    """One run of the client, told line by line."""

    def __init__(self, gateway: Gateway, url: str, script: Path, era: str, config: GatewayConfig) -> None:
        self._gateway = gateway
        self._command = (sys.executable, str(script), url, "--era", era)
        self._era = era
        self._config = config
        self._told = {decision["id"] for decision in gateway.decisions(1000)}
        self._answered: dict[str, str | None] = {}
        self._form: Json | None = None

    async def play(self) -> bool:
        """Run the client and tell what happens; true if those answered whom the policy names."""
        print(f"{_TITLES[self._era]}\n")
        process = await asyncio.create_subprocess_exec(*self._command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_CLIENT_LIMIT):
                async for event in _events(process.stdout):
                    self._tell(event)
                status = await process.wait()
        except TimeoutError:
            fail(f"the demo's client did not finish within {_CLIENT_LIMIT} s")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return self._verdict() and status == 0

    def _tell(self, event: Json) -> None:
        if event["event"] == "call":
            arguments = ", ".join(
                f"{name}={_short(str(value), 40)}" for name, value in event["arguments"].items()
            )
            print(f"  client   calls {event['tool']}({arguments})")
        elif event["event"] == "asked":
            self._form = event
        else:
            self._tell_decisions()
            paragraphs = (_short(paragraph) for paragraph in event["text"].split("\n\n"))
            print(f"  client   gets {_BREAK.join(paragraphs)}\n")

    def _tell_decisions(self) -> None:
        for decision in reversed(self._gateway.decisions(1000)):
            if decision["id"] not in self._told:
                self._told.add(decision["id"])
                self._tell_decision(decision)

    def _tell_decision(self, decision: Json) -> None:
        source, answered = decision["source"], decision["source"]
        print(f"  server   asks back: {decision['method']}")
        level = _LEVELS.get(decision["level"], "no level")
        print(f"  gateway  follows {decision['strategy']}: {level}, {decision['path']}")
        for leg in decision["legs"]:
            if leg["source"] != source:
                print(f"  {leg['source']:<9}does not answer: {leg['reason']}")
        if source == "llm":
            leg = decision["legs"][-1]
            print(f"  LLM      {leg['provider']} {leg['model']} answers in {decision['seconds']:.2f} s")
        elif source == "client" and self._form is not None:
            self._tell_form(self._form, decision)
        else:
            answered = None
            print(f"  gateway  has no answer: {decision['error'] or decision['outcome']}")
        self._form = None
        self._answered[decision["kind"]] = answered

    def _tell_form(self, form: Json, decision: Json) -> None:
        again = decision["outcome"] == "deferred"
        how = "calls again with" if again else f"answers in {decision['seconds']:.2f} s with"
        print(f"  client   shows its user {form['message']!r}{_BREAK}and {how} {json.dumps(form['answer'])}")

    def _verdict(self) -> bool:
        """Whether a party answered each kind that the policy names for it, and this client can be."""
        from gateway.cli.meaning import answerers
        from gateway.policy.model import Facts

        sound = True
        for kind, tool in _TOOLS.items():
            (server,) = self._gateway.config.servers
            named = answerers(self._config, Facts(kind, _SERVER, server.prefix + tool))
            able = [leg for leg in named if leg == "llm" or kind == "elicitation"]
            who = self._answered.get(kind)
            if who not in (able or [None]):
                should = " or ".join(_PARTY[leg] for leg in able) or "nobody"
                print(f"{kind} was for {should} to answer; it was {_PARTY.get(who or '', 'nobody')}")
                sound = False
        return sound


async def _events(lines: asyncio.StreamReader) -> AsyncIterator[Json]:
    async for line in lines:
        yield json.loads(line)


def _short(text: str, most: int = 200) -> str:
    words = " ".join(text.split())
    return words if len(words) <= most else f"{words[: most - 1]}…"
