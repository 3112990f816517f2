"""A llama.cpp server in a process of its own, on a loopback port, with the bundled model.

It speaks OpenAI's and Anthropic's wire formats. Run as a script it prints its address, and ends with
its standard input.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

KEY = "llama-server-key"
TEMPLATE = """\
{%- if tools %}<|im_start|>system
Call a function like this: <tool_call>{"name": "…", "arguments": {}}</tool_call>
<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools><|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""The model's own, which knows no tools, with the way in which others are told of them."""
ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def llama_server() -> AsyncIterator[str]:
    """Yield the address of a server that has loaded its model."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.llama_server", cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            # The library prints lines of its own.
            while not (line := (await process.stdout.readline()).decode()).startswith("http://"):
                assert line, "the server ended before it listened"
        yield line.strip()
    finally:
        process.stdin.close()
        process.kill()
        await process.wait()


def main() -> None:
    """Serve until standard input ends."""
    import xllamacpp

    from gateway.llm.local import bundled_model

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = bundled_model()
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {"smollm2-135m-instruct"}
    params.n_ctx, params.n_parallel, params.cache_ram_mib = 4096, 2, 0
    params.fit_params = params.warmup = params.ui = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 2) - 1)
    params.chat_template = TEMPLATE
    params.api_keys = [KEY]
    params.hostnames, params.port = ["127.0.0.1"], port
    server = xllamacpp.Server(params)
    print(f"http://127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    del server
    os._exit(0)


if __name__ == "__main__":
    main()
