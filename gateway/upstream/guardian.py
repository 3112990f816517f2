"""Crash safety for subprocesses: no server outlives the gateway, not even after ``kill -9``.

A tiny helper process holds the read end of a pipe whose only writer is this process. When
the pipe closes, for whatever reason, the helper ends every process group that is still
registered. POSIX only, as process groups are.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from typing import Final

_HELPER: Final = """
import os, signal, sys, time
for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(ignored, signal.SIG_IGN)
groups = set()
for line in sys.stdin:
    (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
def each(number):
    for group in list(groups):
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            groups.discard(group)
        except PermissionError:
            pass
each(signal.SIGTERM)
end = time.monotonic() + 2.0
while groups and time.monotonic() < end:
    time.sleep(0.02)
    each(0)
each(signal.SIGKILL)
"""


class Guardian:
    """Ends registered process groups when this process dies.

    The helper starts with the first registration and is replaced if it dies. Safe to share
    between threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._helper: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Guardian of {len(self._groups)} groups>"

    @property
    def pid(self) -> int | None:
        """The helper's process id; None while it is not needed."""
        return None if self._helper is None else self._helper.pid

    def register(self, group: int) -> None:
        """Put a process group under guard."""
        with self._lock:
            self._groups.add(group)
            self._tell(f"+{group}\n")

    def unregister(self, group: int) -> None:
        """Release a process group that has ended."""
        with self._lock:
            if group in self._groups:
                self._groups.discard(group)
                self._tell(f"-{group}\n")

    def close(self) -> None:
        """End the helper, and with it every group still registered; waits at most 5 seconds."""
        with self._lock:
            helper, self._helper = self._helper, None
            self._groups.clear()
        if helper is None:
            return
        _close_pipe(helper)
        try:
            helper.wait(5.0)
        except subprocess.TimeoutExpired:
            helper.kill()
            helper.wait()

    def _tell(self, line: str) -> None:
        if self._helper is not None and self._helper.poll() is None:
            with contextlib.suppress(OSError):
                _write(self._helper, line)
                return
        if self._helper is not None:
            _close_pipe(self._helper)
            self._helper.kill()
            self._helper.wait()
        self._helper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _HELPER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            bufsize=0,
        )
        _write(self._helper, "".join(f"+{group}\n" for group in self._groups))


def _write(helper: subprocess.Popen[bytes], text: str) -> None:
    assert helper.stdin is not None
    os.write(helper.stdin.fileno(), text.encode())


def _close_pipe(helper: subprocess.Popen[bytes]) -> None:
    assert helper.stdin is not None
    with contextlib.suppress(OSError):
        helper.stdin.close()


SHARED: Final = Guardian()
"""The one guardian of this process, used where no other is given."""
