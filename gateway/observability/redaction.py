"""Take out of a record whatever looks like a secret, by its name or by its shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

REDACTED: Final = "[redacted]"

_NAMES = re.compile(
    r"authorization|cookie|pass(?:word|wd|phrase|code)|secret|credential|api[-_]?key|private[-_]?key"
    r"|(?:^|[-_.])(?:access|auth|refresh|id|bearer|session)?[-_]?token$|session[-_]?id$|state[-_]?keys?$",
    re.IGNORECASE,
)
_SHAPES = (
    re.compile(r"(?P<kept>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE),
    re.compile(r"(?P<kept>://[^\s/:@]*:)[^\s/@]+(?=@)"),
    re.compile(
        r"(?P<kept>\b[\w-]*(?:api[-_]?key|token|secret|password|passwd|signature)\b[\"']?\s*[=:]\s*[\"']?)"
        r"[^\s&\"',;)}\]]{4,}",
        re.IGNORECASE,
    ),
    re.compile(r"(?P<kept>[?&](?:key|sig|code|access_token)=)[^\s&#\"']+", re.IGNORECASE),
    re.compile(r"(?P<kept>)\b(?:sk|pk|rk)-[\w*-]{8,}"),
    re.compile(r"(?P<kept>)\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|hf_|npm_|bk_)[\w-]{8,}"),
    re.compile(r"(?P<kept>)\b(?:AKIA|ASIA)[0-9A-Z]{12,}|\bAIza[\w-]{20,}"),
    re.compile(r"(?P<kept>)\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
    re.compile(
        r"(?P<kept>)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
    ),
)


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
    for shape in _SHAPES:
        text = shape.sub(rf"\g<kept>{REDACTED}", text)
    return text


def _field(name: str, value: Any, depth: int) -> Any:
    secret = _NAMES.search(name) is not None and value is not None
    if secret and not isinstance(value, int | float):
        return REDACTED
    return scrub(value, depth=depth - 1)
