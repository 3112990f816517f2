"""What asking has in common, whoever is asked: a limit in time, and a second try without what was refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from gateway.llm.failures import Peer, Refusal, refused, timed_out
from gateway.llm.port import Prompt

Json = dict[str, Any]
T = TypeVar("T")


async def within(seconds: float, peer: Peer, asking: Awaitable[T]) -> T:
    """Wait for an answer.

    Raises:
        ProviderError: E002, it took longer.
    """
    try:
        async with asyncio.timeout(seconds):
            return await asking
    except TimeoutError:
        raise timed_out(peer, seconds) from None


async def insisted(
    peer: Peer,
    prompt: Prompt,
    send: Callable[[], Awaitable[Json | Refusal]],
    spare: Callable[[Refusal], bool],
) -> Json:
    """Send; when what is refused is a parameter that can be spared, send once more without it.

    `spare` says whether it can, and sees to it that it is left out from then on.

    Raises:
        ProviderError: the request was refused all the same.
    """
    answer = await send()
    if isinstance(answer, Refusal) and spare(answer):
        answer = await send()
    if isinstance(answer, Refusal):
        raise refused(peer, answer, prompt)
    return answer
