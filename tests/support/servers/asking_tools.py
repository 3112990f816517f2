"""The tools of the asking server. An asking tool's text is the JSON of exactly what it received."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from mcp import MCPError
from mcp.server.subscriptions import (
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ToolsListChanged,
)

from tests.support.servers.questions import Asker, Json, Question
from tests.support.servers.world import World

Tool = Callable[[World, Asker, Json], Awaitable[Json]]

FORM = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Name", "description": "A first name"},
        "colour": {"type": "string", "enum": ["red", "green", "blue"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["name"],
}


def text(value: Any) -> Json:
    """A tool result whose only content is `value`: as it is if it is a string, else as JSON."""
    shown = value if isinstance(value, str) else json.dumps(value)
    return {"resultType": "complete", "content": [{"type": "text", "text": shown}]}


def sampling(arguments: Json) -> Question:
    content: Any = {"type": "text", "text": arguments.get("text", "Say hello.")}
    if "image" in arguments:
        content = {"type": "image", "data": arguments["image"], "mimeType": "image/png"}
    messages = arguments.get("messages") or [{"role": "user", "content": content}]
    params = {
        "messages": messages,
        "maxTokens": arguments.get("maxTokens", 32),
        **arguments.get("params", {}),
    }
    if "stopSequences" in arguments:
        params["stopSequences"] = arguments["stopSequences"]
    return "sampling/createMessage", params


def form(arguments: Json) -> Question:
    params = {
        "message": arguments.get("message", "Who are you?"),
        "requestedSchema": arguments.get("schema", FORM),
    }
    return "elicitation/create", {"mode": "form", **params, **arguments.get("params", {})}


def url(world: World, asker: Asker, arguments: Json) -> Question:
    params = {
        "mode": "url",
        "message": arguments.get("message", "Sign in"),
        "url": arguments.get("url", "https://example.com/sign-in"),
    }
    if not asker.modern:
        params["elicitationId"] = arguments.get("id", "elicitation-1")
    return "elicitation/create", params


async def echo(world: World, asker: Asker, arguments: Json) -> Json:
    return text(arguments)


async def ask_sampling(world: World, asker: Asker, arguments: Json) -> Json:
    return text(await asker.ask(*sampling(arguments), arguments.get("timeout")))


async def ask_form(world: World, asker: Asker, arguments: Json) -> Json:
    return text(await asker.ask(*form(arguments), arguments.get("timeout")))


async def ask_url(world: World, asker: Asker, arguments: Json) -> Json:
    return text(await asker.ask(*url(world, asker, arguments)))


async def ask_roots(world: World, asker: Asker, arguments: Json) -> Json:
    return text(await asker.ask("roots/list", {}))


async def ask_both(world: World, asker: Asker, arguments: Json) -> Json:
    """Both questions at once: in one round, or side by side."""
    return text(await asker.ask_all({"sampling": sampling(arguments), "form": form(arguments)}))


async def ask_twice(world: World, asker: Asker, arguments: Json) -> Json:
    """A form, then a sampling request: two rounds."""
    first = await asker.ask(*form(arguments))
    return text([first, await asker.ask(*sampling(arguments))])


async def ask_many(world: World, asker: Asker, arguments: Json) -> Json:
    """`count` sampling requests one after the other."""
    return text([await asker.ask(*sampling(arguments)) for _ in range(arguments["count"])])


async def ask_later(world: World, asker: Asker, arguments: Json) -> Json:
    """Return at once; when the file `when` appears, ask outside any call and write the answer to `record`."""
    alone = Asker(asker.ctx, related=False)

    async def ask() -> None:
        while not Path(arguments["when"]).exists():
            await anyio.sleep(0.02)
        _append(arguments["record"], json.dumps(await alone.ask(*sampling(arguments))))

    world.tasks.start_soon(ask)
    return text("later")


async def url_required(world: World, asker: Asker, arguments: Json) -> Json:
    elicitation = {"mode": "url", "elicitationId": "e-1", "url": "https://example.com/", "message": "Sign in"}
    raise MCPError(-32042, "URL elicitation required", {"elicitations": [elicitation]})


async def progress(world: World, asker: Asker, arguments: Json) -> Json:
    count = arguments["count"]
    for number in range(1, count + 1):
        await asker.ctx.session.report_progress(number, count, f"step {number}")
    return text("done")


async def log(world: World, asker: Asker, arguments: Json) -> Json:
    related = asker.ctx.request_id if asker.related else None
    for level in arguments["levels"]:
        await asker.ctx.session.send_log_message(level, f"a {level} line", "asking", related)
    return text("logged")


async def slow(world: World, asker: Asker, arguments: Json) -> Json:
    """Work until cancelled. With `record`, "started" and "cancelled" are written there."""
    await anyio.sleep_forever()
    raise AssertionError("unreachable")


async def wait_for(world: World, asker: Asker, arguments: Json) -> Json:
    """Return once the file `path` exists."""
    while not Path(arguments["path"]).exists():
        await anyio.sleep(0.02)
    return text("came")


async def crash(world: World, asker: Asker, arguments: Json) -> Json:
    os._exit(arguments.get("status", 3))


async def whoami(world: World, asker: Asker, arguments: Json) -> Json:
    """Who serves, and what the client declared."""
    session = asker.ctx.session
    declared = session.client_capabilities
    client = session.client_params
    return text(
        {
            "pid": os.getpid(),
            "name": world.name,
            "protocolVersion": asker.ctx.protocol_version,
            "connections": len(world.connections),
            "clientInfo": None if client is None else client.client_info.name,
            "capabilities": None
            if declared is None
            else declared.model_dump(by_alias=True, exclude_none=True),
            "level": world.level,
        }
    )


async def big(world: World, asker: Asker, arguments: Json) -> Json:
    return text("x" * arguments["size"])


async def fail(world: World, asker: Asker, arguments: Json) -> Json:
    raise MCPError(arguments.get("code", -32050), arguments.get("message", "no"), arguments.get("data"))


async def raw(world: World, asker: Asker, arguments: Json) -> Json:
    """Return `result` as it is, unknown fields and all (the server skips the SDK's models for it)."""
    return arguments["result"]


async def touch(world: World, asker: Asker, arguments: Json) -> Json:
    """Tell everyone subscribed to `uri` that it changed."""
    await world.bus.publish(ResourceUpdated(arguments["uri"]))
    for session in world.subscribers(arguments["uri"]):
        await session.send_resource_updated(arguments["uri"])
    return text("touched")


async def grow(world: World, asker: Asker, arguments: Json) -> Json:
    """Add a tool, prompt or resource called `name`, and say that the list changed."""
    kind, name = arguments.get("kind", "tool"), arguments["name"]
    world.grown[kind].append(name)
    changed: Any = {"tool": ToolsListChanged, "prompt": PromptsListChanged, "resource": ResourcesListChanged}
    await world.bus.publish(changed[kind]())
    if not asker.modern:
        await getattr(asker.ctx.session, f"send_{kind}_list_changed")()
    return text("grown")


TOOLS: dict[str, Tool] = {
    tool.__name__: tool
    for tool in (
        echo,
        ask_sampling,
        ask_form,
        ask_url,
        ask_roots,
        ask_both,
        ask_twice,
        ask_many,
        ask_later,
        url_required,
        progress,
        log,
        slow,
        wait_for,
        crash,
        whoami,
        big,
        fail,
        raw,
        touch,
        grow,
    )
}


async def call(world: World, asker: Asker, name: str, arguments: Json) -> Json:
    """Run a tool; its life is written to the file `record`, if given, one word a line."""
    record = arguments.get("record")
    if record is None or name == "ask_later":
        return await TOOLS[name](world, asker, arguments)
    _append(record, "started")
    try:
        result = await TOOLS[name](world, asker, arguments)
    except anyio.get_cancelled_exc_class():
        _append(record, "cancelled")
        raise
    _append(record, "finished")
    return result


def _append(path: str, line: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{line}\n")
