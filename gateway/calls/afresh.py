"""Calls that a server refuses until its URLs were visited, for a client that answers by retrying.

A server of 2025-11-25 may end a call with `UrlElicitationRequired` (2025-11-25,
client/elicitation, URL Elicitation Required Error). A client that is asked in the results of
its calls is put the URLs there, each by policy; when it has accepted them all, its retry sends
the whole call anew. Nothing is kept meanwhile: what the retry needs travels with the client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from gateway.calls.model import Asked, Call, Json, LaterAnswer, Resume, Scope, Suspended
from gateway.errors import LimitExceeded, QuestionRejected, UrlElicitationRequired

_REFUSALS = {"decline": "declined", "cancel": "dismissed"}


@dataclass(frozen=True, slots=True)
class Afresh(Resume):
    """What a retry brings to a call that is sent anew: the server holds nothing of it."""


def accepted(call: Call, resume: Afresh) -> None:
    """Check the user's answers, before the call is sent anew. A key without one is asked for again.

    Raises:
        QuestionRejected: the user declined; the server, which keeps no call open, cannot be told.
    """
    for answer in resume.answers.values():
        refusal = _REFUSALS.get(str(answer.get("action")))
        if refusal is not None:
            raise QuestionRejected(
                f"server '{call.server}' does not carry out {call.method} '{call.target}' before the user "
                f"has visited its URL, and the user {refusal} that"
            )


async def suspended(
    error: UrlElicitationRequired, call: Call, scope: Scope, earlier: Afresh | None, max_rounds: int
) -> Suspended:
    """Put the URLs of a refused call to policy, and return the call as one that waits for its client.

    Raises:
        QuestionError: policy does not let the client be asked, or the client cannot open URLs.
        LimitExceeded: the server asked in more than `max_rounds` rounds.
        UrlElicitationRequired: the error names nothing that could be asked.
    """
    requests = _requests(error)
    number = 1 if earlier is None else earlier.round + 1
    if number > max_rounds:
        raise LimitExceeded(
            f"server '{call.server}' asked for a URL to be visited in more than {max_rounds} rounds; "
            "raise max_rounds of the server if it needs them"
        )
    answers: dict[str, Json] = {}
    asked: dict[str, int] = {}
    notes: dict[str, Mapping[str, Any]] = {}
    for key, request in requests.items():
        before = _missed(earlier, key)
        note: Mapping[str, Any] = {} if earlier is None else earlier.notes.get(key, {})
        question = Asked(request["method"], request["params"], before, note)
        answer = await scope.question(question, deferrable=True)
        if isinstance(answer, LaterAnswer):
            asked[key], notes[key] = before + 1, answer.note
        else:
            answers[key] = answer
    if not asked:
        raise error
    later = {key: requests[key] for key in asked}
    return Suspended(later, Afresh(None, answers, number, call.questions, asked, notes))


def _missed(earlier: Afresh | None, key: str) -> int:
    """Return how often this key was put to the client in vain."""
    return earlier.asked.get(key, 0) if earlier is not None and key not in earlier.answers else 0


def elicitations(error: UrlElicitationRequired) -> list[Json]:
    """Return the `ElicitRequestURLParams` that an error lists; empty if it lists none that can be used."""
    data: Any = error.data
    listed: Any = cast("Json", data).get("elicitations") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        return []
    entries = [cast("Json", entry) for entry in cast("list[Any]", listed) if isinstance(entry, dict)]
    usable = [entry for entry in entries if isinstance(entry.get("url"), str)]
    return usable if len(usable) == len(cast("list[Any]", listed)) else []


def _requests(error: UrlElicitationRequired) -> dict[str, Json]:
    """Return the input requests by key, without the ids, which a retry has no use for.

    Raises the error itself where it lists none.
    """
    listed = elicitations(error)
    if not listed:
        raise error
    return {
        f"url-{number}": {"method": "elicitation/create", "params": {**_without_id(params), "mode": "url"}}
        for number, params in enumerate(listed, 1)
    }


def _without_id(params: Json) -> Json:
    return {key: value for key, value in params.items() if key != "elicitationId"}
