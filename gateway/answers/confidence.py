"""How much an answer deserves to be believed: measured, by one function for both parties.

Each signal is a number from 0 to 1, or None where nothing can be measured; the score is the
mean of those that can, weighted as configured. What is measured:

* ``stop``: whether the answer came to its end, or ran out of tokens, or was withheld.
* ``certainty``: how far other samples of the same model agree, where there are any; else the mean
  probability of the answer's tokens, where the party tells them.
* ``format``: whether the answer has the form that the question asked for (`gateway.answers.form`).
* ``soundness``: whether what can be checked in it holds (`gateway.answers.soundness`).
* ``directness``: how much of it is not hedging or refusal.
* ``agreement``: how far both answers say the same.
* ``judge``: what a model said that compared them, where the route asks for that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

from gateway.answers.form import form
from gateway.answers.model import Answer
from gateway.answers.soundness import soundness
from gateway.policy.model import Weights

Json = dict[str, Any]

_STOPS: Final[Mapping[str, float]] = {
    "endTurn": 1.0,
    "stopSequence": 1.0,
    "toolUse": 1.0,
    "maxTokens": 0.3,
    "refusal": 0.0,
    "content_filter": 0.0,
}
_HEDGES: Final = re.compile(
    r"\b(?:i(?:'m| am) (?:not sure|unsure|sorry|unable)|i (?:can(?:not|'t)|don't know|do not know|think)"
    r"|i (?:believe|guess)|as an ai|not certain|it depends|probably|perhaps|maybe|might be|could be"
    r"|hard to say|unclear)\b",
    re.IGNORECASE,
)
_SENTENCE: Final = re.compile(r"[^.!?\n]+")
_WORD: Final = re.compile(r"\w+(?:[.,]\d+)?")
_MOST: Final = 20_000
"""Characters of question and answer that are looked at: strangers' text must not cost much time."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """The score, and every signal that could be measured."""

    score: float
    signals: Mapping[str, float]

    def shown(self) -> Json:
        """Return it for metadata and records, rounded."""
        return {
            "score": round(self.score, 3),
            "signals": {name: round(value, 3) for name, value in self.signals.items()},
        }


def measure(
    question: Json, answer: Answer, other: Answer | None, weights: Weights, judged: float | None = None
) -> Confidence:
    """Measure one answer to a sampling request.

    `question` are the params of `sampling/createMessage`. `other` is the other party's answer,
    if there is one; `judged` what a judge gave this one.
    """
    found = {
        "stop": _stop(answer.result),
        "certainty": _certainty(answer),
        **_said(question, answer.result, None if other is None else other.result),
        "judge": judged,
    }
    signals = {name: value for name, value in found.items() if value is not None}
    shares = asdict(weights)
    total = sum(shares[name] for name in signals)
    score = sum(shares[name] * value for name, value in signals.items()) / total if total else 0.0
    return Confidence(score, signals)


def _said(question: Json, result: Json, other: Json | None) -> dict[str, float | None]:
    """Measure what is in the words; an answer without any (a tool call, a picture) is not worse for it."""
    text = text_of(result)[:_MOST]
    if not text.strip() and not _is_text(result):
        return {}
    asked = _asked(question)
    return {
        "format": form(asked, text),
        "directness": _directness(text),
        "soundness": soundness(asked, text),
        "agreement": None if other is None else agreement(text, text_of(other)[:_MOST]),
    }


def agreement(one: str, two: str) -> float:
    """How far two texts say the same, from 0 to 1: equal words, numbers counting most."""
    first, second = _words(one), _words(two)
    if not first or not second:
        return 0.0
    numbers = [{word for word in words if word[0].isdigit()} for words in (first, second)]
    if all(numbers) and not numbers[0] & numbers[1]:
        return 0.0
    common = len(first & second)
    # The shorter answer may be wholly contained in the longer one, which then only says it at length.
    return 0.5 * common / len(first | second) + 0.5 * common / min(len(first), len(second))


def text_of(result: Json) -> str:
    """Return the text of a sampling result's content."""
    texts = [block.get("text") for block in _blocks(result)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _blocks(result: Json) -> list[Json]:
    content = result.get("content")
    blocks = cast("list[object]", content) if isinstance(content, list) else [content]
    return [cast("Json", block) for block in blocks if isinstance(block, dict)]


def _is_text(result: Json) -> bool:
    return all(block.get("type") == "text" for block in _blocks(result))


def _certainty(answer: Answer) -> float | None:
    if answer.consensus is not None:
        return answer.consensus
    return None if answer.logprob is None else math.exp(min(0.0, answer.logprob))


def _stop(result: Json) -> float | None:
    reason = result.get("stopReason")
    return _STOPS.get(reason) if isinstance(reason, str) else None


def _asked(question: Json) -> str:
    """Return what the question says: its system prompt and its last message."""
    parts = [str(question.get("systemPrompt") or "")]
    messages: Any = question.get("messages")
    if isinstance(messages, list) and messages:
        last: Any = cast("list[Any]", messages)[-1]
        if isinstance(last, dict):
            parts.append(text_of(cast("Json", last)))
    return "\n".join(part[-_MOST:].strip() for part in parts if part.strip())


def _directness(text: str) -> float:
    sentences = [sentence for sentence in _SENTENCE.findall(text) if sentence.strip()]
    if not sentences:
        return 0.0
    hedged = sum(1 for sentence in sentences if _HEDGES.search(sentence))
    return 1.0 - hedged / len(sentences)


def _words(text: str) -> set[str]:
    return {word.casefold().replace(",", "") for word in _WORD.findall(text)}
