"""An LLM service in OpenAI's format that answers at once and says how long it took itself.

It runs in the process that uses it; `spent` grows by the seconds between a whole request's
arrival and its answer being written.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

KEY = "BENCH_LLM_KEY"
"""The environment variable that holds the service's key; it takes any."""
TEXT = "Paris, says the LLM"
FORM = '{"city": "Paris"}'

Fault = Callable[[int], str | None]
"""Says of a request, by its number from 1, how it is to fail: an HTTP status, `reset`, or not (None)."""


class Provider:
    """The service. `url` is its base address; `requests` counts what came, `last` is the newest body."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.spent = 0.0
        self.requests = 0
        self.port = 0
        self.last = b""
        self.fault: Fault = fault or (lambda _: None)

    @property
    def url(self) -> str:
        """The base address as a configuration has it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def config(self, **more: Any) -> dict[str, Any]:
        """The `llm_config` block that points here."""
        return {"provider": "openai", "model": "bench", "base_url": self.url, "api_key_env": KEY, **more}

    def answer(self, head: bytes, body: bytes) -> bytes | None:
        """Return the response to one request; None breaks the connection."""
        self.requests += 1
        self.last = body
        fault = self.fault(self.requests)
        if fault == "reset":
            return None
        if fault is not None:
            words = {"error": {"message": f"injected {fault}", "type": "injected"}}
            return _response(int(fault), json.dumps(words).encode())
        text = FORM if b'"response_format"' in body else TEXT
        return _response(200, json.dumps(_completion(text)).encode())


def _completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "bench",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


def _response(status: int, body: bytes) -> bytes:
    more = b"retry-after: 0\r\n" if status == 429 else b""
    head = b"HTTP/1.1 %d Bench\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n"
    return head % (status, len(body), more) + body


class _Connection(asyncio.Protocol):
    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(rest) < length:
            return
        began = time.perf_counter()
        self._buffer = rest[length:]
        answer = self._provider.answer(head, rest[:length])
        if answer is None:
            self._transport.abort()
            return
        self._transport.write(answer)
        self._provider.spent += time.perf_counter() - began


@asynccontextmanager
async def providing(fault: Fault | None = None) -> AsyncGenerator[Provider]:
    """Serve on a free loopback port while the block lasts."""
    provider = Provider(fault)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(provider), "127.0.0.1", 0)
    provider.port = server.sockets[0].getsockname()[1]
    try:
        yield provider
    finally:
        server.close()
