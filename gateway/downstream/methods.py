"""What a client can ask the gateway, whatever its era and transport."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from gateway.calls.model import Caller, CallOutcome, Json, Resume
from gateway.calls.relay import Relay
from gateway.errors import InvalidCall, PeerError
from gateway.wire import jsonrpc

Part = Literal["tools", "prompts", "resources", "templates"]

LISTS: Final[Mapping[str, str]] = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
_PARTS: Final[Mapping[str, Part]] = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "templates",
}
RELAYED: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "completion/complete": "ref",
}
"""Methods carried to one server, with the parameter that says which."""


_OFFSET_DIGITS: Final = 12


class Greeting(Protocol):
    """What the gateway says of all servers together when a client connects."""

    @property
    def capabilities(self) -> Json:
        """Merged server capabilities."""
        ...

    @property
    def instructions(self) -> str | None:
        """Every server's instructions under its name."""
        ...

    @property
    def complete(self) -> bool:
        """Whether no server is missing from it."""
        ...


class View(Protocol):
    """What one caller sees of all servers together: see `gateway.upstream.catalog.View`."""

    @property
    def tools(self) -> Sequence[Json]:
        """Tools under their exposed names."""
        ...

    @property
    def prompts(self) -> Sequence[Json]:
        """Prompts under their exposed names."""
        ...

    @property
    def resources(self) -> Sequence[Json]:
        """Resources, each of its one owner."""
        ...

    @property
    def templates(self) -> Sequence[Json]:
        """Resource templates, each of its one owner."""
        ...


class Views(Protocol):
    """Where views come from."""

    async def greeting(self) -> Greeting:
        """Return merged capabilities and instructions, without listing anything."""
        ...

    async def view(self, caller: Caller) -> View:
        """Return the merged listing for a caller."""
        ...

    def caching(self, part: Part, caller: Caller) -> Json:
        """Return `ttlMs` and `cacheScope` of one merged list as `view` has it now."""
        ...

    async def tool(self, name: str, caller: Caller) -> Json | None:
        """Return one tool by its exposed name, asking no server but its own."""
        ...

    def known_tool(self, name: str, caller: Caller) -> Json | None:
        """Return one tool by its exposed name, if it is listed already."""
        ...


class Methods:
    """Dispatches a request. Era adapters handle what only their era has, and come here for the rest."""

    def __init__(self, relay: Relay, views: Views, page_size: int) -> None:
        self._relay = relay
        self._views = views
        self._page_size = page_size

    def handle(
        self, method: str, params: Json, caller: Caller, resume: Resume | None = None
    ) -> Coroutine[Any, Any, CallOutcome]:
        """Answer one request of a client.

        Raises:
            PeerError: unknown method (-32601), or the server's own error.
            CallError, QuestionError: see `Relay.call`.
        """
        if method in RELAYED:
            _require(method, params)
            return self._relay.call(method, params, caller, resume)
        if method in LISTS:
            return self._list(method, params, caller)
        raise unknown_method(method)

    def may_park(self, method: str, params: Json, caller: Caller) -> bool:
        """Whether the server of a relayed request may have to be kept waiting for its client's answer."""
        return self._relay.may_park(method, params, caller)

    async def greeting(self) -> Greeting:
        """Return what a client is told when it connects."""
        return await self._views.greeting()

    def known_tool(self, name: str, caller: Caller) -> Json | None:
        """Return one tool by its exposed name, if it is listed already."""
        return self._views.known_tool(name, caller)

    async def tool(self, name: str, caller: Caller) -> Json | None:
        """Return one tool by its exposed name."""
        return await self._views.tool(name, caller)

    async def _list(self, method: str, params: Json, caller: Caller) -> Json:
        view = await self._views.view(caller)
        entries = _entries(view, method)
        hints = self._views.caching(_PARTS[method], caller)
        # All pages of a list are of one scope: a cursor of another one is not valid.
        scope = str(hints["cacheScope"])
        page, cursor = paginate(entries, params.get("cursor"), self._page_size, method, scope)
        answer: Json = {LISTS[method]: page, **hints}
        if cursor is not None:
            answer["nextCursor"] = cursor
        return answer


def unknown_method(method: str) -> PeerError:
    """Return the error for a method the gateway does not serve."""
    why = "; this gateway offers no tasks" if method.startswith("tasks/") else ""
    return PeerError(jsonrpc.METHOD_NOT_FOUND, f"method not found: {method}{why}")


def paginate(
    entries: Sequence[Json], cursor: Any, size: int, method: str, scope: str = ""
) -> tuple[list[Json], str | None]:
    """Return one page and the cursor of the next.

    A cursor names an offset in one listing; when the listing has changed meanwhile it is
    refused (-32602, server/utilities/pagination), since pages of two listings do not add up.
    """
    start = 0
    if cursor is None and len(entries) <= size:
        return list(entries), None
    mark = _mark(entries, scope)
    if cursor is not None:
        offset, _, of = cursor.partition(".") if isinstance(cursor, str) else ("", "", "")
        if not offset.isdecimal() or len(offset) > _OFFSET_DIGITS or of != mark:
            raise InvalidCall(
                f"the cursor of {method} is not valid, or the list has changed; list again without it"
            )
        start = int(offset)
    end = start + size
    return list(entries[start:end]), f"{end}.{mark}" if end < len(entries) else None


def _mark(entries: Sequence[Json], scope: str) -> str:
    names = "\n".join(
        [
            scope,
            *(str(entry.get("name") or entry.get("uri") or entry.get("uriTemplate")) for entry in entries),
        ]
    )
    return hashlib.sha256(names.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _entries(view: View, method: str) -> Sequence[Json]:
    pick: dict[Part, Callable[[], Sequence[Json]]] = {
        "tools": lambda: view.tools,
        "prompts": lambda: view.prompts,
        "resources": lambda: view.resources,
        "templates": lambda: view.templates,
    }
    return pick[_PARTS[method]]()


def _require(method: str, params: Json) -> None:
    name = RELAYED[method]
    value = params.get(name)
    if name == "ref" and isinstance(value, dict):
        return
    if not isinstance(value, str) or not value:
        raise InvalidCall(f"{method} needs the parameter '{name}'")
