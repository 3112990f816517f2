"""What all shapes of files share: unknown keys refused, and the types of single values."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from gateway.config.nearest import suggest
from gateway.policy.model import ALIASES, Strategy

STRATEGY_NAMES = (*(s.value for s in Strategy), *ALIASES)


def _strategy(value: Any) -> Any:
    """Read a strategy's name or alias."""
    if isinstance(value, Strategy) or not isinstance(value, str):
        return value
    try:
        return ALIASES.get(value) or Strategy(value)
    except ValueError:
        template = "'{value}' is not a strategy"
        fix = suggest(value, STRATEGY_NAMES)
        raise PydanticCustomError("strategy", template, {"value": value, "fix": fix}) from None


def _text(value: Any) -> Any:
    """Let numbers and booleans stand where a process or a header needs text."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


StrategyName = Annotated[Strategy, BeforeValidator(_strategy), WithJsonSchema({"enum": list(STRATEGY_NAMES)})]
Text = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Name = Annotated[str, Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1)]
Retries = Annotated[int, Field(ge=0, le=20)]
Temperature = Annotated[float, Field(ge=0, le=2)]
Weight = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Unsolicited = Literal["refuse", "own_llm"]
Passing = Literal["allow", "deny"]


class Raw(BaseModel):
    """A mapping whose unknown keys are errors. A key without a value is as good as absent."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, value: Any) -> Any:
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value).items()
            return {key: item for key, item in items if item is not None}
        return value
