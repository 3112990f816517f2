"""How the LLM makes an answer to a sampling request: at once, by reasoning, by vote, or by revision.

What the leg may take, in time and in tokens, the whole technique may take, and no more. Tools,
pictures and sound are answered at once, whatever is configured: a vote over tool calls means
nothing, and a model's reasoning before a call would have to be cut out of a conversation
that needs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from gateway.answers.completions import answer_of, text_of
from gateway.answers.confidence import agreement, measure
from gateway.answers.model import Answer
from gateway.answers.reasoning import FINAL, REASON, concluded
from gateway.errors import ProviderError
from gateway.llm.port import Attempt, Budget, Completion, Llm, Prompt
from gateway.policy.model import Route, TechniqueName, Weights

Json = dict[str, Any]

_REASONING: Final = 1024
"""Tokens of reasoning beside those that the request allows its answer."""
_REVIEW_TOKENS: Final = 256
_LEAST: Final = 16
"""Tokens that must be left for another request to a model to make sense."""
_REVIEW: Final = (
    "Check your answer against the request: is it right, complete, and in the form that was asked for? "
    "If nothing has to be changed, reply with OK alone. Else say briefly what is wrong."
)
_REWRITE: Final = "Write the answer anew with that put right. Reply with the answer only."


@dataclass(slots=True)
class Work:
    """One question on its way through a technique: what is left for it, and what it has taken.

    `tokens` is the most that all answers of the model together may have.
    """

    llm: Llm
    prompt: Prompt
    route: Route
    tokens: int
    done: list[Completion] = field(default_factory=list[Completion])
    failed: list[Json] = field(default_factory=list[Json])
    ends: float = 0.0

    def __post_init__(self) -> None:
        self.ends = asyncio.get_running_loop().time() + self.route.llm_timeout

    @property
    def left(self) -> int:
        """Tokens that are left; a provider that does not count is taken at its limit."""
        used = (one.usage.output_tokens for one in self.done)
        return self.tokens - sum(self.prompt.max_tokens if count is None else count for count in used)

    async def ask(self, prompt: Prompt) -> Completion:
        """Ask the model once.

        Raises:
            ProviderError: it failed; its attempts are kept.
        """
        first = not (self.done or self.failed)
        seconds = self.route.llm_timeout if first else self.ends - asyncio.get_running_loop().time()
        try:
            completion = await self.llm.complete(prompt, Budget(max(seconds, 0.0), self.route.max_attempts))
        except ProviderError as error:
            self.failed += [one.shown() for one in error.attempts if isinstance(one, Attempt)]
            raise
        self.done.append(completion)
        return completion

    def answer(self, completion: Completion, **facts: Any) -> Answer:
        """Return an answer made of a completion, with what everything has cost."""
        earlier = tuple(one for one in self.done if one is not completion)
        result: Json = {
            "role": "assistant",
            "content": completion.content,
            "model": completion.model,
            "stopReason": completion.stop_reason,
        }
        answer = answer_of(completion, result, earlier=earlier)
        name = self.route.technique.name
        if name == "single_shot" and not self.failed:
            return answer
        technique = None if name == "single_shot" else {"name": name, **facts}
        return replace(answer, attempts=(*answer.attempts, *self.failed), technique=technique)


async def sample(llm: Llm, prompt: Prompt, route: Route, *, tokens: int) -> Answer:
    """Answer a prompt by the route's technique; `tokens` bounds all that the model writes for it.

    Raises:
        ProviderError: no answer came about.
    """
    work = Work(llm, prompt, route, tokens)
    name = route.technique.name
    reason = _only_at_once(prompt)
    if name == "single_shot" or reason:
        completion = await work.ask(prompt)
        return work.answer(completion, **({"used": "single_shot", "reason": reason} if reason else {}))
    return await _TECHNIQUES[name](work)


async def _reasoned(work: Work) -> Answer:
    """Have the model think first; only its conclusion is returned."""
    prompt = work.prompt
    thinking = replace(
        prompt,
        system=f"{prompt.system}\n\n{REASON}" if prompt.system else REASON,
        max_tokens=min(work.tokens, prompt.max_tokens + _REASONING),
        stop_sequences=(),  # they are for the answer: met in the reasoning they would end it
        logprobs=False,
    )
    thought = await work.ask(thinking)
    words = text_of(thought)
    conclusion = concluded(words)
    if conclusion is not None:
        return work.answer(_ended(replace(thought, content=_text(conclusion)), prompt), steps=1)
    # It did not mark its answer: ask for the answer alone, with the reasoning before it.
    tokens = min(prompt.max_tokens, work.left)
    if tokens < _LEAST:
        raise ProviderError("the model's reasoning came to no answer within its tokens", code="E010")
    final = await work.ask(
        replace(
            prompt,
            messages=(*prompt.messages, _said("assistant", words), _said("user", FINAL)),
            max_tokens=tokens,
        )
    )
    text = concluded(text_of(final))
    return work.answer(final if text is None else replace(final, content=_text(text)), steps=2)


async def _voted(work: Work) -> Answer:
    """Take several samples; the answer is that with which the others agree most."""
    technique, prompt = work.route.technique, work.prompt
    count = max(1, min(technique.samples, work.tokens // min(prompt.max_tokens, _LEAST)))
    one = replace(
        prompt,
        temperature=prompt.temperature or technique.temperature,
        max_tokens=max(1, min(prompt.max_tokens, work.tokens // count)),
    )
    results = await _all(work, one, count)
    samples = [sample for sample in results if isinstance(sample, Completion)]
    if not samples:
        raise next(error for error in results if isinstance(error, ProviderError))
    votes = [_support(index, [text_of(sample) for sample in samples]) for index in range(len(samples))]
    winner = max(range(len(samples)), key=lambda index: votes[index])
    # One sample agrees with nobody: there is nothing to be measured.
    support = votes[winner] if len(samples) > 1 else None
    told = None if support is None else round(support, 3)
    answer = work.answer(samples[winner], samples=len(samples), agreement=told)
    return replace(answer, consensus=support)


async def _all(work: Work, prompt: Prompt, count: int) -> list[Completion | ProviderError]:
    async def one() -> Completion | ProviderError:
        try:
            return await work.ask(prompt)
        except ProviderError as error:
            return error  # the others may do

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one()) for _ in range(count)]
    return [task.result() for task in tasks]


def _support(index: int, texts: list[str]) -> float:
    """How far the other samples say what this one says, from 0 to 1."""
    others = [text for at, text in enumerate(texts) if at != index]
    own = " ".join(texts[index].casefold().split())
    same = (
        1.0 if " ".join(other.casefold().split()) == own else agreement(texts[index], other)
        for other in others
    )
    return sum(same) / len(others) if others else 1.0


async def _revised(work: Work) -> Answer:
    """Have the model review its answer and write it anew, as long as that makes it no worse."""
    draft = await work.ask(work.prompt)
    rounds = 0
    for _ in range(work.route.technique.rounds):
        try:
            better = await _revision(work, draft)
        except ProviderError:
            break  # an answer is at hand: that it was not improved costs the server nothing
        rounds += 1
        if better is None:
            break
        draft = better
    return work.answer(draft, rounds=rounds)


async def _revision(work: Work, draft: Completion) -> Completion | None:
    """Return a better answer, None if there is none."""
    prompt = work.prompt
    asked = (*prompt.messages, _said("assistant", text_of(draft)), _said("user", _REVIEW))
    if work.left < _LEAST:
        return None
    review = await work.ask(
        replace(
            prompt,
            messages=asked,
            max_tokens=min(_REVIEW_TOKENS, work.left),
            temperature=0.0,
            stop_sequences=(),
            logprobs=False,
        )
    )
    words = text_of(review).strip()
    if work.left < _LEAST or words.strip(" .!*\"'").casefold() in ("ok", "okay", ""):
        return None
    rewriting = (*asked, _said("assistant", words), _said("user", _REWRITE))
    anew = await work.ask(replace(prompt, messages=rewriting, max_tokens=min(prompt.max_tokens, work.left)))
    return anew if _score(work, anew) >= _score(work, draft) else None


def _score(work: Work, completion: Completion) -> float:
    question: Json = {"systemPrompt": work.prompt.system, "messages": list(work.prompt.messages)}
    result: Json = {"content": completion.content, "stopReason": completion.stop_reason}
    return measure(question, Answer("llm", result), None, Weights()).score


def _ended(completion: Completion, prompt: Prompt) -> Completion:
    """End an answer at the first of the request's stop sequences."""
    text = text_of(completion)
    found = [at for stop in prompt.stop_sequences if stop and (at := text.find(stop)) >= 0]
    if not found:
        return completion
    return replace(completion, content=_text(text[: min(found)]), stop_reason="stopSequence")


def _only_at_once(prompt: Prompt) -> str:
    """Say why a prompt can only be answered at once; empty if it can be otherwise."""
    if prompt.tools:
        return "the request has tools"
    for message in prompt.messages:
        content: Any = message.get("content")
        blocks = cast("list[Any]", content) if isinstance(content, list) else [content]
        if not all(
            isinstance(block, Mapping) and cast("Json", block).get("type") == "text" for block in blocks
        ):
            return "the request has more than text"
    return ""


def _said(role: str, text: str) -> Json:
    return {"role": role, "content": _text(text)}


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


_TECHNIQUES: Final[Mapping[TechniqueName, Callable[[Work], Awaitable[Answer]]]] = {
    "chain_of_thought": _reasoned,
    "consensus": _voted,
    "iterative": _revised,
}
