"""The benchmark's server over stdio, of either era: one line in, one line out, nothing kept but questions.

Run with `python -m benchmarks.speed.upstream_stdio`. Synchronous, since it never waits for anything
but its standard input.
"""

from __future__ import annotations

import sys
from typing import Any

import orjson

from benchmarks.speed.upstream_tools import (
    ENVELOPE,
    MODERN,
    QUESTIONS,
    Fixed,
    Json,
    answer_text,
    count_of_tools,
    pin,
    progress,
    response,
    text_result,
    unknown,
)


class Stdio:
    """Answers one message at a time; `asked` maps the id of a question to the id of its call."""

    def __init__(self, count: int) -> None:
        self.fixed = Fixed(count)
        self.asked: dict[str, Any] = {}
        self._numbers = 0

    def answer(self, line: bytes) -> list[bytes]:
        """Return the messages that one line comes to."""
        message = orjson.loads(line)
        if "method" not in message:
            call = self.asked.pop(message["id"], None)
            got = message.get("result") or {"error": message["error"]}
            return [] if call is None else [response(call, text_result(answer_text(got), False))]
        if "id" not in message:
            return []
        params: Json = message.get("params") or {}
        meta: Json = params.get("_meta") or {}
        modern = meta.get(ENVELOPE) == MODERN
        result = self.fixed.plain(message["method"], params, modern)
        if result is not None:
            return [response(message["id"], result)]
        return self._slow(message["id"], message["method"], params, modern)

    def _slow(self, request_id: Any, method: str, params: Json, modern: bool) -> list[bytes]:
        name = params.get("name", "") if method == "tools/call" else ""
        if name == "progress":
            arguments: Json = params.get("arguments") or {}
            meta: Json = params.get("_meta") or {}
            steps, token = int(arguments.get("steps", 100)), meta.get("progressToken")
            told = [] if token is None else [progress(token, step + 1, steps) for step in range(steps)]
            return [*told, response(request_id, text_result(f"{steps} steps", modern))]
        if name in QUESTIONS and not modern:
            self._numbers += 1
            number = f"question-{self._numbers}"
            self.asked[number] = request_id
            asked, about = QUESTIONS[name]
            return [orjson.dumps({"jsonrpc": "2.0", "id": number, "method": asked, "params": about})]
        return [unknown(request_id, name or method)]


def main() -> None:
    """Serve standard input until it ends."""
    pin()
    server = Stdio(count_of_tools())
    out = sys.stdout.buffer
    for line in sys.stdin.buffer:
        for message in server.answer(line):
            out.write(message + b"\n")
        out.flush()


if __name__ == "__main__":
    main()
