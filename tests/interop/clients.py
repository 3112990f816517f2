"""The clients of these tests: the Python SDK's in both eras, and the TypeScript SDK's.

Each does the same `Step`s against a URL or a command, so that what they receive can be compared.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mcp import MCPError, StdioServerParameters
from mcp.client import Client
from mcp.types import PromptReference, ResourceTemplateReference

from tests.support.clients import Mode, Person, connect

Json = dict[str, Any]
Kind = Literal["python-handshake", "python-modern", "typescript"]
KINDS: tuple[Kind, ...] = ("python-handshake", "python-modern", "typescript")
ERA: Mapping[Kind, Mode] = {
    "python-handshake": "handshake",
    "python-modern": "modern",
    "typescript": "handshake",
}
INSTALLED = Path(__file__).resolve().parents[2] / ".cache" / "interop"
NODE = str(INSTALLED / "bin" / "node")
SCRIPT = Path(__file__).parent / "client.mjs"
LIMIT = 60.0
"""Seconds that one client may take for all its steps."""


@dataclass(frozen=True)
class Step:
    """One request of a client, or waiting until it has got a notification of the method `until`.

    With `pages` a listing is read to its last page.
    """

    method: str = ""
    params: Json = field(default_factory=dict[str, Any])
    progress: bool = False
    pages: bool = False
    until: str | None = None


@dataclass
class Seen:
    """What a client saw. `results` holds `{"result": …}` or `{"error": …}` for each request."""

    results: list[Json] = field(default_factory=list[Json])
    asked: list[tuple[str, Json]] = field(default_factory=list[tuple[str, Json]])
    notified: list[Json] = field(default_factory=list[Json])
    progress: list[Json] = field(default_factory=list[Json])
    instructions: str | None = None
    capabilities: Json = field(default_factory=dict[str, Any])


async def converse(
    kind: Kind,
    target: str | Sequence[str],
    steps: Sequence[Step],
    folder: Path,
    answers: Mapping[str, Json] | None = None,
) -> Seen:
    """Have a client of one kind take the steps against a URL or a command, and return what it saw.

    `answers` has what it answers to `sampling`, `elicitation` and `roots`; what is left out it does
    not declare. `folder` is for its scratch files.
    """
    async with asyncio.timeout(LIMIT):
        if kind == "typescript":
            return await _typescript(target, steps, folder, answers or {})
        return await _python(ERA[kind], target, steps, answers or {})


async def _typescript(
    target: str | Sequence[str], steps: Sequence[Step], folder: Path, answers: Mapping[str, Json]
) -> Seen:
    where: Any = target if isinstance(target, str) else {"command": target[0], "args": list(target[1:])}
    script = folder / "script.json"
    script.write_text(
        json.dumps({"target": where, "answers": answers, "steps": [asdict(step) for step in steps]})
    )
    return Seen(**await node(SCRIPT, INSTALLED, script))


async def node(*arguments: str | Path) -> Json:
    """Run a script under Node and return the JSON that it prints."""
    process = await asyncio.create_subprocess_exec(
        NODE, *map(str, arguments), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, "the client failed; its error is above"
    return json.loads(said)


async def _python(
    mode: Mode, target: str | Sequence[str], steps: Sequence[Step], answers: Mapping[str, Json]
) -> Seen:
    where: Any = (
        target if isinstance(target, str) else StdioServerParameters(command=target[0], args=list(target[1:]))
    )
    person = Person(**answers)
    seen = Seen(asked=person.asked)
    async with connect(where, person, mode) as client:
        seen.instructions = client.instructions
        seen.capabilities = client.server_capabilities.model_dump(by_alias=True, exclude_none=True)
        for step in steps:
            if step.until is not None:
                await person.until_notified(step.until)
                continue
            await _take(client, step, seen)
    seen.notified = [
        note.model_dump(by_alias=True, mode="json", exclude_none=True) for note in person.notified
    ]
    return seen


async def _take(client: Client, step: Step, seen: Seen) -> None:
    try:
        result = await _request(client, step, seen)
    except MCPError as error:
        seen.results.append({"error": error.error.model_dump(exclude_none=True)})
        return
    seen.results.append({"result": result.model_dump(by_alias=True, mode="json")})
    if step.pages and result.next_cursor is not None:
        await _take(client, replace(step, params={"cursor": result.next_cursor}), seen)


async def _request(client: Client, step: Step, seen: Seen) -> Any:
    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.progress.append({"progress": progress, "total": total})

    params = step.params
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "tools/list": lambda: client.list_tools(**params),
        "tools/call": lambda: client.call_tool(
            **params, progress_callback=on_progress if step.progress else None
        ),
        "prompts/list": lambda: client.list_prompts(**params),
        "prompts/get": lambda: client.get_prompt(**params),
        "resources/list": lambda: client.list_resources(**params),
        "resources/templates/list": lambda: client.list_resource_templates(**params),
        "resources/read": lambda: client.read_resource(**params),
        "resources/subscribe": lambda: client.subscribe_resource(**params),
        "resources/unsubscribe": lambda: client.unsubscribe_resource(**params),
        "completion/complete": lambda: _complete(client, params),
        "logging/setLevel": lambda: client.set_logging_level(**params),
        "ping": client.send_ping,
    }
    return await calls[step.method]()


async def _complete(client: Client, params: Json) -> Any:
    ref = params["ref"]
    model = PromptReference if ref["type"] == "ref/prompt" else ResourceTemplateReference
    context = (params.get("context") or {}).get("arguments")
    return await client.complete(model(**ref), params["argument"], context)
