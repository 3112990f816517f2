"""What policy may know of one input request, gathered in one place so that policy itself asks nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from gateway.answers.model import InputRequest
from gateway.policy.model import Facts, Kind, Spent

Json = dict[str, Any]


def _now() -> datetime:
    return datetime.now(UTC)


def _nothing(_request: InputRequest) -> Spent:
    return Spent()


def _nobody(_kind: Kind) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the facts of the moment come from.

    `now` has a time zone. `spent` says what was spent today, as far as it concerns a request;
    `queued` how many requests wait for a place at the LLM of a kind.
    """

    now: Callable[[], datetime] = _now
    spent: Callable[[InputRequest], Spent] = _nothing
    queued: Callable[[Kind], int] = _nobody


def facts_of(
    request: InputRequest, kind: Kind, around: Surroundings, open_questions: Mapping[str, int]
) -> Facts:
    """Return the facts of a request. `open_questions` counts those in flight by server, this one included.

    A request that belongs to no call has no client: its name and its principal are empty.
    """
    call = request.call
    identity = call.caller.identity if call is not None else None
    return Facts(
        kind,
        request.server,
        call.tool if call is not None else None,
        unsolicited=call is None,
        now=around.now(),
        client=identity.name if identity is not None else "",
        principal=(identity.principal or "") if identity is not None else "",
        hints=_hints(request.params),
        characters=_characters(request.params),
        annotations=call.annotations if call is not None else (),
        spent=around.spent(request),
        in_flight=max(0, open_questions.get(request.server, 0) - 1),
        queued=around.queued(kind),
    )


def _hints(params: Json) -> tuple[str, ...]:
    """Return the names of the model hints, in order; whatever else stands there is no hint."""
    hints = _items(_mapping(params.get("modelPreferences")).get("hints"))
    names = (_mapping(hint).get("name") for hint in hints)
    return tuple(name for name in names if isinstance(name, str))


def _characters(params: Json) -> int:
    """Count the text of a request: system prompt and messages, or the message of an elicitation."""
    texts = [params.get("systemPrompt"), params.get("message")]
    for message in _items(params.get("messages")):
        content = _mapping(message).get("content")
        blocks = _items(content) or [content]
        texts += [_mapping(block).get("text") for block in blocks]
    return sum(len(text) for text in texts if isinstance(text, str))


def _mapping(value: object) -> Json:
    return cast("Json", value) if isinstance(value, dict) else {}


def _items(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
