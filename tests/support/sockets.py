"""The sockets that this process has open."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path


async def none_left(but: set[str]) -> None:
    """Wait until no socket but these is open, and no task but the caller's is left."""
    async with asyncio.timeout(5):
        while open_sockets() - but or len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)


def open_sockets() -> set[str]:
    """The sockets of this process, but for those that event loops wake themselves with."""
    found: set[str] = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
            if target.startswith("socket:"):
                with socket.socket(fileno=os.dup(int(entry.name))) as same:
                    if same.family != socket.AF_UNIX:
                        found.add(target)
        except OSError:
            continue
    return found
