"""What can be checked in an answer without knowing the right one.

Sums are worked out again; a letter must be that of the option it names; what is taken from a
given text must stand there. Nothing is evaluated but numbers and four operators.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final, cast

from gateway.answers.form import as_json, words

_NUMBER: Final = r"-?\d{1,15}(?:\.\d{1,6})?"
_SUM: Final = re.compile(
    rf"(?<![\w.)]){_NUMBER}(?:\s+[-+*/]\s+{_NUMBER}|\s*[*+]\s*{_NUMBER}){{1,8}}(?![\w(]|\.\d)"
)
_TOKEN: Final = re.compile(rf"(?<![\d.]){_NUMBER}|[-+*/]")
_RESULT: Final = re.compile(rf"\s*(?:=|is|equals|makes|gives)\s*({_NUMBER})(?![\w/*+]|\s*[-*/+]\s*\d|\.\d)")
_ASKS_RESULT: Final = re.compile(
    r"\b(?:what is|what's|what does|calculate|compute|how much is|solve|work out|evaluate)\b|=\s*\??\s*$",
    re.IGNORECASE,
)
_SPELT: Final = (
    (re.compile(r"\bplus\b", re.IGNORECASE), "+"),
    (re.compile(r"\bminus\b|−|–", re.IGNORECASE), "-"),
    (re.compile(r"\b(?:times|multiplied by)\b|×|(?<=\d)\s*x\s*(?=\d)", re.IGNORECASE), " * "),
    (re.compile(r"\bdivided by\b|÷", re.IGNORECASE), "/"),
    (re.compile(r"(?<=\d),(?=\d{3}\b)"), ""),
)
_OPTION: Final = re.compile(r"(?:(?<=\s)|(?<=\A)|(?<=\())([A-H])[).:]\s")
_OPTION_ENDS: Final = re.compile(r"[\n,;.?!]|\b(?:Answer|Reply|Respond|Give|Choose)\b")
_LETTER: Final = re.compile(r"\(?([A-Ha-h])(?:[).:]|\s*\Z)")
_GIVEN: Final = re.compile(r"\n|:\s+\S+(?:\s+\S+){3}")
_ASKS_FOR_PART: Final = re.compile(
    r"\b(?:who|whose|what|which|when|where|how (?:many|much|old|long|far)|extract|find|json|according to)\b",
    re.IGNORECASE,
)
_ASKS_FOR_MORE: Final = re.compile(
    r"\b(?:translate|write|compose|create|generate|continue|invent|imagine|code|poem|story|rewrite|rephrase)\b",
    re.IGNORECASE,
)
_DIGITS: Final = re.compile(r"\d+(?:[.:]\d+)*")
_NAME: Final = re.compile(r"(?<=[^\W_][\s,])[A-Z][^\W_]+")
_FEW: Final = 3


def soundness(asked: str, text: str) -> float | None:
    """Return the share of what can be checked that holds, None where nothing can be."""
    plain, said = _spelt_out(asked), _spelt_out(text)
    found = [*_sums(plain, said), *_options(asked, text), *_taken(asked, text)]
    return sum(found) / len(found) if found else None


def _spelt_out(text: str) -> str:
    for pattern, sign in _SPELT:
        text = pattern.sub(sign, text)
    return text


def _sums(asked: str, text: str) -> Iterator[float]:
    """Check every sum that the answer states, or else its last number against the sum that was asked."""
    stated = [(_value(sum_[0]), _RESULT.match(text, sum_.end())) for sum_ in _SUM.finditer(text)]
    results = [float(_is(value, match[1])) for value, match in stated if match is not None]
    yield from results
    wanted = _SUM.findall(asked) if _ASKS_RESULT.search(asked) else []
    numbers = re.findall(_NUMBER, text)
    if not results and len(wanted) == 1 and numbers:
        yield float(_is(_value(wanted[0]), numbers[-1]))


def _value(terms: str) -> float | None:
    """Work out numbers joined by operators, * and / before + and -; None if it divides by zero."""
    tokens = _TOKEN.findall(re.sub(r"(?<=\d)([-+])(?=\s)", r" \1", terms))
    total, sign, product = 0.0, 1.0, float(tokens[0])
    for operator, term in zip(tokens[1::2], tokens[2::2], strict=False):
        number = float(term)
        if operator in "+-":
            total, sign, product = total + sign * product, 1.0 if operator == "+" else -1.0, number
        elif operator == "*":
            product *= number
        elif number == 0:
            return None
        else:
            product /= number
    return total + sign * product


def _is(value: float | None, told: str) -> bool:
    """Whether a number is the value, as exactly as it is written."""
    decimals = len(told.partition(".")[2])
    return value is not None and abs(value - float(told)) <= 0.5 * 10.0**-decimals * (1 if decimals else 1e-6)


def _options(asked: str, text: str) -> Iterator[float]:
    """Check that the letter of a lettered option stands with that option, and with no other."""
    options: dict[str, str] = {}
    marks = [*_OPTION.finditer(asked), None]
    for mark, following in pairwise(marks):
        if mark is not None:
            end = following.start() if following is not None else len(asked)
            option = _OPTION_ENDS.split(asked[mark.end() : end], maxsplit=1)[0]
            options[mark[1]] = " ".join(words(option))
    named = _named(options, text)
    letter = _LETTER.match(text.strip())
    if len(options) < 2 or not named:
        return
    if letter is not None and letter[1].upper() in options:
        yield float(named == [letter[1].upper()])
    elif len(named) > 1:
        yield 0.0


def _named(options: Mapping[str, str], text: str) -> list[str]:
    said = f" {' '.join(words(text))} "
    return [letter for letter, option in options.items() if option and f" {option} " in said]


def _taken(asked: str, text: str) -> Iterator[float]:
    """Check that numbers, names and values stand in the text that the question gives."""
    given = _GIVEN.search(asked) and _ASKS_FOR_PART.search(asked) and not _OPTION.search(asked)
    if not given or _ASKS_FOR_MORE.search(asked):
        return
    known = set(words(asked))
    known |= {number for word in known for number in _DIGITS.findall(word)}
    facts = [word for fact in _facts(text) for word in words(fact)]
    if facts:
        yield sum(fact in known for fact in facts) / len(facts)


def _facts(text: str) -> list[str]:
    """Return what an answer states: the values of its JSON, its numbers and names, or its few words."""
    try:
        value: Any = as_json(text)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return [str(item) for item in cast("dict[str, Any]", value).values()]
    facts = [*_DIGITS.findall(text), *_NAME.findall(text)]
    few = words(text)
    return facts or (few if len(few) <= _FEW else [])
