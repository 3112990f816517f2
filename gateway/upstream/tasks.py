"""Task augmentation (2025-11-25, basic/utilities/tasks), which the gateway offers to neither side."""

from __future__ import annotations

from gateway.upstream.port import Json

_AUGMENTED = frozenset({"tools/call", "sampling/createMessage", "elicitation/create"})


def without_task(method: str, params: Json) -> Json:
    """Leave out a request's `task`.

    A receiver that declares no tasks must process the request normally and ignore the field;
    passed on, it would have the far side answer with a task that nobody can fetch.
    """
    if method not in _AUGMENTED or "task" not in params:
        return params
    return {key: value for key, value in params.items() if key != "task"}
