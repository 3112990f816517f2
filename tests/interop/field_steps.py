"""What the clients do with each tool of the third-party servers, and how the results are compared.

A result through the gateway is JSON-equal to the direct one. For tools whose text has something in
it that no two calls share, `MASKS` names what is left out of the comparison, and nothing else is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.interop.clients import Step
from tests.support.clients import Mode, sampled

Json = dict[str, Any]

ANSWERS: Mapping[str, Json] = {
    "sampling": sampled("Hello, Ada."),
    "elicitation": {"action": "accept", "content": {"name": "Ada", "check": True, "integer": 7}},
    "roots": {"roots": [{"uri": "file:///srv/poems", "name": "poems"}]},
}
"""What the clients answer when they are asked."""

HIDDEN = {"simulate-research-query"}
"""Tools that work as tasks only (`execution.taskSupport: "required"`), which the gateway does not show."""

EVERYTHING: Mapping[str, list[Json]] = {
    "echo": [{"message": 'ünïcödé 🦆 \u0000 \\ "'}],
    "get-annotated-message": [{"messageType": kind, "includeImage": True} for kind in ("error", "debug")],
    "get-env": [{}],
    "get-resource-links": [{"count": 4}],
    "get-resource-reference": [{"resourceType": "Text", "resourceId": 7}, {"resourceId": -1}],
    "get-structured-content": [{"location": "Chicago"}, {"location": "Atlantis"}],
    "get-sum": [{"a": 2, "b": 3.5}, {"a": "two"}],
    "get-tiny-image": [{}],
    "gzip-file-as-resource": [
        {"name": "hi.gz", "data": "data:text/plain,hello", "outputType": kind}
        for kind in ("resource", "resourceLink")
    ],
    "toggle-simulated-logging": [{}, {}],
    "toggle-subscriber-updates": [{}, {}],
    "trigger-long-running-operation": [{"duration": 0.02, "steps": 2}],
}
"""The tools that server-everything shows to every client, with the arguments of each call."""

ASKING: Mapping[str, list[Json]] = {
    "get-roots-list": [{}],
    "trigger-elicitation-request": [{}],
    "trigger-sampling-request": [{"prompt": "Say hello.", "maxTokens": 12}],
    "trigger-url-elicitation": [
        {"url": "https://example.com/a", "message": "Go", "elicitationId": "e-1"},
        {"url": "https://example.com/b", "elicitationId": "e-2", "errorPath": True},
    ],
}
"""The tools that it shows only to a client that can be asked."""

ASKING_MODERN: Mapping[str, list[Json]] = {
    **{name: ASKING[name] for name in ("trigger-elicitation-request", "trigger-sampling-request")},
    "trigger-url-elicitation": ASKING["trigger-url-elicitation"][:1],
}
"""Those of them that a client of 2026-07-28 sees, which has no session for a server to keep its roots in.

The error -32042 is a question to this client, so that the call that ends in it has no direct counterpart.
"""

TIME: Mapping[str, list[Json]] = {
    "get_current_time": [{"timezone": "Europe/Paris"}, {"timezone": "Mars/Olympus"}],
    "convert_time": [
        {"source_timezone": "Asia/Tokyo", "time": "16:30", "target_timezone": "Asia/Kolkata"},
        {"source_timezone": "UTC", "time": "25:00", "target_timezone": "UTC"},
    ],
}

GIT: Mapping[str, list[Json]] = {
    "git_status": [{}],
    "git_diff_unstaged": [{}],
    "git_add": [{"files": ["poem.txt"]}, {"files": []}],
    "git_diff_staged": [{"context_lines": 1}],
    "git_commit": [{"message": "Write 3"}],
    "git_log": [{"max_count": 2}],
    "git_show": [{"revision": "HEAD"}, {"revision": "no-such"}],
    "git_diff": [{"target": "HEAD~1"}],
    "git_create_branch": [{"branch_name": "side"}],
    "git_checkout": [{"branch_name": "side"}],
    "git_branch": [{"branch_type": "local"}],
    "git_reset": [{}],
}


def tools_of(server: str, client: Mode) -> Mapping[str, list[Json]]:
    """Return a server's tools in the order they are called, each with the arguments of its calls."""
    if server in ("everything", "web"):
        return {**EVERYTHING, **(ASKING if client == "handshake" else ASKING_MODERN)}
    return TIME if server == "time" else GIT


def steps_of(server: str, prefix: str, repository: str, client: Mode) -> list[Step]:
    """Return the calls of every tool of a server, whose names have the prefix."""
    more = {"repo_path": repository} if server == "git" else {}
    return [
        Step(
            "tools/call",
            {"name": prefix + name, "arguments": {**more, **arguments}},
            progress=name == "trigger-long-running-operation",
        )
        for name, calls in tools_of(server, client).items()
        for arguments in calls
    ]


def _without(pattern: str) -> Callable[[str], str]:
    return lambda text: re.sub(pattern, "…", text)


def _answer_without_stamp(text: str) -> str:
    """Return a text that ends in an answer as JSON, without that answer's `_meta`."""
    head, brace, tail = text.partition("{")
    if not brace:
        return text
    answer = json.loads(brace + tail)
    answer.pop("_meta", None)
    return head + json.dumps(answer)


_DATE = r"\d{4}-\d\d-\d\d|[A-Z][a-z]+day"
MASKS: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "get-resource-reference": ("the time of day in the resource's text", _without(r"created at \S+ [AP]M")),
    "toggle-simulated-logging": ("the session's id", _without(r"session (undefined|[0-9a-f-]{36})")),
    "toggle-subscriber-updates": ("the session's id", _without(r"session (undefined|[0-9a-f-]{36})")),
    "get_current_time": ("the date and the time", _without(_DATE + r"|\d\d:\d\d:\d\d")),
    "convert_time": ("today's date", _without(_DATE)),
    "trigger-elicitation-request": ("the answer's `_meta` in the text", _answer_without_stamp),
    "trigger-url-elicitation": (
        "the answer's `_meta` in the text, the id that the server makes up",
        lambda text: _answer_without_stamp(_without(r"^[0-9a-f]{8}-[0-9a-f-]{27}$")(text)),
    ),
    "trigger-sampling-request": ("the answer's `_meta` in the text", _answer_without_stamp),
}
"""By tool: what is not compared, and how it is taken out of every text of a result."""


def masked(tool: str, value: Any) -> Any:
    """Return a result as it is compared."""
    if tool not in MASKS:
        return value
    return _in_texts(value, MASKS[tool][1])


def _in_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _in_texts(each, change) for key, each in value.items()}
    if isinstance(value, list):
        return [_in_texts(each, change) for each in value]
    return change(value) if isinstance(value, str) else value
