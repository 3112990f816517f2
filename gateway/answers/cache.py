"""Answers of the gateway's own LLM to sampling requests that were asked before, or are being asked.

A request is only compared with others that would be answered alike: what is sampled at
temperature 0, or everything where `sampling.cache.when` is ``always``. The key is over all that
reaches the model and how it is asked, and over whose request it is: the principal (without a
key: the session) and the server, unless `shared` says that answers may go to anybody. Identical
requests in flight become one; it goes on until the last one who waits for it gives up.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any, Final

from cachetools import TTLCache

from gateway.answers.model import Answer, CacheUse, InputRequest
from gateway.config.resolved import CacheRules
from gateway.llm.port import Plan, Prompt
from gateway.policy.model import Route

Json = dict[str, Any]

_ENTRY_BYTES: Final = 512
"""About what an entry takes beside its content."""
_ENDING: Final = 2.0
"""Seconds that a request has to end once nobody waits for it."""


@dataclass(slots=True)
class _Flight:
    """A request on its way, and how many wait for it. The first who gets its answer has paid for it."""

    task: asyncio.Task[Answer]
    waiting: int = 0
    paid: bool = False


@dataclass(frozen=True, slots=True)
class _Entry:
    answer: Answer
    size: int


class AnswerCache:
    """Keeps answers for `rules.ttl_seconds`, the least recently used ones giving way."""

    def __init__(self, rules: CacheRules, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules
        self._kept: TTLCache[str, _Entry] = TTLCache(
            rules.max_bytes, rules.ttl_seconds, clock, getsizeof=lambda entry: entry.size
        )
        self._flights: dict[str, _Flight] = {}
        self._hits = self._joined = self._misses = 0

    @property
    def enabled(self) -> bool:
        """Whether any request is compared with others."""
        return self._rules.enabled

    def status(self) -> Json:
        """Return what is kept, and how often it was of use."""
        self._kept.expire()
        return {
            "entries": len(self._kept),
            "bytes": round(self._kept.currsize),
            "in_flight": len(self._flights),
            "waiting": sum(flight.waiting for flight in self._flights.values()),
            "hits": self._hits,
            "joined": self._joined,
            "misses": self._misses,
        }

    def key(
        self, request: InputRequest, route: Route, prompt: Prompt, plan: Callable[[Prompt], Plan]
    ) -> str | None:
        """Return what a request is compared by; None for one that is compared with none.

        `plan` says what the model would be asked with.
        """
        rules = self._rules
        at_0 = rules.when == "temperature_0"
        if not rules.enabled or (at_0 and prompt.temperature):
            return None
        whose = _whose(request)
        if whose is None and not rules.shared:
            return None
        planned = plan(prompt)
        if at_0 and (planned.temperature if prompt.temperature is None else prompt.temperature) != 0:
            return None
        material: Json = {
            "whose": None if rules.shared else (whose, request.server),
            "prompt": asdict(prompt),
            "models": planned.models,
            "route": (route.llm_timeout, route.max_attempts, astuple(route.technique)),
        }
        text = json.dumps(material, sort_keys=True, separators=(",", ":"), default=list)
        return hashlib.sha256(text.encode()).hexdigest()

    async def answer(self, key: str | None, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return the kept answer, that of a request in flight, or a new one by `ask`.

        `Answer.cache` says which; an answer that was not new has cost nothing. What `ask`
        raises goes to everyone who waits, and is not kept.
        """
        if key is None:
            return await ask()
        entry = self._kept.get(key)
        if entry is not None:
            self._hits += 1
            return _free(entry.answer, "hit")
        flight = self._flights.get(key) or self._depart(key, ask)
        answer = await self._wait(key, flight)
        if flight.paid:
            self._joined += 1
            return _free(answer, "joined")
        flight.paid = True
        self._misses += 1
        self._keep(key, answer)
        return answer

    def _depart(self, key: str, ask: Callable[[], Awaitable[Answer]]) -> _Flight:
        flight = self._flights[key] = _Flight(asyncio.ensure_future(_asked(ask)))
        flight.task.add_done_callback(lambda task: self._landed(key, flight, task))
        return flight

    async def _wait(self, key: str, flight: _Flight) -> Answer:
        flight.waiting += 1
        try:
            await asyncio.wait((flight.task,))
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._forget(key, flight)
                flight.task.cancel()
                await asyncio.wait((flight.task,), timeout=_ENDING)
        return flight.task.result()

    def _landed(self, key: str, flight: _Flight, task: asyncio.Task[Answer]) -> None:
        self._forget(key, flight)
        if not task.cancelled():
            task.exception()  # told to those who wait; nobody may have been left

    def _forget(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _keep(self, key: str, answer: Answer) -> None:
        size = len(json.dumps(answer.result, default=str)) + _ENTRY_BYTES
        if size > self._rules.max_bytes:
            return
        self._kept.expire()
        while len(self._kept) >= self._rules.max_entries:
            self._kept.popitem()
        self._kept[key] = _Entry(answer, size)


async def _asked(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    return await ask()


def _free(answer: Answer, how: CacheUse) -> Answer:
    return replace(
        answer, cache=how, cost_usd=0.0, input_tokens=None, output_tokens=None, attempts=(), warnings=()
    )


def _whose(request: InputRequest) -> tuple[str, str] | None:
    """Return whose request it is; None for a client of which nothing is known but this request."""
    if request.call is None:
        return ("server", request.server)
    identity = request.call.caller.identity
    if identity.principal is not None:
        return ("principal", identity.principal)
    return None if identity.session is None else ("session", identity.session)
