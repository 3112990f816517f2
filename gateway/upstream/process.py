"""A server's process: started in a group of its own, watched, and ended with all its children."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
from collections import deque
from collections.abc import Mapping

from gateway.config.resolved import ServerConfig
from gateway.errors import ServerUnavailable
from gateway.upstream.budget import Budget
from gateway.upstream.guardian import Guardian

INHERITED = (
    "HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER",
    "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
)  # fmt: skip
"""What a server inherits of the gateway's environment: nothing that could hold a secret."""

EXIT_GRACE = 2.0
"""Seconds a server has to exit once its standard input is closed, and again after SIGTERM."""

_SECRET = re.compile("key|token|secret|passw|credential|auth", re.IGNORECASE)
_POLL = 0.02
_LAST_WORDS = 1.0
"""Seconds to wait for the exit status and the rest of standard error, once the output has ended."""
_LAST_LINES = 3
_LINE_SHOWN = 2000
_BATCH = 64
_PIPE_LIMIT = 1 << 18


class _Watched(asyncio.subprocess.SubprocessStreamProtocol):
    """Reports the exit itself; `Process.wait` also waits for pipes that a child may hold open."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=_PIPE_LIMIT, loop=loop)
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


class ServerProcess:
    """One running server process and its group.

    `stdin` and `stdout` are its pipes; standard error goes to the log, and its last lines
    are kept for `how_it_ended`. `exited` is set when the process itself has ended, whatever
    its children still hold open.
    """

    def __init__(
        self,
        name: str,
        transport: asyncio.SubprocessTransport,
        protocol: _Watched,
        guardian: Guardian,
        secrets: tuple[str, ...],
    ) -> None:
        assert protocol.stdin is not None
        assert protocol.stdout is not None
        assert protocol.stderr is not None
        self.name = name
        self.pid = transport.get_pid()
        self.stdin: asyncio.StreamWriter = protocol.stdin
        self.stdout: asyncio.StreamReader = protocol.stdout
        self.exited = protocol.exited
        self._transport = transport
        self._guardian = guardian
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._errors = asyncio.create_task(_drain(protocol.stderr, name, self._last, secrets))

    def __repr__(self) -> str:
        return f"<ServerProcess {self.name} {self.pid}, {'exited' if self.exited.is_set() else 'running'}>"

    @classmethod
    async def start(cls, config: ServerConfig, guardian: Guardian) -> ServerProcess:
        """Start the configured command.

        Raises:
            ServerUnavailable: with the reason, and what to set.
        """
        loop = asyncio.get_running_loop()
        starting = loop.subprocess_exec(
            lambda: _Watched(loop),
            config.command,
            *config.args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(config.env),
            cwd=config.cwd,
            start_new_session=True,
        )
        try:
            transport, protocol = await starting
        except (OSError, ValueError) as error:
            raise ServerUnavailable(config.name, _why_not_started(config, error)) from error
        process = cls(config.name, transport, protocol, guardian, secrets_of(config.env))
        guardian.register(process.pid)
        return process

    async def how_it_ended(self) -> str:
        """Say in words how the process ended, with its last lines of standard error."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self.exited.wait()
                await asyncio.shield(self._errors)
        status = self._transport.get_returncode()
        if status is None:
            words = "the process closed its output without exiting"
        elif status < 0:
            words = f"the process was killed by {_signal_name(-status)}"
        else:
            words = f"the process exited with status {status}"
        return f"{words}; its last words: {' | '.join(self._last)}" if self._last else words

    async def stop(self) -> None:
        """Close its input, wait, then SIGTERM and SIGKILL what is left of its group.

        Takes at most three times `EXIT_GRACE`. If the task is cancelled the group is killed at once.
        """
        try:
            with contextlib.suppress(OSError, RuntimeError):
                self.stdin.close()
            await self._exits_within(EXIT_GRACE)
            if self._signal(signal.SIGTERM) and not await self._group_gone_within(EXIT_GRACE):
                self._signal(signal.SIGKILL)
                await self._group_gone_within(EXIT_GRACE)
        finally:
            self._release()

    def kill(self) -> None:
        """Kill the whole group, without waiting."""
        self._release()

    def _release(self) -> None:
        self._signal(signal.SIGKILL)
        self._guardian.unregister(self.pid)
        self._errors.cancel()
        with contextlib.suppress(OSError):
            self._transport.close()

    async def _exits_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.exited.wait()
        return self.exited.is_set()

    async def _group_gone_within(self, seconds: float) -> bool:
        # The kernel offers no event for the end of a group, only this question.
        end = asyncio.get_running_loop().time() + seconds
        while self._signal(0):
            if asyncio.get_running_loop().time() >= end:
                return False
            await asyncio.sleep(_POLL)
        return True

    def _signal(self, number: int) -> bool:
        """Signal the group (its id is the leader's pid); False if nothing is left of it."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            # macOS answers so for zombies; it does not say that the group is gone.
            return True
        return True


def environment(configured: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a server: the safe part of ours, then what is configured."""
    inherited = {key: os.environ[key] for key in INHERITED if key in os.environ}
    return {**inherited, **configured}


def secrets_of(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the configured values that are secret by their names, to be kept out of logs and errors."""
    return tuple(value for key, value in env.items() if len(value) >= 6 and _SECRET.search(key))


async def _drain(stream: asyncio.StreamReader, name: str, last: deque[str], secrets: tuple[str, ...]) -> None:
    log = logging.getLogger(f"gateway.server.{name}")
    budget = Budget()
    taken = 0
    while chunk := await _line(stream):
        taken += 1
        if taken % _BATCH == 0:
            await asyncio.sleep(0)  # lines at hand cost no wait, and others must have their turn
        text = chunk.decode("utf-8", "replace").rstrip()[:_LINE_SHOWN]
        if not text:
            continue
        for secret in secrets:
            text = text.replace(secret, "***")
        last.append(text[: _LINE_SHOWN // 4])
        if budget.spend():
            log.info("%s", text)
    if budget.hidden:
        log.info("(%d lines not shown)", budget.hidden)


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except OSError:
        return b""
    except asyncio.LimitOverrunError as error:
        return await stream.read(error.consumed or 1)


def _why_not_started(config: ServerConfig, error: OSError | ValueError) -> str:
    where = f"`cwd` of the server in {config.source}"
    if config.cwd is not None and not config.cwd.is_dir():
        return f"its working directory {config.cwd} does not exist; see {where}"
    if isinstance(error, FileNotFoundError):
        return f"command '{config.command}' was not found on the PATH; install it, or give its full path"
    if isinstance(error, PermissionError):
        return f"command '{config.command}' may not be executed: {error.strerror}"
    return f"command '{config.command}' could not be started: {error}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
