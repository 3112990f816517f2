"""The private directory of a gateway with several workers: their sockets, and what they share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway.config.resolved import MOST_WORKERS
from gateway.errors import BackchannelError

_LONGEST: Final = 103
"""Bytes that the path of a Unix socket may have on every system (macOS has room for 104 with the end)."""


class NoFolder(BackchannelError):
    """There is no place for the sockets."""


@contextmanager
def private_folder() -> Generator[Path]:
    """Make a directory that this user alone can enter, and remove it at the end.

    It is where temporary files are (`TMPDIR`), or in ``/tmp`` where that path is too long for sockets.

    Raises:
        NoFolder: neither can be used.
    """
    folder = _made()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _made() -> Path:
    reason = ""
    for parent in (tempfile.gettempdir(), "/tmp"):
        try:
            folder = Path(tempfile.mkdtemp(prefix="backchannel-", dir=parent))  # mode 0700
        except OSError as error:
            reason = f"{parent}: {error.strerror}"
            continue
        if len(os.fsencode(folder / f"{MOST_WORKERS}.sock")) <= _LONGEST:
            return folder
        folder.rmdir()
        reason = f"{parent}: the path is too long for a Unix socket"
    raise NoFolder(f"no directory can be made for the workers' sockets ({reason}); set TMPDIR to a short one")
