"""Which model is asked: from a request's `modelPreferences`, deterministically, and with reasons.

Hints come first, in their order (2025-11-25, "Model Preferences": substrings of names, which may
be mapped to other vendors' models): a model matches by its own name before one that only has an
alias of that name. Among equals the three priorities decide, as shares of their sum, by the
catalogue's scores. What is still equal stays in the order of the configuration. A model whose
context window cannot hold the prompt and its answer is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from gateway.config.resolved import ModelConfig
from gateway.llm.port import Prompt

Json = dict[str, Any]

NEUTRAL: Final = 0.5
"""The score of a model of which the catalogue says nothing."""
_BYTES_PER_TOKEN: Final = 4
_MEDIA_TOKENS: Final = 1500
"""About what an image takes; services count by its size, which only its pixels would tell."""
_PRIORITIES: Final = (
    ("cost", "costPriority"),
    ("speed", "speedPriority"),
    ("intelligence", "intelligencePriority"),
)


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that can be asked. `default` is the one its provider is asked for unless a request chooses."""

    provider: str
    model: str
    known: ModelConfig | None = None
    default: bool = True

    @property
    def price(self) -> tuple[float, float] | None:
        """US dollars for one token of prompt and of answer; None is not known."""
        known = self.known
        if known is not None and known.input_price is not None and known.output_price is not None:
            return known.input_price / 1e6, known.output_price / 1e6
        return (0.0, 0.0) if self.provider == "local" else None


@dataclass(frozen=True, slots=True)
class Selection:
    """The offers to ask, best first, by index; and why, None where there was nothing to choose."""

    order: tuple[int, ...]
    explained: Json | None


@dataclass(frozen=True, slots=True)
class _Rated:
    index: int
    offer: Offer
    score: float | None
    hint: int | None = None
    matched: str = ""
    too_small: str = ""


def as_configured(offers: Sequence[Offer]) -> Selection | None:
    """Return the order of offers among which no prompt makes a choice; None where one may."""
    if any(offer.known is not None or not offer.default for offer in offers):
        return None
    return Selection(tuple(range(len(offers))), None)


def select(offers: Sequence[Offer], prompt: Prompt) -> Selection:
    """Put the offers in the order in which they should be asked."""
    if (configured := as_configured(offers)) is not None:
        return configured
    tokens = estimated_tokens(prompt)
    hints, weights = _hints(prompt), _weights(prompt)
    needed = tokens + prompt.max_tokens
    rated = [_rate(index, offer, offers, hints, weights, needed) for index, offer in enumerate(offers)]
    fitting = [one for one in rated if not one.too_small]
    hinted = sorted((one for one in fitting if one.hint is not None), key=_by_hint)
    rest = [one for one in fitting if one.hint is None and (weights or one.offer.default)]
    rest.sort(key=lambda one: (-(one.score or 0.0), one.index))
    # Every provider keeps its turn as a fallback, by its default model if by no other.
    order = [*hinted, *rest]
    explained: Json = {
        "chosen": _name(order[0].offer) if order else None,
        "reason": _reason(order, weights),
        "hints": hints,
        "priorities": {name: round(weight, 4) for name, weight in weights.items()},
        "estimated_tokens": tokens,
        "candidates": [_shown(one, hints) for one in rated],
    }
    return Selection(tuple(one.index for one in order), explained)


def estimated_tokens(prompt: Prompt) -> int:
    """Return about how many tokens a prompt has: four bytes of text each, 1500 an image or sound."""
    texts = [prompt.system or "", *(str(tool) for tool in prompt.tools), str(prompt.schema or "")]
    media = 0
    pending: list[object] = [message.get("content") for message in prompt.messages]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, list):
            pending.extend(cast("list[object]", item))
        elif isinstance(item, Mapping):
            block = cast("Mapping[str, object]", item)
            media += "data" in block
            pending.extend(value for key, value in block.items() if key not in ("data", "type", "mimeType"))
    return sum(math.ceil(len(text.encode()) / _BYTES_PER_TOKEN) for text in texts) + media * _MEDIA_TOKENS


def _rate(
    index: int,
    offer: Offer,
    offers: Sequence[Offer],
    hints: Sequence[str],
    weights: Mapping[str, float],
    needed: int,
) -> _Rated:
    hint, matched = next(
        ((position, how) for position, hint in enumerate(hints) if (how := _matches(hint, offer))), (None, "")
    )
    score = sum(weight * _score(name, offer, offers) for name, weight in weights.items()) if weights else None
    window = offer.known.context_window if offer.known is not None else None
    small = (
        ""
        if window is None or needed <= window
        else f"needs {needed} tokens, its context window has {window}"
    )
    return _Rated(index, offer, score, hint, matched, small)


def _by_hint(one: _Rated) -> tuple[int, bool, float, int]:
    return one.hint or 0, one.matched != "name", -(one.score or 0.0), one.index


def _matches(hint: str, offer: Offer) -> str:
    """Say by what a hint means a model: its name, or an alias. Empty: it does not."""
    wanted = hint.lower()
    if wanted in offer.model.lower():
        return "name"
    aliases = offer.known.aliases if offer.known is not None else ()
    found = next((alias for alias in aliases if wanted in alias.lower()), None)
    return "" if found is None else f"alias {found}"


def _score(name: str, offer: Offer, offers: Sequence[Offer]) -> float:
    given: float | None = getattr(offer.known, name) if offer.known is not None else None
    if given is not None:
        return given
    if name != "cost" or offer.price is None:
        return NEUTRAL
    dearest = max(sum(other.price) for other in offers if other.price is not None)
    return 1.0 - sum(offer.price) / dearest if dearest else 1.0


def _hints(prompt: Prompt) -> list[str]:
    hints: object = (prompt.model_preferences or {}).get("hints")
    names = [
        cast("Mapping[str, object]", hint).get("name")
        for hint in (cast("list[object]", hints) if isinstance(hints, list) else [])
        if isinstance(hint, Mapping)
    ]
    return [name for name in names if isinstance(name, str) and name]


def _weights(prompt: Prompt) -> dict[str, float]:
    """Return the priorities as shares of their sum; empty where none is above 0."""
    asked: dict[str, float] = {}
    for name, key in _PRIORITIES:
        value: object = (prompt.model_preferences or {}).get(key)
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        asked[name] = min(max(float(cast("float", value)), 0.0), 1.0) if number else 0.0
    total = sum(asked.values())
    return {name: value / total for name, value in asked.items()} if total else {}


def _reason(order: Sequence[_Rated], weights: Mapping[str, float]) -> str:
    if not order:
        return "no context window holds the request"
    best = order[0]
    if best.hint is not None:
        return f"hint {best.hint + 1} matches its {best.matched}"
    if weights:
        return f"highest score, {best.score:.3f}"
    return "first in the configuration"


def _shown(one: _Rated, hints: Sequence[str]) -> Json:
    shown: Json = {"model": _name(one.offer)}
    if one.score is not None:
        shown["score"] = round(one.score, 4)
    if one.hint is not None:
        shown |= {"hint": hints[one.hint], "matched": one.matched}
    if one.too_small:
        shown["left_out"] = one.too_small
    return shown


def _name(offer: Offer) -> str:
    return f"{offer.provider}/{offer.model}"
