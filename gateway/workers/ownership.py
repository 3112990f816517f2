"""Which worker a session or a parked call belongs to: its name begins with the worker's number."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from gateway.config.resolved import MOST_WORKERS

_SEPARATOR: Final = "."
"""Not in the alphabet of the random part of a session's id (RFC 4648, 5)."""


class Seat:
    """One worker's place among its siblings.

    `index` counts from 0 to `count` - 1 and stays when a worker that died is started again;
    `owner` does not, so that what was parked with the dead one is known to be lost. `folder` is
    the private directory of this gateway's sockets. `forwarded` counts the requests that this
    worker has handed to siblings.
    """

    def __init__(self, index: int, count: int, folder: Path) -> None:
        if not 0 <= index < count <= MOST_WORKERS:
            raise ValueError(f"worker {index} of {count}: there are 1 to {MOST_WORKERS}, numbered from 0")
        self.index = index
        self.count = count
        self.folder = folder
        self.prefix = f"{index}{_SEPARATOR}"
        self.owner = f"{self.prefix}{secrets.token_hex(8)}"
        self.forwarded = 0

    def __repr__(self) -> str:
        return f"<Seat {self.index} of {self.count}>"

    @property
    def ledger(self) -> Path:
        """Where all workers keep what was spent."""
        return self.folder / "costs.sqlite"

    def socket(self, index: int) -> Path:
        """Return where a worker listens for its siblings."""
        return self.folder / f"{index}.sock"

    def sibling(self, name: str) -> int | None:
        """Return which other worker a session's id or an owner's name belongs to.

        None if it is this one's, or no worker's: whoever looks it up here finds that it is unknown.
        """
        if name.startswith(self.prefix):
            return None
        number, separator, _ = name.partition(_SEPARATOR)
        if not separator or len(number) > 2 or not (number.isascii() and number.isdecimal()):
            return None
        index = int(number)
        return index if index < self.count and index != self.index else None
