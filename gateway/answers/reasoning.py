"""A model's reasoning, and the answer that it comes to.

The model is told to mark its answer. Models that do not know the marks use others, so that
several are understood; what has none of them is not guessed at.
"""

from __future__ import annotations

import re
from typing import Final

REASON: Final = (
    "Think step by step before you answer. Then write the final answer, in the form that the request asks "
    "for and without the steps, between <answer> and </answer>."
)
FINAL: Final = (
    "Now give the final answer only, in the form that the request asked for, without the steps to it."
)

_THOUGHT: Final = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_OPEN, _CLOSE = re.compile(r"<answer>", re.IGNORECASE), re.compile(r"</answer>", re.IGNORECASE)
_SAID: Final = re.compile(
    r"^[ \t]*(?:[#*_]{0,3}[ \t]*)(?:the[ \t]+)?final[ \t]+answer[ \t]*(?:is)?[*_]{0,3}[ \t]*:[*_]{0,3}[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_BOXED: Final = re.compile(r"\\boxed\{([^{}]*)\}")


def concluded(text: str) -> str | None:
    """Return the answer that stands behind the reasoning, None where no mark says which that is.

    A mark inside a thought does not count, the last mark does, and one that is never closed
    holds to the end.
    """
    spoken = _THOUGHT.sub("", text)
    marks = list(_OPEN.finditer(spoken))
    if marks:
        return _CLOSE.split(spoken[marks[-1].end() :], maxsplit=1)[0].strip() or None
    said = list(_SAID.finditer(spoken))
    if said:
        return spoken[said[-1].end() :].strip().strip("*").strip() or None
    boxed = _BOXED.findall(spoken)
    if boxed:
        return boxed[-1].strip() or None
    # A model that thinks between marks of its own has said the rest aloud.
    return spoken.strip() or None if spoken != text else None
