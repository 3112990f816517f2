"""What the benchmark's servers offer: their tools, and the bytes of everything that never changes.

Results are kept encoded; a response is put together from its id and those bytes, so that a
server does as little as a server can.
"""

from __future__ import annotations

import os
from typing import Any, cast

import orjson

Json = dict[str, Any]
MODERN = "2026-07-28"
HANDSHAKES = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
ENVELOPE = "io.modelcontextprotocol/protocolVersion"
WAITED = "bench/waited"
"""In the `_meta` of a tool that asked: seconds from writing its question to having read the answer."""
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
BIG = 1_000_000
"""Bytes of the text that `big` returns."""

TOOLS_VARIABLE = "BENCH_TOOLS"
CORES_VARIABLE = "BENCH_CORES"

NAMED = {
    "echo": "Return the arguments as JSON text.",
    "big": f"Return a text of {BIG:,} characters.",
    "progress": "Send `steps` progress notifications (default 100), then the result.",
    "ask": "Ask one sampling question, then return the answer's text.",
    "ask_elicit": "Ask one elicitation in form mode, then return the action.",
    "wait": "Return after `seconds` (default 0.1).",
}
MODERN_INFO: Json = {"ttlMs": 60_000, "cacheScope": "public"}
SERVER_INFO: Json = {"name": "bench-upstream", "version": "1"}

SAMPLING: Json = {
    "messages": [{"role": "user", "content": {"type": "text", "text": "What is the capital of France?"}}],
    "maxTokens": 100,
}
ELICITATION: Json = {
    "mode": "form",
    "message": "Which city?",
    "requestedSchema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
QUESTIONS: dict[str, tuple[str, Json]] = {
    "ask": ("sampling/createMessage", SAMPLING),
    "ask_elicit": ("elicitation/create", ELICITATION),
}
"""Method and params of the question that a tool asks."""


def tool(name: str, about: str) -> Json:
    """Describe one tool; about as long as tools in the field are."""
    properties = {
        "text": {"type": "string", "description": "Any text; it comes back as it was sent."},
        "count": {
            "type": "integer",
            "description": "Any number; it comes back as it was sent.",
            "minimum": 0,
        },
        "steps": {"type": "integer", "description": "How many notifications come before the result."},
        "seconds": {"type": "number", "description": "How long the tool takes."},
    }
    return {"name": name, "description": about, "inputSchema": {"type": "object", "properties": properties}}


def tools(count: int) -> list[Json]:
    """The first `count` tools: those with a name of their own, then any number that echo."""
    named = [tool(name, about) for name, about in NAMED.items()]
    more = [tool(f"echo_{number:04}", NAMED["echo"]) for number in range(max(0, count - len(named)))]
    return [*named, *more][:count]


def count_of_tools() -> int:
    """How many tools to offer, from the environment."""
    return int(os.environ.get(TOOLS_VARIABLE, len(NAMED)))


def pin() -> None:
    """Run on the cores named in the environment, whichever process started this one."""
    if named := os.environ.get(CORES_VARIABLE):
        os.sched_setaffinity(0, {int(core) for core in named.split(",")})


def text_result(text: str, modern: bool, waited: float | None = None) -> bytes:
    """A tool's result of one text, encoded; `waited` is how many seconds the answer to its question took."""
    content: Json = {"content": [{"type": "text", "text": text}]}
    if waited is not None:
        content["_meta"] = {WAITED: waited}
    return orjson.dumps({"resultType": "complete", **content} if modern else content)


class Fixed:
    """Everything that is the same for each request, encoded once."""

    def __init__(self, count: int) -> None:
        listing: Json = {"tools": tools(count)}
        capabilities: Json = {"tools": {}}
        self.tools = {
            True: orjson.dumps({"resultType": "complete", **MODERN_INFO, **listing}),
            False: orjson.dumps(listing),
        }
        self.big = {modern: text_result("x" * BIG, modern) for modern in (True, False)}
        self.discover = orjson.dumps(
            {
                "resultType": "complete",
                **MODERN_INFO,
                "supportedVersions": [MODERN],
                "capabilities": capabilities,
                "_meta": {"io.modelcontextprotocol/serverInfo": SERVER_INFO},
            }
        )
        self._capabilities = capabilities

    def initialize(self, wanted: str) -> bytes:
        """The result of `initialize`, with the version that was wanted if it is spoken."""
        version = wanted if wanted in HANDSHAKES else HANDSHAKES[0]
        result = {
            "protocolVersion": version,
            "capabilities": self._capabilities,
            "serverInfo": SERVER_INFO,
        }
        return orjson.dumps(result)

    def plain(self, method: str, params: Json, modern: bool) -> bytes | None:
        """The result of anything that needs no stream and no waiting; None if there is none."""
        if method == "tools/call":
            name = params["name"]
            if name.startswith("echo"):
                return text_result(orjson.dumps(params.get("arguments", {})).decode(), modern)
            return self.big[modern] if name == "big" else None
        if method == "tools/list":
            return self.tools[modern]
        if method == "server/discover":
            return self.discover
        if method == "initialize":
            return self.initialize(params.get("protocolVersion", ""))
        return b"{}" if method in ("ping", "logging/setLevel") else None


def response(request_id: Any, result: bytes) -> bytes:
    """A JSON-RPC response around an encoded result."""
    return b'{"jsonrpc":"2.0","id":%s,"result":%s}' % (orjson.dumps(request_id), result)


def unknown(request_id: Any, method: str) -> bytes:
    """A JSON-RPC error for a method or tool that is not here."""
    error = {"code": -32601, "message": f"Method not found: {method}"}
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": error})


def progress(token: Any, step: int, steps: int) -> bytes:
    """One progress notification."""
    params = {"progressToken": token, "progress": step, "total": steps, "message": f"step {step} of {steps}"}
    return orjson.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


def answer_text(answer: Json) -> str:
    """What `ask` and `ask_elicit` return of an answer, of either form."""
    if "error" in answer:
        return f"error {answer['error']['code']}"
    if "action" in answer:
        return answer["action"]
    content: Any = answer["content"]
    return cast("list[Json]", content)[0]["text"] if isinstance(content, list) else content["text"]
