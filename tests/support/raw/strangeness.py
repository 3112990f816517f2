"""What `strange.py` says: things that no specification names, at every level. Made by the server's kind."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

X: Json = {
    "text": 'ünïcödé 🦆 \u2028 "',
    "numbers": [0, -1, 1.0, 1.5e-7, 2**53 + 1, 2**63, 10**30],
    "nothing": None,
    "deep": [[{"deeper": [True, {}, []]}]],
}
"""A value of every JSON type."""
META: Json = {"com.example/mark": X, "x-bare": 1}
ICONS = [{"src": "data:image/png;base64,AA==", "mimeType": "image/png", "sizes": ["48x48"], "x-icon": X}]
HINTS: Json = {"audience": ["user"], "priority": 0.5, "lastModified": "2026-01-02T03:04:05Z", "x-hint": X}
DRESS: Json = {"title": "Thé title", "icons": ICONS, "_meta": META, "x-entry": X}
EXTENSION = "com.example/strange"
CAPABILITIES: Json = {
    "prompts": {"listChanged": True, "x-prompts": 1},
    "completions": {},
    "extensions": {EXTENSION: {"x-setting": X}},
}


def uri_of(kind: str) -> str:
    """Return the URI of the one resource of a server of this kind."""
    return f"strange-{kind}:///thing"


def tools() -> list[Json]:
    """Return the tools that are listed."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "x-property": X}}, "x-schema": X}
    strange = {
        "name": "strange",
        "description": "Says strange things.",
        "inputSchema": schema,
        "outputSchema": {"type": "object", "x-schema": X},
        "annotations": {"readOnlyHint": True, "x-hint": X},
        "execution": {"x-execution": X},
        **DRESS,
    }
    return [
        strange,
        *({"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "fail", "seen")),
    ]


ARRAY: Json = {
    "name": "numbers",
    "inputSchema": {"type": "object"},
    "outputSchema": {"type": "array", "items": {"type": "number"}},
}
"""A tool as only 2026-07-28 allows it, and what it returns."""
NUMBERS: Json = {"content": [{"type": "text", "text": "two"}], "structuredContent": [1, 2.5]}


def prompts() -> list[Json]:
    """Return the prompts that are listed."""
    arguments = [{"name": "topic", "title": "Töpic", "required": False, "x-argument": X}]
    return [{"name": "strange", "description": "A prompt", "arguments": arguments, **DRESS}]


def resources(kind: str) -> list[Json]:
    """Return the resources that are listed."""
    return [{"uri": uri_of(kind), "name": "thing", "size": 3, "annotations": HINTS, **DRESS}]


def templates(kind: str) -> list[Json]:
    """Return the resource templates that are listed."""
    return [{"uriTemplate": f"{uri_of(kind)}/{{a}}", "name": "things", "annotations": HINTS, **DRESS}]


def blocks(kind: str) -> list[Json]:
    """Return one content block of every type, and of one that nobody knows."""
    own = {"annotations": HINTS, "_meta": META, "x-block": X}
    contents = {"uri": uri_of(kind), "text": "t", "_meta": META, "x-contents": X}
    return [
        {"type": "text", "text": "ünï", **own},
        {"type": "image", "data": "AA==", "mimeType": "image/png", **own},
        {"type": "audio", "data": "AA==", "mimeType": "audio/wav", **own},
        {"type": "resource", "resource": contents, **own},
        {"type": "resource_link", "uri": uri_of(kind), "name": "thing", "size": 3, **DRESS, **own},
        {"type": "x-block", "x-only": X, **own},
    ]


def answers(kind: str) -> dict[str, Json]:
    """Return the results, by method, as a server of this kind sends them."""
    transport, era = kind.split("-")
    modern = era == "modern"
    rest: Json = {"_meta": META, "x-result": X, **({"resultType": "complete"} if modern else {})}
    hints: Json = {"ttlMs": 5000, "cacheScope": "private"} if modern else {}
    listing = {**rest, **hints}
    messages = [{"role": "user", "content": block, "x-message": X} for block in blocks(kind)]
    content = {
        "uri": uri_of(kind),
        "mimeType": "text/plain",
        "text": transport,
        "_meta": META,
        "x-contents": X,
    }
    return {
        "tools/list": {"tools": tools(), **listing},
        "prompts/list": {"prompts": prompts(), **listing},
        "resources/list": {"resources": resources(kind), **listing},
        "resources/templates/list": {"resourceTemplates": templates(kind), **listing},
        "tools/call": {
            "content": blocks(kind),
            "structuredContent": {"x-structured": X},
            "isError": False,
            **rest,
        },
        "prompts/get": {"description": "d", "messages": messages, **rest},
        "resources/read": {"contents": [content], **listing},
        "completion/complete": {"completion": {"values": ["a"], "total": 1, "x-completion": X}, **rest},
    }


NOTIFICATIONS: dict[str, Json] = {
    "notifications/progress": {
        "progress": 0.5,
        "total": 1.0,
        "message": "hälf",
        "x-progress": X,
        "_meta": META,
    },
    "notifications/message": {"level": "info", "logger": "l", "data": X, "x-log": X, "_meta": META},
    "notifications/x-unknown": {"x-only": X, "_meta": META},
}
"""What the tool `strange` sends before its result; the progress gets the caller's token."""
