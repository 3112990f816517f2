"""Load by `wrk`: generated Lua, every response checked, and what came of it.

wrk is a load generator in C. Each request is different (id and arguments count up), and each response is
looked at: its status, that it holds what the call should return, and that it holds no error, so
that no figure is one of errors answered fast.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.speed.driver import HANDSHAKE, INFO, META, MODERN, Json
from benchmarks.speed.gateways.port import NotInstalled

TIMEOUT = 60
"""Seconds until wrk counts a request as timed out."""
LOOK = 2000
"""How much of the beginning and of the end of a long response is searched: errors are short, and to search
a megabyte would cost more than to serve it."""
NUMBER = "@N@"
"""Stands in a request for a number that counts up."""

SCRIPT = """
local heads = {%(heads)s}
local parts = {%(parts)s}
local expected, least, look = {%(expected)s}, %(least)d, %(look)d
local threads = {}
local n = 0
bad, sample = 0, ""

function setup(thread) table.insert(threads, thread) end

function request()
  n = n + 1
  local body = table.concat(parts, n)
  return heads[n %% #heads + 1] .. #body .. "\\r\\n\\r\\n" .. body
end

local function wrong(status, body)
  local seen = body
  if #body > 2 * look then seen = string.sub(body, 1, look) .. string.sub(body, -look) end
  if status ~= 200 or string.find(seen, '"error"%%s*:') or string.find(seen, '"isError"%%s*:%%s*true') then
    return "HTTP " .. status
  end
  if #body < least then return "only " .. #body .. " bytes" end
  for _, part in ipairs(expected) do
    if not string.find(seen, part, 1, true) then return "without '" .. string.sub(part, 1, 40) .. "'" end
  end
end

function response(status, headers, body)
  local why = wrong(status, body)
  if not why then return end
  bad = bad + 1
  if sample == "" then sample = why .. ": " .. string.sub(body, 1, 200) end
end

function done(summary, latency, requests)
  local wrong, example = 0, ""
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("bad")
    if example == "" then example = thread:get("sample") end
  end
  local e = summary.errors
  io.write(string.format("\\nRESULT %%d %%d %%d %%d %%d %%d %%.1f %%.1f\\n",
    summary.requests, summary.duration, wrong, e.connect, e.read + e.write, e.timeout,
    latency:percentile(50), latency:percentile(99)))
  io.write("SAMPLE " .. string.gsub(example, "%%c", " ") .. "\\n")
end
"""


class LoadFailed(Exception):
    """Responses were wrong, or none came; says how many and shows one."""


class NoResponse(LoadFailed):
    """None came before the time was up."""


@dataclass(frozen=True)
class Shot:
    """One kind of request: headers (a mapping a session), the message, and what a right response holds.

    `least` is how many bytes a right response has at least.
    """

    url: str
    headers: Sequence[Mapping[str, str]]
    message: Json
    expected: tuple[str, ...]
    least: int = 0

    def script(self) -> str:
        """The Lua that wrk runs."""
        target = urlsplit(self.url)
        heads = [
            f"POST {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\n"
            + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            + "Content-Length: "
            for fields in self.headers
        ]
        # A value that is nothing but the number is one; elsewhere it stands within text.
        body = json.dumps(self.message).replace(f'"{NUMBER}"', NUMBER)
        return SCRIPT % {
            "heads": ", ".join(lua(head) for head in heads),
            "parts": ", ".join(lua(part) for part in body.split(NUMBER)),
            "expected": ", ".join(lua(part) for part in self.expected),
            "least": self.least,
            "look": LOOK,
        }


@dataclass(frozen=True)
class Load:
    """What one run came to; times in microseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def lua(text: str) -> str:
    """Write a text as a Lua string; raises ValueError for what wrk's Lua cannot hold."""
    if "\0" in text:
        raise ValueError("a request cannot hold NUL")
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"}
    return '"' + "".join(escapes.get(letter, letter) for letter in text) + '"'


def parse(output: str) -> Load:
    """Read what the script printed at its end.

    Raises:
        LoadFailed: a response was wrong, or wrk said nothing.
        NoResponse: none came in time.
    """
    lines = output.splitlines()
    found = [line.split()[1:] for line in lines if line.startswith("RESULT ")]
    if not found:
        raise LoadFailed(f"wrk gave no result: {output[-300:]!r}")
    requests, micros, bad, refused, broken, late = (int(part) for part in found[0][:6])
    p50, p99 = (float(part) for part in found[0][6:])
    if not (requests or bad or refused or broken or late):
        raise NoResponse(f"no response within {micros / 1e6:.0f} s")
    if bad or refused or broken or late:
        sample = next((line[7:] for line in lines if line.startswith("SAMPLE ")), "")
        raise LoadFailed(
            f"{bad} of {requests} responses wrong, {refused} connections refused,"
            f" {broken} broken, {late} late" + (f"; the first: {sample.strip()}" if sample.strip() else "")
        )
    return Load(requests, micros / 1e6, p50, p99)


def binary() -> str:
    """Where wrk is. Raises NotInstalled."""
    found = shutil.which("wrk")
    if found is None:
        raise NotInstalled("wrk is not installed: apt-get install wrk")
    return found


async def fire(shot: Shot, connections: int, seconds: float, folder: Path) -> Load:
    """Run wrk with one thread on this process's own cores, for whole seconds, and read its result.

    Raises:
        LoadFailed, NotInstalled.
    """
    script = folder / "load.lua"
    script.write_text(shot.script())
    target = urlsplit(shot.url)
    command = [binary(), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"--timeout={TIMEOUT}s"]
    process = await asyncio.create_subprocess_exec(
        *command,
        f"--script={script}",
        f"{target.scheme}://{target.netloc}{target.path}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return parse(out.decode(errors="replace"))


@dataclass(frozen=True)
class Call:
    """A request as a client means it: method, params, and what a right response holds and how long it is."""

    method: str
    params: Json
    expected: tuple[str, ...]
    meta: Json = field(default_factory=dict[str, Any])
    least: int = 0


def modern(url: str, call: Call, more: Mapping[str, str]) -> Shot:
    """The call by a 2026-07-28 client: the envelope in each request, and headers that repeat it."""
    envelope = {
        META + "protocolVersion": MODERN,
        META + "clientInfo": INFO,
        META + "clientCapabilities": {},
    }
    named = {"Mcp-Name": call.params["name"]} if "name" in call.params else {}
    headers = {**_COMMON, "MCP-Protocol-Version": MODERN, "Mcp-Method": call.method, **named, **more}
    params = {**call.params, "_meta": {**envelope, **call.meta}}
    return Shot(url, [headers], _message(call.method, params), call.expected, call.least)


def handshake(url: str, call: Call, more: Mapping[str, str], sessions: Sequence[str]) -> Shot:
    """The call by handshake clients, sessions taking turns (an empty name: a server without sessions)."""
    headers = [
        {
            **_COMMON,
            "MCP-Protocol-Version": HANDSHAKE,
            **({"Mcp-Session-Id": session} if session else {}),
            **more,
        }
        for session in sessions
    ]
    params = {**call.params, **({"_meta": call.meta} if call.meta else {})}
    return Shot(url, headers, _message(call.method, params), call.expected, call.least)


_COMMON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def _message(method: str, params: Json) -> Json:
    return {"jsonrpc": "2.0", "id": NUMBER, "method": method, "params": params}
