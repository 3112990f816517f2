"""A provider's failures as `ProviderError`: what happened, to whom, and what to do.

Codes are those of the taxonomy: E002 time-out, E003 rate limit, E004 the configuration or
the request is not acceptable, E006 prompt too long, E008 the model or its service is not
available, E999 anything else. Retryable are a time-out, 429, 5xx and a broken connection.

A message never holds a key. What the provider says of a failure is quoted only after the
key was taken out, and not at all when it repeats the prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from gateway.errors import ProviderError
from gateway.llm.port import Prompt

_QUOTED = 240
_ECHO = 16
_KEYLIKE = re.compile(r"\b(?:sk|pk|key|Bearer)[-_ ][\w\-*.]{6,}", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"context[ _-](?:length|window|size)|maximum context|(?:prompt|input) is too long|too many tokens",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is asked: the words a message needs. `where` is a URL or a file."""

    provider: str
    model: str
    where: str = ""
    key_env: str | None = None
    key: str | None = field(default=None, repr=False)
    missing_model_fix: str = "set `model` to one that this provider serves"

    def __str__(self) -> str:
        return f"{self.provider} (model {self.model})"

    @property
    def key_name(self) -> str:
        """How to call the key without showing it."""
        return self.key_env or "api_key"

    @property
    def address(self) -> str:
        """Scheme, host and port of `where`, without path or credentials."""
        parts = urlsplit(self.where)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else self.where


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP error answer: its status, the body's own code and message, its headers."""

    status: int
    code: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def told(body: bytes) -> object:
    """Return what the body of an error says: JSON, or text; None if it is empty."""
    text = body.decode("utf-8", "replace").strip()
    try:
        return json.loads(text)
    except ValueError:
        return text or None


def timed_out(peer: Peer, seconds: float) -> ProviderError:
    """No answer within `seconds`."""
    return ProviderError(
        f"{peer} did not answer within {seconds:.3g} s; raise timeout_seconds or use a faster model",
        code="E002",
        retryable=True,
    )


def unreachable(peer: Peer, reason: str) -> ProviderError:
    """The connection failed, or broke before the answer was complete."""
    return ProviderError(
        f"{peer} cannot be reached at {peer.address}: {reason}; check base_url and that the service runs",
        code="E008",
        retryable=True,
    )


def unreadable(peer: Peer, what: str) -> ProviderError:
    """A success whose body is not an answer."""
    return ProviderError(
        f"{peer} answered with {what}; check that base_url {peer.address} is the provider's API",
        code="E008",
        retryable=True,
    )


def unsupported(peer: Peer, what: str, fix: str) -> ProviderError:
    """The request holds what this provider, model or API cannot take."""
    return ProviderError(f"{peer} does not take {what}; {fix}", code="E004")


def malformed(peer: Peer, what: str) -> ProviderError:
    """The request is not what `sampling/createMessage` allows."""
    return ProviderError(f"the request for {peer} is unusable: {what}", code="E004")


def refused(peer: Peer, refusal: Refusal, prompt: Prompt) -> ProviderError:
    """An HTTP error status, sorted into the taxonomy."""
    code, retryable, text = _sort(peer, refusal)
    detail = "" if refusal.status in (401, 403) else quotable(refusal.message, peer, prompt)
    said = f": {detail}" if detail else ""
    return ProviderError(
        f"{peer} {text[0]} ({refusal.status}){said}; {text[1]}",
        code=code,
        retryable=retryable,
        status=refusal.status,
        retry_after=retry_after(refusal.headers) if retryable else None,
    )


def _sort(peer: Peer, refusal: Refusal) -> tuple[str, bool, tuple[str, str]]:
    """Return code, retryable, and (what happened, the fix)."""
    status = refusal.status
    if status == 413 or (status < 500 and too_long(refusal)):
        return "E006", False, ("finds the prompt too long", "shorten it or use a model with a larger context")
    if status == 429 and refusal.code == "insufficient_quota":
        return "E003", False, ("has no quota left", f"check the plan and billing behind {peer.key_name}")
    if status >= 500:
        return "E008", True, ("failed", "try again, or add another provider to the chain")
    known: dict[int, tuple[str, bool, tuple[str, str]]] = {
        401: ("E004", False, (f"refused the key in {peer.key_name}", "set a valid key")),
        402: ("E004", False, ("asks for payment", f"check the billing behind {peer.key_name}")),
        403: ("E004", False, (f"forbids this to the key in {peer.key_name}", "grant access to the model")),
        404: ("E008", False, ("does not have the model", peer.missing_model_fix)),
        408: ("E002", True, ("timed out", "raise timeout_seconds or use a faster model")),
        429: ("E003", True, ("limits the rate", "wait, or raise the limit with the provider")),
    }
    return known.get(status) or (
        "E004",
        False,
        ("refused the request", "check the model's settings and that it supports what the request asks"),
    )


def too_long(refusal: Refusal) -> bool:
    """Whether the refusal is about the prompt's length, however the provider words it."""
    return "context_length" in refusal.code or bool(_TOO_LONG.search(f"{refusal.code} {refusal.message}"))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, by `retry-after-ms` or `Retry-After` (RFC 9110 §10.2.3: seconds or date)."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) / unit)
        except ValueError:
            pass  # not a number: RFC 9110 allows a date as well
        try:
            until = parsedate_to_datetime(value)
        except ValueError:
            continue
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    return None


def quotable(message: str, peer: Peer, prompt: Prompt) -> str:
    """The provider's own words if they give away neither a key nor the prompt, else empty."""
    said = " ".join(message.split())[:_QUOTED]
    if peer.key:
        said = said.replace(peer.key, "[key]")
    said = _KEYLIKE.sub("[key]", said)
    return "" if _echoes(said, prompt) else said.rstrip(" .;")


def _echoes(said: str, prompt: Prompt) -> bool:
    texts = [" ".join(text.split()) for text in _texts(prompt)]
    if any(len(text) >= 4 and text in said for text in texts):
        return True
    windows = {said[at : at + _ECHO] for at in range(len(said) - _ECHO + 1)}
    return any(window in text for text in texts for window in windows)


def _texts(prompt: Prompt) -> list[str]:
    found = [prompt.system] if prompt.system else []
    pending: list[object] = [message.get("content") for message in prompt.messages]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, list):
            pending.extend(item)  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(item, Mapping):
            pending.extend(value for key, value in item.items() if key not in ("data", "type", "mimeType"))  # pyright: ignore
    return found
