"""Small stdio servers as source text, each with one habit, and a way to dial them."""

from __future__ import annotations

import sys
from typing import Any

from gateway.config.resolved import ServerConfig
from tests.support.raw.peers import HERE

HANDSHAKE = """
import json, os, signal, subprocess, sys, time
def say(message):
    sys.stdout.write(json.dumps(message) + "\\n"); sys.stdout.flush()
def hear():
    line = sys.stdin.readline()
    if not line: raise SystemExit
    return json.loads(line)
def answer(message, **result):
    say({"jsonrpc": "2.0", "id": message["id"], "result": result})
def refuse(message, code=-32601):
    say({"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": "no"}})
def begin(version="2025-11-25"):
    while True:
        message = hear()
        if message["method"] == "initialize":
            answer(message, protocolVersion=version, capabilities={}, serverInfo={"name": "s"})
        elif message["method"] == "notifications/initialized":
            return
        else:
            refuse(message)
def serve(**tools):
    while True:
        message = hear()
        if "id" in message and "method" in message:
            answer(message, **tools[message["params"]["name"]]())
"""
"""What the scripts below build on: `begin` shakes hands, `serve` answers tools by functions."""


def stdio(source: str, **settings: Any) -> ServerConfig:
    """Return the configuration of a server that is this source text."""
    return ServerConfig(
        "s", "stdio", HERE, command=sys.executable, args=("-S", "-c", HANDSHAKE + source), **settings
    )
