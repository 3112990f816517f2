"""Take out of a record whatever looks like a secret, by its name or by its shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, cast

REDACTED: Final = "[redacted]"
_LONG: Final = 64
"""Characters of a name beyond which it is none of those that come all the time, and is not remembered."""

_NAMES = re.compile(
    r"authorization|cookie|pass(?:word|wd|phrase|code)|secret|credential|api[-_]?key|private[-_]?key"
    r"|(?:^|[-_.])(?:access|auth|refresh|id|bearer|session)?[-_]?token$|session[-_]?id$|state[-_]?keys?$",
    re.IGNORECASE,
)
_SHAPES: Final = (
    (("ba", "bearer"), re.compile(r"(?P<kept>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE)),
    (("://",), re.compile(r"(?P<kept>://[^\s/:@]*:)[^\s/@]+(?=@)")),
    (
        ("=", ":"),
        re.compile(
            r"(?P<kept>\b[\w-]*(?:api[-_]?key|token|secret|password|passwd|signature)\b[\"']?\s*[=:]\s*[\"']?)"
            r"[^\s&\"',;)}\]]{4,}",
            re.IGNORECASE,
        ),
    ),
    (("=",), re.compile(r"(?P<kept>[?&](?:key|sig|code|access_token)=)[^\s&#\"']+", re.IGNORECASE)),
    (("k-",), re.compile(r"(?P<kept>)\b(?:sk|pk|rk)-[\w*-]{8,}")),
    (
        ("_", "-"),
        re.compile(r"(?P<kept>)\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|hf_|npm_|bk_)[\w-]{8,}"),
    ),
    (("akia", "asia", "aiza"), re.compile(r"(?P<kept>)\b(?:AKIA|ASIA)[0-9A-Z]{12,}|\bAIza[\w-]{20,}")),
    (("eyj",), re.compile(r"(?P<kept>)\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*")),
    (
        ("-----begin",),
        re.compile(
            r"(?P<kept>)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
    ),
)
"""Each shape of a secret, and in lower case what a text that has it has in it: one of these at least."""
_LEAST: Final = 6
"""Characters of the shortest text that one of the shapes fits: ``?key=a``, ``://:a@``."""
_LEAST_WORD: Final = 16
"""The same of a text of letters and digits alone: ``AKIA`` and twelve more."""


def scrub(value: Any, *, depth: int = 8) -> Any:
    """Return a copy of a JSON-like value without secrets; below `depth` levels only its text.

    A text under a name that says "secret" goes whole; numbers stay, so that
    ``output_tokens: 12`` remains readable.
    """
    if isinstance(value, str):
        return scrub_text(value)
    if isinstance(value, bytes):
        return scrub_text(value.decode("utf-8", "replace"))
    if depth <= 0 and isinstance(value, Mapping | list | tuple | set):
        return scrub_text(str(cast("object", value)))
    if isinstance(value, Mapping):
        fields = cast("Mapping[Any, Any]", value)
        return {key: _field(str(key), item, depth) for key, item in fields.items()}
    if isinstance(value, list | tuple | set):
        return [scrub(item, depth=depth - 1) for item in cast("list[Any]", value)]
    return value if value is None or isinstance(value, bool | int | float) else scrub_text(str(value))


def scrub_text(text: str) -> str:
    """Return a text with everything that has the shape of a secret replaced."""
    text = str(text)
    if len(text) < _LEAST or (len(text) < _LEAST_WORD and text.isalnum()):
        return text
    lower = text.lower()
    for needles, shape in _SHAPES:
        for needle in needles:
            if needle in lower:
                text = shape.sub(_without, text)
                break
    return text


def _without(found: re.Match[str]) -> str:
    return found["kept"] + REDACTED


@lru_cache(1024)
def _says_secret(name: str) -> bool:
    return _NAMES.search(name) is not None


def _field(name: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    if _says_secret(name) if len(name) <= _LONG else _NAMES.search(name):
        return REDACTED
    return scrub(value, depth=depth - 1)
