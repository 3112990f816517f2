"""A circuit breaker: a provider that keeps failing is left alone for a while.

::

    closed ── failure_threshold failures in a row ──> open
    open ── recovery_timeout seconds later ──> half_open
    half_open ── success_threshold probes that succeed, one at a time ──> closed
    half_open ── a probe that fails ──> open

A failure that may pass counts (time-out, 429, 5xx, a broken connection). A refusal (a wrong
key, a bad request) does not: the provider works, and leaving it alone would not help. What was
cancelled says nothing of the provider. What began before the last change of state is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from gateway.config.resolved import CircuitBreaker
from gateway.errors import ProviderError

State = Literal["closed", "open", "half_open"]
_log: Any = structlog.get_logger("backchannel.llm")


@dataclass(frozen=True, slots=True)
class Circuit:
    """What a breaker shows: `failures` in a row, and in how many seconds an open one lets a probe through."""

    state: State
    failures: int
    retry_in: float | None = None


class Breaker:
    """Admits attempts at one provider, and watches how they end. `name` is for logs and messages."""

    def __init__(
        self, name: str, rules: CircuitBreaker | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._rules = rules or CircuitBreaker()
        self._clock = clock
        self._state: State = "closed"
        self._changes = 0
        self._failures = 0
        self._successes = 0
        self._opened_at = 0.0
        self._probing = False

    def __repr__(self) -> str:
        return f"<Breaker {self._name} {self._state}, {self._failures} failures>"

    @property
    def circuit(self) -> Circuit:
        """The state now; an open circuit stays open until somebody asks for an attempt."""
        return Circuit(self._state, self._failures, self._left() if self._state == "open" else None)

    def check(self) -> None:
        """Refuse at once what `attempt` would refuse.

        Raises:
            ProviderError: E005, the circuit is open, or half open with a probe on its way.
        """
        if not self._rules.enabled or self._state == "closed":
            return
        if self._state == "open" and (left := self._left()) > 0:
            self._refuse(f"it failed {self._failures} times in a row; it is asked again in {left:.0f} s")
        if self._probing:
            self._refuse("a probe is on its way")

    @contextmanager
    def attempt(self) -> Generator[None]:
        """Run one attempt and count how it ends.

        Raises:
            ProviderError: E005 as for `check`, and whatever the attempt raises.
        """
        self.check()
        if not self._rules.enabled:
            yield
            return
        if self._state == "open":
            self._become("half_open")
        began = self._changes
        self._probing = self._state == "half_open"
        try:
            yield
        except ProviderError as failure:
            self._ended(began, ok=not failure.retryable)
            raise
        except BaseException:
            if began == self._changes:
                self._probing = False
            raise
        else:
            self._ended(began, ok=True)

    def _ended(self, began: int, *, ok: bool) -> None:
        if began != self._changes:
            return
        self._probing = False
        if ok:
            self._failures = 0
            self._successes += 1
            if self._state == "half_open" and self._successes >= self._rules.success_threshold:
                self._become("closed")
            return
        self._failures += 1
        if self._state == "half_open" or self._failures >= self._rules.failure_threshold:
            self._opened_at = self._clock()
            self._become("open")

    def _become(self, state: State) -> None:
        before, self._state = self._state, state
        self._changes += 1
        self._successes = 0
        log = _log.warning if state == "open" else _log.info
        log(
            "provider_circuit",
            provider=self._name,
            state=state,
            before=before,
            failures=self._failures,
            recovery_timeout=self._rules.recovery_timeout if state == "open" else None,
        )

    def _left(self) -> float:
        return max(0.0, self._opened_at + self._rules.recovery_timeout - self._clock())

    def _refuse(self, why: str) -> None:
        raise ProviderError(f"{self._name} was not asked: its circuit is {self._state}, {why}", code="E005")
