"""The questions with their known answers, and when an answer counts as right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

Part = Literal["tuning", "held out", "reworded"]
PARTS: tuple[Part, ...] = ("tuning", "held out", "reworded")
Fashion = Literal["plainly", "hedging", "cut off"]

FILE = Path(__file__).with_name("questions.jsonl")
_WORD = re.compile(r"[^\W_]+(?:[.@:-][^\W_]+)*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_FENCE = re.compile(r"\A```[a-zA-Z]*\s*(.*?)\s*```\Z", re.DOTALL)
_FASHIONS: tuple[Fashion, ...] = ("plainly", "hedging", "cut off")


@dataclass(frozen=True)
class Question:
    """One question. `right` and `wrong` are what the scripted leg says of it."""

    number: int
    id: str
    kind: str
    ask: str
    check: str
    answer: Any
    right: str
    wrong: str
    options: tuple[str, ...] = ()
    reworded: bool = False

    @property
    def part(self) -> Part:
        """Weights were chosen on ``tuning``; ``held out`` asks in the same ways, ``reworded`` in others."""
        if self.reworded:
            return "reworded"
        return "tuning" if self.number // 2 % 2 == 0 else "held out"

    @property
    def wrongly(self) -> Fashion | None:
        """How the scripted leg is wrong here, which it is on every third question."""
        third, rest = divmod(self.number, 3)
        return _FASHIONS[third % 3] if rest == 2 else None

    def params(self) -> dict[str, Any]:
        """Return the params of `sampling/createMessage` that ask it."""
        content = {"type": "text", "text": self.ask}
        return {"messages": [{"role": "user", "content": content}], "maxTokens": 48, "temperature": 0}

    def is_right(self, text: str) -> bool:
        """Whether an answer is right, in the form that was asked for where one was."""
        return _CHECKS[self.check](self, text.strip())


def load() -> list[Question]:
    """Read all questions, in order."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return [Question(number, **json.loads(line)) for number, line in enumerate(lines)]


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _holds(text: str, phrase: str) -> bool:
    return f" {' '.join(_words(phrase))} " in f" {' '.join(_words(text))} "


def _number(question: Question, text: str) -> bool:
    """The last number of the answer is the result: those before it may repeat the question."""
    found = _NUMBER.findall(text.replace(",", ""))
    return bool(found) and float(found[-1]) == float(question.answer)


def _count(question: Question, text: str) -> bool:
    """The first number is the one, written in digits or, where there are none, as a word."""
    words = _words(text)
    named = [word for word in words if word.isdigit()] or [word for word in words if word in _COUNTS]
    return bool(named) and named[0] in question.answer


def _contains(question: Question, text: str) -> bool:
    return any(_holds(text, answer) for answer in question.answer)


def _word(question: Question, text: str) -> bool:
    """One word was asked for, and no other answer than that word alone is right."""
    return len(words := _words(text)) == 1 and words[0] in question.answer


def _yes_or_no(question: Question, text: str) -> bool:
    words = _words(text)
    return bool(words) and words[0] == question.answer


def _letter(question: Question, text: str) -> bool:
    """The letter, alone or before its option; not a list of all of them."""
    letter, option = question.answer
    others = [other for other in question.options if other != option]
    said = re.match(r"\(?([A-Ca-c])\b[).:]?", text)
    return said is not None and said[1].upper() == letter and not any(_holds(text, one) for one in others)


def _extract(question: Question, text: str) -> bool:
    """What was asked for is in the answer, which is not the whole text over again, nor mixed up."""
    mixed = any(_holds(text, other) for other in question.options)
    return _contains(question, text) and not mixed and len(_words(text)) <= 12


def _json(question: Question, text: str) -> bool:
    fenced = _FENCE.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except ValueError:
        return False
    return isinstance(value, dict) and _plain(cast("dict[str, Any]", value)) == _plain(question.answer)


def _plain(value: dict[str, Any]) -> dict[str, str]:
    return {key: str(item).casefold() for key, item in value.items()}


_COUNTS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "sixty"),
)
_CHECKS: dict[str, Callable[[Question, str], bool]] = {
    "number": _number,
    "count": _count,
    "contains": _contains,
    "word": _word,
    "yesno": _yes_or_no,
    "letter": _letter,
    "extract": _extract,
    "json": _json,
}
