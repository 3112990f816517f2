"""Whether an answer has the form that its question asked for.

A question says it in words ("answer yes or no", "JSON only", "in one sentence"); the patterns
here are the ways that are common in English. Where none is found, nothing is measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

_WORD: Final = re.compile(r"[^\W_]+(?:[.@:'’-][^\W_]+)*")
_SENTENCE: Final = re.compile(r"[^.!?\n]*\w[^.!?\n]*")
_ITEM: Final = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+\S", re.MULTILINE)
_FENCE: Final = re.compile(r"\A```[a-zA-Z]*\s*\n?|\s*```\Z")
_QUOTED: Final = re.compile(r"[\"'`“]([\w-]+)[\"'`”]")
_KEYS: Final = re.compile(r"\b(?:keys?|fields?|propert(?:y|ies))\b(.{0,300})", re.IGNORECASE | re.DOTALL)
_COUNT: Final = r"(\d{1,3}|one|two|three|four|five|six|seven|eight|nine|ten)"
_COUNTS: Final[Mapping[str, int]] = {
    word: number + 1
    for number, word in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"))
} | {"ten": 10}
_SHORT: Final = 12
"""Words of an answer that is short enough where a short one was asked for."""


def form(asked: str, text: str) -> float | None:
    """Grade an answer's form from 0 to 1, None where the question asks for none that is known."""
    for pattern, grade in _FORMS:
        match = pattern.search(asked)
        if match is not None:
            return grade(match, asked, text.strip())
    return None


def words(text: str) -> list[str]:
    """Split a text into words in lower case; addresses, times and versions are one word each."""
    return [word.casefold() for word in _WORD.findall(text)]


def as_json(text: str) -> Any:
    """Parse an answer that is JSON and nothing else, a code fence around it allowed.

    Raises:
        ValueError: it is not.
    """
    try:
        return json.loads(_FENCE.sub("", text.strip()))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _json(_match: re.Match[str], asked: str, text: str) -> float:
    try:
        value = as_json(text)
    except ValueError:
        return 0.0
    place = _KEYS.search(asked)
    keys = set(_QUOTED.findall(place[1])) if place else set[str]()
    if not keys:
        return 1.0
    given = set(cast("dict[str, Any]", value)) if isinstance(value, dict) else set[str]()
    return len(keys & given) / len(keys | given)


def _yes_or_no(_match: re.Match[str], _asked: str, text: str) -> float:
    said = words(text)
    if not said or said[0] not in ("yes", "no"):
        return 0.0
    return 1.0 if len(said) <= 3 else 0.7


def _letter(_match: re.Match[str], _asked: str, text: str) -> float:
    if re.fullmatch(r"\(?[A-Za-z][).:]?", text):
        return 1.0
    return 0.7 if re.match(r"\(?[A-Za-z][).:]", text) else 0.0


def _number(_match: re.Match[str], _asked: str, text: str) -> float:
    said = words(text)
    if not any(any(map(str.isdigit, word)) or word in _COUNTS for word in said):
        return 0.0
    return 1.0 if len(said) <= _SHORT else 0.7


def _some_words(match: re.Match[str], _asked: str, text: str) -> float:
    most = _count(match[1])
    return _at_most(len(words(text)), most)


def _one_word(_match: re.Match[str], _asked: str, text: str) -> float:
    count = len(words(text))
    return 1.0 if count == 1 else 0.5 if 1 < count <= 3 else 0.0


def _sentences(match: re.Match[str], _asked: str, text: str) -> float:
    return _at_most(len(_SENTENCE.findall(text)), _count(match[1]))


def _list(match: re.Match[str], _asked: str, text: str) -> float:
    wanted = _count(match[1])
    items = len(_ITEM.findall(text)) or len([part for part in re.split(r"[,;\n]", text) if part.strip()])
    return min(items, wanted) / max(items, wanted, 1)


def _brief(_match: re.Match[str], _asked: str, text: str) -> float:
    return _at_most(len(words(text)), _SHORT)


def _at_most(count: int, most: int) -> float:
    if count == 0:
        return 0.0
    return min(1.0, most / count)


def _count(text: str) -> int:
    return int(text) if text.isdigit() else {"a": 1, "single": 1, **_COUNTS}[text.casefold()]


def _ways(*alternatives: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(alternatives)})\b", re.IGNORECASE)


_FORMS: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str], str, str], float]], ...]] = (
    (_ways("json"), _json),
    (_ways("yes or no", "yes/no", "['\"]?yes['\"]? or ['\"]?no['\"]?"), _yes_or_no),
    (
        _ways(
            "(?:the|a|one|single|its|correct|right) letter(?: only| alone)?",
            "letter of the (?:right|correct)",
        ),
        _letter,
    ),
    (_ways("(?:one|a single|single|1)[- ]word", "just the word", "only the word"), _one_word),
    (
        _ways(
            rf"(?:in|with|using|at most|no more than|up to|exactly|maximum of) {_COUNT} words?(?: or less)?"
        ),
        _some_words,
    ),
    (_ways("(?:in|with|just|only|exactly|at most) (a|single|one|two|three|\\d) sentences?"), _sentences),
    (_ways(rf"(?:list|name|give(?: me)?) {_COUNT} \w+"), _list),
    (
        _ways(
            "(?:a|the|as a|one|single|whole|just the) (?:number|integer|digit|figure)",
            "how (?:many|much)",
            "in (?:digits|figures)",
        ),
        _number,
    ),
    (_ways("brief(?:ly)?", "short(?:ly| answer)?", "concise(?:ly)?", "as few words"), _brief),
)
"""The ways to ask for a form, the strictest first."""
