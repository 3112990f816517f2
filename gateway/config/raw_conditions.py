"""The shape of a strategy that depends on circumstances: a list of ``when … use …``."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, LiteralString, cast, get_args
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from gateway.config.nearest import suggest
from gateway.config.raw_base import Count, Name, Raw, StrategyName

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS = list(get_args(Day))

_WINDOW = re.compile(r"(?:[01]?\d|2[0-3]):[0-5]\d\s*-\s*(?:(?:[01]?\d|2[0-3]):[0-5]\d|24:00)")


def _broken(given: object, message: LiteralString, fix: str) -> PydanticCustomError:
    return PydanticCustomError("condition", "'{value}' " + message, {"value": str(given), "fix": fix})


def _window(value: str) -> str:
    if not _WINDOW.fullmatch(value.strip()):
        raise _broken(value, "is not a time of day", 'write "22:00-06:00", in quotes')
    start, end = (part.strip() for part in value.split("-"))
    if start.zfill(5) == end.zfill(5):
        raise _broken(value, "is over as it begins", 'for all day leave it out, or write "00:00-24:00"')
    return value


def _zone(value: str) -> str:
    if value not in available_timezones():
        raise _broken(value, "is not a time zone", suggest(value, available_timezones()))
    return value


def _listed(value: Any) -> Any:
    """Let one value stand for a list of one."""
    return [value] if isinstance(value, str) else value


Zone = Annotated[str, AfterValidator(_zone)]
Windows = Annotated[
    list[Annotated[str, AfterValidator(_window)]],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
Globs = Annotated[
    list[Name],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
Days = Annotated[
    list[Day],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"enum": _DAYS}, {"type": "array", "items": {"enum": _DAYS}}]}),
]
Amount = Annotated[float, Field(gt=0)]


class RawPrompt(Raw):
    """How much text the request brings: its messages and system prompt, or an elicitation's message."""

    min_characters: Count | None = None
    """At least this many characters."""
    max_characters: Count | None = None
    """At most this many characters."""
    min_tokens: Count | None = None
    """At least this many tokens, estimated at four characters each."""
    max_tokens: Count | None = None
    """At most this many tokens, estimated at four characters each."""


class RawAnnotations(Raw):
    """What the server says of the tool. One that says nothing counts as the specification assumes."""

    readOnlyHint: bool | None = None
    """Whether it changes nothing; assumed false."""
    destructiveHint: bool | None = None
    """Whether it may destroy; assumed true."""
    idempotentHint: bool | None = None
    """Whether calling it again changes nothing more; assumed false."""
    openWorldHint: bool | None = None
    """Whether it deals with the outside world; assumed true."""


class RawSpent(Raw):
    """What was spent on the LLM today; each holds from its amount on."""

    fraction: Amount | None = None
    """Of the budget that applies to the question, the one that is used up furthest; 1 is all of it."""
    usd: Amount | None = None
    """US dollars, of all questions."""
    tokens: Count | None = None
    """Tokens, of all questions."""


class RawLoad(Raw):
    """How much there is to do; each holds from its number on."""

    in_flight: Count | None = None
    """Other questions of the same server in flight."""
    queued: Count | None = None
    """Requests that wait for a place at the LLM's providers."""


class RawWhen(Raw):
    """What must hold, all of it. What is left out asks for nothing."""

    between: Windows = Field(default_factory=list[str])
    """Time of day, or several: `"22:00-06:00"`, the end not included."""
    weekdays: Days = Field(default_factory=list[Day])
    """Days of the week. A time over midnight belongs to the day on which it begins."""
    timezone: Zone | None = None
    """Where `between` and `weekdays` are read, as in `Europe/Berlin`. Default: UTC."""
    client: Globs = Field(default_factory=list[str])
    """What the client calls itself: a pattern (`*`, `?`, `[abc]`) or several, whatever the case."""
    principal: Globs = Field(default_factory=list[str])
    """Whose API key the client brought: a pattern or several."""
    model_hint: Globs = Field(default_factory=list[str])
    """The names of `modelPreferences.hints`: a pattern or several, of which one must match one name."""
    prompt: RawPrompt = Field(default_factory=RawPrompt)
    """How much text the request brings."""
    annotations: RawAnnotations = Field(default_factory=RawAnnotations)
    """What the server says of the tool; never holds for prompts and resources."""
    spent: RawSpent = Field(default_factory=RawSpent)
    """What was spent on the LLM today."""
    load: RawLoad = Field(default_factory=RawLoad)
    """How much there is to do."""


class RawCase(Raw):
    """One entry: the strategy to use, and when."""

    when: RawWhen | None = None
    """What must hold. The last entry has none, and no other."""
    use: StrategyName
    """The strategy."""


def _ordered(cases: list[RawCase]) -> list[RawCase]:
    if not cases:
        raise PydanticCustomError("condition", "the list is empty", {"fix": "add `- use: <strategy>`"})
    if is_conditional(cases[-1]):
        message = "the last entry has a `when`, so that nothing holds where none matches"
        raise PydanticCustomError("condition", message, {"fix": "add `- use: <strategy>` at the end"})
    for number, case in enumerate(cases[:-1]):
        if not is_conditional(case):
            message = "entry [{number}] holds always, so those after it are never looked at"
            fix = "give it a `when`, or move it to the end"
            raise PydanticCustomError("condition", message, {"number": number, "fix": fix})
    return cases


def is_conditional(case: RawCase) -> bool:
    """Whether an entry's `when` asks for anything."""
    return case.when is not None and case.when != RawWhen(timezone=case.when.timezone)


def _is_list(value: Any) -> str:
    return "[cases]" if isinstance(cast("object", value), list) else "[strategy]"


StrategyChoice = Annotated[
    Annotated[StrategyName, Tag("[strategy]")]
    | Annotated[list[RawCase], AfterValidator(_ordered), Tag("[cases]")],
    Discriminator(_is_list),
]
"""A strategy's name, or a list of entries of which the first that holds names it."""
