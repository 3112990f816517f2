"""Runs `server.py` for a test: one kind for each transport and era."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.calls.model import LATER, Asked, LaterAnswer, Profile
from gateway.config.resolved import ServerConfig
from gateway.policy.model import Source
from gateway.upstream.port import Connection

Json = dict[str, Any]
SCRIPT = Path(__file__).parent / "server.py"
HERE = Source("servers.yaml", "mcpServers.raw", 3)
PROFILE: Profile = frozenset({"sampling", "sampling.tools", "elicitation.form", "elicitation.url", "roots"})

KINDS = ("stdio-handshake", "stdio-modern", "http-handshake", "http-modern", "sse-handshake")
HANDSHAKE = tuple(kind for kind in KINDS if kind.endswith("handshake"))
MODERN = tuple(kind for kind in KINDS if kind.endswith("modern"))


@asynccontextmanager
async def raw_server(
    kind: str, *flags: str, script: Path = SCRIPT, **settings: Any
) -> AsyncGenerator[ServerConfig]:
    """Yield the configuration of a running server (stdio: of one that dialling starts)."""
    transport, era = kind.split("-")
    if transport == "stdio":
        args = ("-S", str(script), transport, era, *flags)
        yield ServerConfig("raw", "stdio", HERE, command=sys.executable, args=args, **settings)
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", str(script), transport, era, *flags,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        port = int(await process.stdout.readline())
        path = "/sse" if transport == "sse" else "/mcp"
        url = f"http://127.0.0.1:{port}{path}"
        yield ServerConfig("raw", "sse" if transport == "sse" else "http", HERE, url=url, **settings)
    finally:
        process.stdin.close()
        if process.returncode is None:
            process.kill()
        await process.wait()


def entry_of(name: str, server: ServerConfig, **settings: Any) -> Json:
    """Return a running server, or one that dialling starts, as an entry of `external_mcp.servers`."""
    place: Json = {"command": server.command, "args": list(server.args)}
    if not server.command:
        place = {"type": server.transport, "url": server.url}
    return {"name": name, **place, **settings}


@dataclass
class Recorder:
    """A `Scope` and a `Listener` in one: answers as told and keeps what came.

    `answers` gives the answer to a question by its method; an exception is raised.
    `asked_event` is set by each question, which waits for `gate` where there is one.
    """

    answers: Mapping[str, Any] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    questions: list[tuple[str, Asked]] = field(default_factory=list)
    notifications: list[tuple[str, str, Json]] = field(default_factory=list)
    asked_event: asyncio.Event = field(default_factory=asyncio.Event)
    told_event: asyncio.Event = field(default_factory=asyncio.Event)
    withdrawn: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def scope(self) -> RecordingScope:
        return RecordingScope(self)

    @property
    def listener(self) -> RecordingListener:
        return RecordingListener(self)

    async def answer(self, place: str, asked: Asked) -> Any:
        self.questions.append((place, asked))
        self.asked_event.set()
        if self.gate is not None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.withdrawn.set()
                raise
        answer = self.answers[asked.method]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def note(self, place: str, method: str, params: Json) -> None:
        self.notifications.append((place, method, params))
        self.told_event.set()

    async def told(self, method: str) -> tuple[str, Json]:
        """Wait for a notification; returns where it came and its params."""
        while True:
            for place, name, params in self.notifications:
                if name == method:
                    return place, params
            self.told_event.clear()
            await self.told_event.wait()


@dataclass
class RecordingScope:
    recorder: Recorder

    async def question(self, asked: Asked, *, deferrable: bool) -> Json | LaterAnswer:
        return await self.recorder.answer("scope, deferrable" if deferrable else "scope", asked)

    def notification(self, method: str, params: Json) -> None:
        self.recorder.note("scope", method, params)


@dataclass
class RecordingListener:
    recorder: Recorder

    async def question(self, connection: Connection, asked: Asked) -> Json:
        return await self.recorder.answer("listener", asked)

    def notification(self, connection: Connection, method: str, params: Json) -> None:
        self.recorder.note("listener", method, params)


async def call(connection: Connection, tool: str, scope: Any = None, **arguments: Any) -> Json:
    """Call a tool and return its result, which must not be a suspension."""
    result = await connection.call("tools/call", {"name": tool, "arguments": arguments}, scope)
    assert isinstance(result, dict)
    return result


def children() -> set[int]:
    """The process ids of this process's living children, and of their groups' members."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid() and fields[0] != "Z":
                found.add(int(entry.name))
    return found


__all__ = ["HANDSHAKE", "KINDS", "LATER", "MODERN", "PROFILE", "Recorder", "call", "children", "raw_server"]
