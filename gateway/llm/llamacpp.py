"""llama.cpp in this process: one loaded GGUF file, a few generations at a time.

`xllamacpp.Server` runs the requests; they are given to it directly. Each generation has a
thread of its own, which blocks outside the interpreter lock and comes back for every
piece of the answer, so that it can be stopped between two pieces, and between two batches
of a long prompt.

Two things the library does not offer are worked around here:

* Loading holds the interpreter lock: nothing else in the process runs meanwhile (about
  half a second for the bundled model). `warm` exists so that this can happen at start.
* The server always listens. It gets a Unix socket in a private directory, which is
  removed as soon as the model is loaded, so that nobody can connect; where there are no
  Unix sockets it is a loopback port that asks for a random key.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

Json = dict[str, Any]

_BATCH = 256
"""Tokens of the prompt that are read between two chances to stop."""

_SOCKET_PATH_MAX = 90
"""`sun_path` holds 104 bytes on macOS and 108 on Linux."""


@dataclass(slots=True, eq=False)
class Generation:
    """One running answer: what came so far, and the wish to stop.

    `tokens` is what was told of each (``{"token", "logprob", …}``), if that was asked for.
    `stop_reason` is ``endTurn``, ``maxTokens`` or ``stopSequence``; `error` is llama.cpp's
    own error object (``{"code": 400, "message": …, "type": …}``), or one made from what it raised.
    """

    stops: Sequence[str] = ()
    text: str = ""
    tokens: list[Json] = field(default_factory=list[Json])
    stop_reason: str = "endTurn"
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: Json | None = None
    ended: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)

    def feed(self, chunk: Json) -> bool:
        """Take one streamed chunk; true asks llama.cpp to stop."""
        if "error" in chunk:
            self.error = cast("Json", chunk["error"])
            return True
        self._count(cast("Json", chunk.get("timings") or {}))
        for choice in cast("list[Json]", chunk.get("choices") or []):
            self._take(choice)
        # A main thread that has ended means the interpreter is leaving and waits for us.
        return self.ended or self.cancelled.is_set() or not threading.main_thread().is_alive()

    def _count(self, timings: Json) -> None:
        if "prompt_n" in timings:
            self.input_tokens = int(timings["prompt_n"]) + int(timings.get("cache_n", 0))
            self.output_tokens = int(timings.get("predicted_n", 0))

    def _take(self, choice: Json) -> None:
        if choice.get("finish_reason") == "length":
            self.stop_reason = "maxTokens"
        piece = cast("Json", choice.get("delta") or {}).get("content") or ""
        self.tokens += cast("Json", choice.get("logprobs") or {}).get("content") or []
        # Stop sequences are found here, not by llama.cpp, which does not tell that it met one.
        start = max(0, len(self.text) - max(map(len, self.stops), default=0))
        self.text += piece
        found = [at for stop in self.stops if (at := self.text.find(stop, start)) >= 0]
        if piece and found:
            self.text = self.text[: min(found)]
            self.stop_reason = "stopSequence"
            self.ended = True


class Engine:
    """A loaded model, shared by all who lease the same file.

    At most `slots` generations run at once, each within `context` tokens; further ones
    wait their turn. Belongs to one event loop.
    """

    def __init__(self, path: Path, *, slots: int = 2, context: int = 4096) -> None:
        self.path = path
        self.context = context
        self._slot_count = slots
        self._slots = asyncio.Semaphore(slots)
        self._loading: asyncio.Task[Any] | None = None
        self._running: set[Generation] = set()
        self.idle = asyncio.Event()
        """Set while no generation occupies a thread."""
        self.idle.set()
        self._leases = 0
        self._closed = False

    def __repr__(self) -> str:
        loaded = self._loading is not None and self._loading.done()
        return f"Engine({self.path.name!r}, loaded={loaded}, running={len(self._running)}/{self._slot_count})"

    @property
    def running(self) -> int:
        """How many generations occupy a thread now."""
        return len(self._running)

    async def load(self) -> Any:
        """Load the model if it is not loaded; return the `xllamacpp.Server`.

        Raises:
            RuntimeError: the file is no model, there is not enough memory, or all leases ended.
        """
        if self._closed:
            raise RuntimeError("it was closed")
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(self._open))
        try:
            # Shielded: one caller who gives up does not take the model from the others.
            return await asyncio.shield(self._loading)
        except RuntimeError:
            self._loading = None
            raise

    async def generate(self, request: Json, stops: Sequence[str]) -> Generation:
        """Run one chat completion. Cancelling stops the generation.

        Raises:
            RuntimeError: the model cannot be loaded.
        """
        server = await self.load()
        await self._slots.acquire()
        if self._closed:
            self._slots.release()
            raise RuntimeError("it was closed while the request waited")
        generation = Generation(stops)
        done = self._start(server, request, generation)
        # The slot is free when the thread has ended, which may be after our caller left.
        done.add_done_callback(lambda _: self._slots.release())
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            generation.cancelled.set()
            raise
        return generation

    def _start(self, server: Any, request: Json, generation: Generation) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def finish() -> None:
            self._running.discard(generation)
            if not self._running:
                self.idle.set()
            done.set_result(None)

        def work() -> None:
            _run(server.handle_chat_completions, request, generation)
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish)

        self._running.add(generation)
        self.idle.clear()
        threading.Thread(target=work, name=f"llama.cpp {self.path.name}").start()
        return done

    def _open(self) -> Any:
        xllamacpp: Any = import_module("xllamacpp")
        params = xllamacpp.CommonParams()
        params.model.path = str(self.path)
        params.model_alias = {self.path.stem}
        params.n_ctx = self.context * self._slot_count
        params.n_parallel = self._slot_count
        params.n_batch = _BATCH
        params.cache_ram_mib = 0  # else up to 8 GiB of old prompts are kept
        params.fit_params = False
        params.warmup = False
        params.verbosity = -1  # standard output belongs to the stdio transport
        params.ui = params.endpoint_slots = params.endpoint_props = False
        params.n_threads_http = 1
        # Its threads wait for each other by spinning: one more than there are free processors
        # makes an answer ten times slower, and the gateway and its servers need some too.
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
        params.api_keys = [secrets.token_hex(32)]
        with _private_address() as address:
            params.hostnames = [address]
            return xllamacpp.Server(params)

    def lease(self) -> Engine:
        """Count one more user."""
        self._leases += 1
        return self

    async def release(self) -> None:
        """Count one user less; the last one stops what runs and frees the memory."""
        self._leases -= 1
        if self._leases > 0:
            return
        self._closed = True
        _ENGINES.pop(self.path, None)
        for generation in self._running:
            generation.cancelled.set()
        await self.idle.wait()
        loading, self._loading = self._loading, None
        if loading is not None:
            await asyncio.wait([loading])


def _threads() -> int:
    """Return half the processors of this machine, at least one and at most eight."""
    return max(1, min(8, (os.cpu_count() or 1) // 2))


def _run(
    handle: Callable[[Json, Callable[[Json], bool]], None], request: Json, generation: Generation
) -> None:
    try:
        handle(request, generation.feed)
    except ValueError as error:  # the request: a schema without a grammar, a template that refuses
        generation.error = {"code": 400, "type": "invalid_request_error", "message": str(error)}
    except RuntimeError as error:
        generation.error = {"code": 500, "type": "server_error", "message": str(error)}


_ENGINES: dict[Path, Engine] = {}


def engine_for(path: Path) -> Engine:
    """Return the engine of this file: two providers of one model share its memory."""
    return _ENGINES.setdefault(path, Engine(path)).lease()


@contextmanager
def _private_address() -> Generator[str]:
    """An address that only we can reach, while the server starts; afterwards nobody can."""
    if not hasattr(socket, "AF_UNIX"):
        yield "127.0.0.1"
        return
    folder = tempfile.mkdtemp(prefix="llama-")
    if len(folder) > _SOCKET_PATH_MAX:
        shutil.rmtree(folder)
        folder = tempfile.mkdtemp(prefix="llama-", dir="/tmp")
    try:
        yield f"{folder}/l.sock"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
