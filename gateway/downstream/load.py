"""How much this gateway has to do, and whether it takes on more. Each call costs it two comparisons."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, cast, get_args

from gateway.config.resolved import Limits
from gateway.errors import Bottleneck, Overloaded
from gateway.wire.jsonrpc import Json

logger = logging.getLogger(__name__)

BEAT: Final = 0.05
"""Seconds between two looks at how late the event loop is."""
_LATE: Final = 3
"""Late beats in a row that are more than a hiccup."""
_AT_ONCE: Final = 5
"""How many times as late as is too late needs no second measurement."""
_LEAST: Final = 32
"""Calls in flight that are taken however late the loop is: fewer cannot be why."""
_LESS: Final = 0.8
"""What is left of the room for calls after a late beat."""
_MORE: Final = 8
"""The part of the room for calls that is added after a beat in time."""
_QUIET: Final = 1.0
"""Seconds without a refusal after which those before it are over, for the log."""
_BACK: Final = 200
"""How many of those who were sent away may come back in a second: to refuse them again costs something."""
_LONGEST: Final = 30
"""Seconds after which everybody may come back."""


@dataclass(slots=True)
class _Spell:
    """Refusals for one reason that came one after the other."""

    last: float
    count: int = 0


class Load:
    """The calls in flight, how late the event loop is, and what has been refused for either.

    The loop's lateness is what a client feels when there is more to do than this process can: work
    that is ready waits for work that came before it, several times a call. Then no more calls are taken
    at once than can be carried in good time; to refuse the others costs less.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.calls = 0
        self.lagging = False
        self._max_calls = self._room = limits.max_calls
        self._least = _LEAST
        self._max_lag_ms = limits.max_loop_lag_ms
        self._max_lag = limits.max_loop_lag_ms / 1000
        self._lag = 0.0
        self._late = 0
        self._refused: Counter[Bottleneck] = Counter()
        self._before = 0
        self._spells: dict[tuple[Bottleneck, str], _Spell] = {}
        self._away: Counter[int] = Counter()
        self._due = 0.0
        self._worked = 0.0
        self._beating: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        late = f"{self._lag * 1000:.0f} ms late{', lagging' if self.lagging else ''}"
        return f"<Load {self.calls} of {self._max_calls} calls, {late}>"

    @property
    def late(self) -> bool:
        """Whether the loop had more to do than could be done between two beats, when it was last measured."""
        return self._lag > BEAT

    def start(self) -> None:
        """Begin to measure."""
        self._due = asyncio.get_running_loop().time() + BEAT
        self._worked = time.process_time()
        self._beating = asyncio.get_running_loop().call_at(self._due, self._beat)

    def stop(self) -> None:
        """Measure no more."""
        if self._beating is not None:
            self._beating.cancel()

    def refusal(self) -> Overloaded | None:
        """Return why no new call can be taken now; None if one can."""
        if self.calls < self._room and (self.calls < self._least or not self._overdue()):
            return None
        if self.lagging:
            return Overloaded(
                f"the gateway has more to do than it can: it was more than {self._max_lag_ms} ms late "
                f"(limits.max_loop_lag_ms), and {self.calls} calls are in flight; try again later",
                "lag",
            )
        text = f"{self._max_calls} calls are in flight (limits.max_calls); try again later, or raise it"
        return Overloaded(text, "gateway")

    def refused(self, error: Overloaded) -> None:
        """Count a call that is refused, say when to come back, and log the first of many."""
        self._refused[error.bottleneck] += 1
        now = asyncio.get_running_loop().time()
        error.retry_after = self._come_back(int(now))
        if error.bottleneck == "lag":
            return  # said when it began
        spell = self._spells.get((error.bottleneck, error.subject))
        if spell is None:
            logger.warning("refusing calls: %s", error)
            spell = self._spells[error.bottleneck, error.subject] = _Spell(now)
        spell.last = now
        spell.count += 1

    def _come_back(self, now: int) -> int:
        """Return seconds, the more the more are away and not the same for all: few return in any one."""
        if self._away and min(self._away) <= now:
            self._away = Counter({second: count for second, count in self._away.items() if second > now})
        least = 1 + self._away.total() // (2 * _BACK)
        seconds = random.randint(min(least, _LONGEST // 3), min(3 * least, _LONGEST))
        self._away[now + seconds] += 1
        return seconds

    def status(self) -> Json:
        """Describe it for `GET /api/calls`."""
        refusing = [f"{bottleneck} {subject}".rstrip() for bottleneck, subject in self._spells]
        return {
            "shed": {bottleneck: self._refused[bottleneck] for bottleneck in get_args(Bottleneck)},
            "shedding": sorted(refusing) + ["lag"] * self.lagging,
            "loop_lag_ms": round(self._lag * 1000),
        }

    def felt(self, late: float) -> None:
        """Take a measurement: by how many seconds the loop came too late to something it was to do.

        There is less room for calls as long as it is too late, and more again once it is well in time:
        so it settles at as many calls as can be carried in the time they have.
        """
        self._lag = late
        self._late = self._late + 1 if late > self._max_lag else 0
        if self._late >= (1 if self.lagging else _LATE):
            self._room = max(self._least, int(min(self._room, self.calls) * _LESS))
            self._begin_to_lag(late)
        elif self.lagging and late <= self._max_lag / 2:
            self._room += self._room // _MORE + 1
            if self._room >= self._max_calls:
                self._catch_up()

    def _overdue(self) -> bool:
        """Whether the next measurement is late already: then all that came at once is too much."""
        if self._beating is None:
            return False
        late = asyncio.get_running_loop().time() - self._due
        most = self._max_lag * _AT_ONCE
        if late <= most or time.process_time() - self._worked <= most:
            # A process that was stopped, or a machine that slept, is late without having worked.
            return False
        self._room = min(self._room, self.calls)
        self._begin_to_lag(late)
        return True

    def _begin_to_lag(self, late: float) -> None:
        if not self.lagging:
            self.lagging = True
            self._before = self._refused["lag"]
            text = (
                "too much to do: the event loop is %d ms late (limits.max_loop_lag_ms: %d); %d calls at most"
            )
            logger.warning(text, late * 1000, self._max_lag_ms, self._room)

    def _catch_up(self) -> None:
        self.lagging, self._room = False, self._max_calls
        count = self._refused["lag"] - self._before
        logger.warning("the event loop has caught up: all calls are taken again, %d were refused", count)

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.felt(now - self._due)
        if self._spells:
            self._end_spells(now)
        self._due, self._worked = now + BEAT, time.process_time()
        self._beating = loop.call_at(self._due, self._beat)

    def _end_spells(self, now: float) -> None:
        for (bottleneck, subject), spell in list(self._spells.items()):
            if now - spell.last >= _QUIET:
                del self._spells[bottleneck, subject]
                what = f"{bottleneck} {subject}".rstrip()
                logger.warning("no calls are refused any more (%s): %d were", what, spell.count)


def status_of(refused: Overloaded | None) -> int:
    """Return the HTTP status of an answer to a call that may have been refused for load."""
    if refused is None:
        return 200
    return 429 if refused.bottleneck == "client" else 503


def retry_after(message: object) -> tuple[bytes, bytes]:
    """Return the header that goes with 429 and 503, with what the error's data says (else a second)."""
    seconds: Any = 1
    if isinstance(message, dict):
        error: Json = cast("Json", message).get("error", {})
        data: Json = error.get("data") or {}
        seconds = data.get("retry_after_seconds", 1)
    return b"retry-after", str(seconds).encode()
