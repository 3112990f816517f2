"""What an asking server process knows: its connections, subscriptions and grown lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import anyio.abc
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus


@dataclass
class World:
    """`tasks` runs what outlives a call; it is set while the server serves."""

    name: str
    related: bool
    page: int
    bus: InMemorySubscriptionBus = field(default_factory=InMemorySubscriptionBus)
    connections: set[int] = field(default_factory=set[int])
    level: str | None = None
    grown: dict[str, list[str]] = field(
        default_factory=lambda: {"tool": [], "prompt": [], "resource": []},
    )
    _subscribed: dict[tuple[str, int], ServerSession] = field(default_factory=dict[Any, ServerSession])
    _tasks: anyio.abc.TaskGroup | None = None

    @property
    def tasks(self) -> anyio.abc.TaskGroup:
        assert self._tasks is not None, "the server does not serve"
        return self._tasks

    @tasks.setter
    def tasks(self, group: anyio.abc.TaskGroup) -> None:
        self._tasks = group

    def subscribe(self, uri: str, session: ServerSession) -> None:
        self._subscribed[uri, id(session.client_params)] = session

    def unsubscribe(self, uri: str, session: ServerSession) -> None:
        self._subscribed.pop((uri, id(session.client_params)), None)

    def subscribers(self, uri: str) -> list[ServerSession]:
        return [session for (subscribed, _), session in self._subscribed.items() if subscribed == uri]
