"""How much of what a server says goes into the gateway's own log."""

from __future__ import annotations

import asyncio
from typing import Final

_LINES_PER_SECOND: Final = 200


class Budget:
    """Lets so many lines pass a second, and counts the rest in `hidden`."""

    def __init__(self) -> None:
        self.hidden = 0
        self._second = 0
        self._shown = 0

    def spend(self) -> bool:
        """Whether one more line may be shown now."""
        second = int(asyncio.get_running_loop().time())
        if second != self._second:
            self._second, self._shown = second, 0
        self._shown += 1
        if self._shown <= _LINES_PER_SECOND:
            return True
        self.hidden += 1
        return False
