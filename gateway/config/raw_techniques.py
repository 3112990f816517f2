"""The shape of a sampling technique: its name, or a mapping with its options."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from gateway.config.raw_base import Raw
from gateway.config.yaml_source import Document, Key
from gateway.policy.model import Setting, Technique, TechniqueName

TECHNIQUE_NAMES: tuple[str, ...] = get_args(TechniqueName)
_TECHNIQUE = Technique()
_FOR = {"samples": "consensus", "temperature": "consensus", "rounds": "iterative"}


class RawTechnique(Raw):
    """A technique with its options."""

    technique: TechniqueName
    """The technique."""
    samples: Annotated[int, Field(ge=2, le=20)] = _TECHNIQUE.samples
    """For `consensus`: how many answers are sampled."""
    temperature: Annotated[float, Field(gt=0, le=2)] = _TECHNIQUE.temperature
    """For `consensus`: at what temperature, where the request asks for none above 0."""
    rounds: Annotated[int, Field(ge=1, le=10)] = _TECHNIQUE.rounds
    """For `iterative`: how often at most an answer is criticized and written anew."""


def _fitting(value: RawTechnique) -> RawTechnique:
    for name in sorted(value.model_fields_set - {"technique"}):
        if _FOR[name] != value.technique:
            details = {"name": name, "technique": value.technique, "fix": "remove it"}
            raise PydanticCustomError("condition", "`{name}` has no effect on {technique}", details)
    return value


def _shape(value: Any) -> str:
    return "[options]" if isinstance(value, dict | RawTechnique) else "[technique]"


TechniqueChoice = Annotated[
    Annotated[TechniqueName, Tag("[technique]")]
    | Annotated[RawTechnique, AfterValidator(_fitting), Tag("[options]")],
    Discriminator(_shape),
]
"""A technique's name, or a mapping with its options."""


def technique(
    document: Document, key: Key, value: TechniqueName | RawTechnique | None
) -> Setting[Technique] | None:
    """Join a technique with the place it is written; None stays None."""
    if value is None:
        return None
    if not isinstance(value, RawTechnique):
        return Setting(Technique(value), document.source(*key))
    chosen = Technique(value.technique, value.samples, value.temperature, value.rounds)
    return Setting(chosen, document.source(*key))
