"""The parent of all workers: takes connections and deals them out, and starts again who died.

The kernel would spread connections over several processes that accept them as it likes, mostly
to one of them. Here the parent accepts each and passes it on in turn, so that workers get as
many each, and a worker that is gone or not ready is given none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from gateway.config.resolved import GatewayConfig
from gateway.errors import BackchannelError
from gateway.workers.messages import Hello, Word, greeting, read_word

logger = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0
_STEADY: Final = 30.0
"""Seconds after which a worker that dies is not taken for one that cannot live."""
_STOP: Final = 30.0
"""Seconds that workers have to stop."""
_AT_ONCE: Final = 64
"""Connections accepted before others have their turn."""
_NO_ROOM: Final = 0.05
"""Seconds of pause where no worker takes a connection, or this process may open no more."""


class WorkerFailed(BackchannelError):
    """A worker could not start; the message is its own."""


class Worker:
    """One worker's place, whichever process has it."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.process: asyncio.subprocess.Process | None = None
        self.connections: socket.socket | None = None
        self.servers: tuple[str, ...] | None = None
        self.problem: str | None = None
        self.pause = _FIRST_PAUSE

    def __repr__(self) -> str:
        pid = self.process.pid if self.process is not None else "none"
        return f"<Worker {self.index}, process {pid}>"

    def give(self, connection: socket.socket) -> bool:
        """Pass a connection to the worker's process, unless it takes none now."""
        if self.connections is None:
            return False
        try:
            socket.send_fds(self.connections, [b"\0"], [connection.fileno()])
        except OSError:
            return False  # its queue is full, or it has just died
        return True


class Supervisor:
    """Runs workers until it is stopped.

    `command` starts one; the numbers of two sockets are added to it. `on_ready` is called once,
    with what each worker says of its servers. `listener` is closed at the end.
    """

    def __init__(
        self,
        config: GatewayConfig,
        listener: socket.socket,
        folder: Path,
        command: Sequence[str],
        on_ready: Callable[[Sequence[Sequence[str]]], None],
    ) -> None:
        # What one worker seals, every other has to open.
        keys = config.state_keys or (secrets.token_hex(32),)
        self._config = replace(config, state_keys=keys)
        self._listener = listener
        self._folder = folder
        self._command = command
        self._on_ready = on_ready
        self._workers = [Worker(index) for index in range(config.http.workers)]
        self._next = 0
        self._accepting = False
        self._held: socket.socket | None = None
        self._announced = False
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Stop every worker, and then `run`. Idempotent."""
        self._stopping.set()

    async def run(self) -> None:
        """Keep every worker running until `stop`.

        Raises:
            WorkerFailed: the first start of one failed.
        """
        self._listener.setblocking(False)
        keeping = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((stopping, *keeping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.set()
            stopping.cancel()
            self._accept_no_more()
            self._listener.close()
            if self._held is not None:
                self._held.close()
            await asyncio.gather(*(_ended(worker) for worker in self._workers))
            await asyncio.gather(*keeping, return_exceptions=True)
        for task in keeping:
            task.result()

    async def _keep(self, worker: Worker) -> None:
        while not self._stopping.is_set():
            begun = time.monotonic()
            worker.problem = None
            try:
                how = _how(await self._live(worker))
            except OSError as error:
                how = f"no process ({error})"
            if self._stopping.is_set():
                return
            if not self._announced:
                raise WorkerFailed(
                    worker.problem or f"a worker ended with {how} before it was ready; see its log"
                )
            if time.monotonic() - begun > _STEADY:
                worker.pause = _FIRST_PAUSE
            logger.error(
                "worker %d ended with %s, and the sessions and calls that it had with it; starting it again "
                "in %g s%s",
                worker.index,
                how,
                worker.pause,
                f": {worker.problem}" if worker.problem else "",
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), worker.pause)
            worker.pause = min(worker.pause * 2, _LONGEST_PAUSE)

    async def _live(self, worker: Worker) -> int:
        """Run one process of a worker to its end; return its exit status."""
        control, its_control = socket.socketpair()
        connections, its_connections = socket.socketpair()
        with its_control, its_connections, connections:
            connections.setblocking(False)
            ends = (its_control.fileno(), its_connections.fileno())
            worker.process = await asyncio.create_subprocess_exec(
                *self._command, *map(str, ends), pass_fds=ends, stdin=asyncio.subprocess.DEVNULL
            )
            its_control.close()
            its_connections.close()
            if self._stopping.is_set():
                _signal(worker.process, signal.SIGTERM)
            reader, writer = await asyncio.open_connection(sock=control)
            writer.write(greeting(self._hello(worker)))
            try:
                while (word := await read_word(reader)) is not None:
                    self._hear(worker, word, connections)
                return await worker.process.wait()
            finally:
                worker.connections = None
                writer.close()

    def _hello(self, worker: Worker) -> Hello:
        return Hello(self._config, worker.index, len(self._workers), self._folder, self._listener.family)

    def _hear(self, worker: Worker, word: Word, connections: socket.socket) -> None:
        if word.state == "failed":
            worker.problem = word.problem
            return
        # One that is started again gets no connections before it is ready: its siblings are.
        if word.state == "ready" or not self._announced:
            worker.connections = connections
            self._accept_more()
        if word.state == "ready":
            worker.servers = word.servers
            logger.info("worker %d is ready", worker.index)
            self._announce()

    def _announce(self) -> None:
        told = [worker.servers for worker in self._workers if worker.servers is not None]
        if not self._announced and len(told) == len(self._workers):
            self._announced = True
            self._on_ready(told)

    def _accept_more(self) -> None:
        if not self._accepting and not self._stopping.is_set():
            self._accepting = True
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept_no_more(self) -> None:
        if self._accepting:
            self._accepting = False
            asyncio.get_running_loop().remove_reader(self._listener)

    def _accept(self) -> None:
        """Deal out the connections that wait."""
        for _ in range(_AT_ONCE):
            try:
                connection = self._held or self._listener.accept()[0]
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                logger.error("no connection can be accepted: %s", error)
                self._rest()
                return
            self._held = None
            if not self._give(connection):
                self._held = connection
                self._rest()
                return
            connection.close()

    def _rest(self) -> None:
        self._accept_no_more()
        asyncio.get_running_loop().call_later(_NO_ROOM, self._accept_again)

    def _accept_again(self) -> None:
        self._accept_more()
        if self._accepting:
            self._accept()

    def _give(self, connection: socket.socket) -> bool:
        for _ in self._workers:
            worker = self._workers[self._next]
            self._next = (self._next + 1) % len(self._workers)
            if worker.give(connection):
                return True
        return False


async def _ended(worker: Worker) -> None:
    """End a worker's process, kindly and then not."""
    process = worker.process
    if process is None or process.returncode is not None:
        return
    _signal(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP):
            await process.wait()
    except TimeoutError:
        logger.error("%r did not stop within %g s and is killed", worker, _STOP)
        _signal(process, signal.SIGKILL)
        await process.wait()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _how(status: int) -> str:
    return f"status {status}" if status >= 0 else signal.Signals(-status).name


def python(module: str) -> list[str]:
    """Return the command that runs a module of this package's `main` in an interpreter like this one.

    The package is found where it is now. Nothing is looked for in the current folder, whose files
    may be called anything.
    """
    root = str(Path(__file__).resolve().parents[2])
    program = f"import sys; sys.path.append(sys.argv.pop(1)); from {module} import main; main()"
    return [sys.executable, "-P", "-c", program, root]
