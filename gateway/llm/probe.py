"""Does each provider answer? One tiny call to each, for `doctor`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from gateway.errors import ProviderError
from gateway.llm.chain import Chain, Link
from gateway.llm.port import Prompt

_QUESTION = Prompt(
    messages=({"role": "user", "content": {"type": "text", "text": "Answer with the word: ready"}},),
    max_tokens=16,
)


@dataclass(frozen=True, slots=True)
class Probe:
    """How one provider fared: `detail` is the model that answered, or the failure with its fix."""

    provider: str
    model: str
    ok: bool
    detail: str
    seconds: float
    code: str | None = None


async def probe(chain: Chain) -> tuple[Probe, ...]:
    """Ask every provider of the chain once, all at the same time, in the chain's order."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_probe(link)) for link in chain.links]
    return tuple(task.result() for task in tasks)


async def _probe(link: Link) -> Probe:
    started = time.monotonic()
    name, model = link.provider.name, link.provider.model
    try:
        answer = await link.provider.complete(_QUESTION, timeout=link.timeout)
    except ProviderError as failure:
        return Probe(name, model, False, str(failure), time.monotonic() - started, failure.code)
    return Probe(name, model, True, f"answered as {answer.model}", time.monotonic() - started)
