"""Multi round-trip requests: answer what a modern server asks in its result, and ask it again.

2026-07-28, basic/patterns/mrtr. The driver knows no transport: `send` carries one round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from gateway.calls.model import Asked, CallOutcome, LaterAnswer, Resume, Scope, Suspended
from gateway.config.resolved import ServerConfig
from gateway.errors import CallError, LimitExceeded
from gateway.upstream.port import Json

Send = Callable[[Json], Awaitable[Json]]
"""Sends the request once, with the given parameters, and returns its raw result."""

_FIRST_BACKOFF = 0.05
_LAST_BACKOFF = 0.25


@dataclass(slots=True)
class _Progress:
    """How far one call has come: rounds and questions so far.

    Of each key that was put off: how often, and what is noted of it.
    """

    round: int
    questions: int
    asked: Mapping[str, int]
    notes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    backoff: float = _FIRST_BACKOFF


async def drive(
    config: ServerConfig, params: Json, scope: Scope | None, resume: Resume | None, send: Send
) -> CallOutcome:
    """Carry one request through all its rounds.

    Returns the final result, or `Suspended` when at least one question waits for the client's
    retry. `requestState` is passed back exactly as it came, and left out where none came.

    Raises:
        LimitExceeded: more rounds or questions than the server is allowed.
        CallError: the server's `InputRequiredResult` cannot be used.
        QuestionError, PeerError: a question was not answered; a modern server cannot be told.
    """
    if resume is None:
        progress = _Progress(0, 0, {})
        result = await send(params)
    else:
        progress = _Progress(resume.round, resume.questions, _still_open(resume), resume.notes)
        result = await send({**params, **_retry(resume.answers, resume.state)})
    while result.get("resultType") == "input_required":
        progress.round += 1
        if progress.round > config.max_rounds:
            raise LimitExceeded(
                f"server '{config.name}' asked for input in more than {config.max_rounds} rounds; "
                f"raise max_rounds of the server if it needs them"
            )
        state = _state(config, result)
        requests = _requests(config, result)
        if not requests:
            await asyncio.sleep(progress.backoff)
            progress.backoff = min(progress.backoff * 2, _LAST_BACKOFF)
            result = await send({**params, **_retry(None, state)})
            continue
        progress.backoff = _FIRST_BACKOFF
        progress.questions += len(requests)
        answers = await _answer_all(config, requests, scope, progress)
        given = {key: answer for key, answer in answers.items() if not isinstance(answer, LaterAnswer)}
        if len(given) < len(answers):
            return _suspended(requests, answers, state, progress)
        result = await send({**params, **_retry(given, state)})
    return result


def _still_open(resume: Resume) -> dict[str, int]:
    """Return how often each key was put to the client that its retry did not answer."""
    return {key: count for key, count in resume.asked.items() if key not in resume.answers}


def _retry(answers: Mapping[str, Json] | None, state: str | None) -> Json:
    fields: Json = {}
    if answers is not None:
        fields["inputResponses"] = dict(answers)
    if state is not None:
        fields["requestState"] = state
    return fields


def _state(config: ServerConfig, result: Json) -> str | None:
    state: Any = result.get("requestState")
    if state is None and result.get("inputRequests") is None:
        raise _unusable(config, "neither inputRequests nor requestState")
    if state is not None and not isinstance(state, str):
        raise _unusable(config, "a requestState that is not a string")
    return state


def _requests(config: ServerConfig, result: Json) -> dict[str, Json]:
    requests: Any = result.get("inputRequests")
    if requests is None:
        return {}
    if not isinstance(requests, dict):
        raise _unusable(config, "inputRequests that are not an object")
    for key, entry in cast("Json", requests).items():
        fields = cast("Json", entry) if isinstance(entry, dict) else {}
        if not isinstance(fields.get("method"), str) or not isinstance(fields.get("params", {}), dict):
            raise _unusable(config, f"an input request '{key[:80]}' that is not a request")
    return cast("dict[str, Json]", requests)


def _unusable(config: ServerConfig, what: str) -> CallError:
    return CallError(f"server '{config.name}' asked for input with {what}; report this to its author")


async def _answer_all(
    config: ServerConfig, requests: Mapping[str, Json], scope: Scope | None, progress: _Progress
) -> dict[str, Json | LaterAnswer]:
    """Put every request to the scope at once; the first that fails ends the others."""
    if scope is None:
        raise CallError(f"server '{config.name}' asked for input on a request that no client made")
    if progress.questions > config.max_questions:
        raise LimitExceeded(
            f"server '{config.name}' asked more than {config.max_questions} questions in one call; "
            f"raise max_questions of the server if it needs them"
        )
    questions = {
        key: Asked(
            entry["method"],
            entry.get("params", {}),
            progress.asked.get(key, 0),
            progress.notes.get(key, {}),
        )
        for key, entry in requests.items()
    }
    if len(questions) == 1:  # which is nearly always so, and needs no task of its own
        return {key: await scope.question(asked, deferrable=True) for key, asked in questions.items()}
    tasks: dict[str, asyncio.Task[Json | LaterAnswer]] = {}
    try:
        async with asyncio.TaskGroup() as group:
            for key, asked in questions.items():
                tasks[key] = group.create_task(_question(scope, asked))
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return {key: task.result() for key, task in tasks.items()}


async def _question(scope: Scope, asked: Asked) -> Json | LaterAnswer:
    return await scope.question(asked, deferrable=True)


def _suspended(
    requests: Mapping[str, Json],
    answers: Mapping[str, Json | LaterAnswer],
    state: str | None,
    progress: _Progress,
) -> Suspended:
    put_off = {key: answer for key, answer in answers.items() if isinstance(answer, LaterAnswer)}
    given = {key: answer for key, answer in answers.items() if not isinstance(answer, LaterAnswer)}
    later = {key: requests[key] for key in put_off}
    notes = {key: answer.note for key, answer in put_off.items() if answer.note}
    asked = {key: progress.asked.get(key, 0) + 1 for key in later}
    return Suspended(later, Resume(state, given, progress.round, progress.questions, asked, notes))
