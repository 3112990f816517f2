"""Who hears of changes: lists that changed, resources that were updated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from gateway.calls.model import Caller, Identity, Json
from gateway.calls.relay import Locator
from gateway.errors import LimitExceeded

LIST_CHANGED: Final = {
    "tools": "notifications/tools/list_changed",
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
}


class Subscriber(Protocol):
    """A client that can be told something outside its calls."""

    def tell(self, method: str, params: Json | None = None) -> None:
        """Queue a notification; must not block."""
        ...


class Servers(Protocol):
    """What subscriptions need of the fleet of servers."""

    async def subscribe_resource(self, server: str, uri: str, caller: Caller) -> None:
        """Ask a server for updates of a resource on this caller's behalf."""
        ...

    async def unsubscribe_resource(self, server: str, uri: str, caller: Caller) -> None:
        """End what `subscribe_resource` began."""
        ...

    async def set_level(self, caller: Caller, level: str) -> None:
        """Tell the servers which log messages this caller wants."""
        ...

    def expect_news(self) -> None:
        """Tell of the next change of every list: somebody new listens."""
        ...

    def roots_changed(self, identity: Identity, params: Json) -> None:
        """Tell the servers that a client's roots changed."""
        ...


class _Entry:
    __slots__ = ("caller", "server")

    def __init__(self, server: str, caller: Caller) -> None:
        self.server = server
        self.caller = caller


class Subscriptions:
    """Everybody connected, and the resources each has subscribed to: at most `limit` of one client."""

    def __init__(self, locator: Locator, servers: Servers, limit: int) -> None:
        self._locator = locator
        self._servers = servers
        self.limit = limit
        self._of_client = Counter[str]()
        self._everybody: set[Subscriber] = set()
        self._by_uri: dict[str, dict[Subscriber, _Entry]] = {}

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._by_uri.values())

    def join(self, subscriber: Subscriber) -> None:
        """Let a client hear of lists that change."""
        self._everybody.add(subscriber)
        self._servers.expect_news()

    async def drop(self, subscriber: Subscriber) -> None:
        """Forget a client that is gone, and its resource subscriptions at the servers."""
        self._everybody.discard(subscriber)
        for uri in [uri for uri, entries in self._by_uri.items() if subscriber in entries]:
            await self.remove(subscriber, self._by_uri[uri][subscriber].caller, uri)

    async def add(self, subscriber: Subscriber, caller: Caller, uri: str) -> None:
        """Subscribe to one resource at its owner.

        Raises:
            UnknownTarget, ServerUnavailable, PeerError: as for a call; LimitExceeded.
        """
        if subscriber in self._by_uri.get(uri, {}):
            return
        target = await self._locator.locate("resources/subscribe", {"uri": uri}, caller)
        if self._of_client[_client(caller)] >= self.limit:
            raise LimitExceeded(
                f"this client has {self.limit} subscriptions already (limits.max_subscriptions)"
            )
        self._of_client[_client(caller)] += 1
        self._by_uri.setdefault(uri, {})[subscriber] = _Entry(target.server, caller)
        try:
            await self._servers.subscribe_resource(target.server, uri, caller)
        except BaseException:
            self._forget(subscriber, uri)
            raise

    async def remove(self, subscriber: Subscriber, caller: Caller, uri: str) -> None:
        """End a subscription; one that does not exist is no error."""
        entry = self._forget(subscriber, uri)
        if entry is not None:
            await self._servers.unsubscribe_resource(entry.server, uri, caller)

    async def set_level(self, caller: Caller, level: str) -> None:
        """Pass a client's log level on to the servers."""
        await self._servers.set_level(caller, level)

    def roots_changed(self, identity: Identity, params: Json) -> None:
        """Pass on to the servers that a client's roots changed."""
        self._servers.roots_changed(identity, params)

    def list_changed(self, what: str) -> None:
        """Tell everybody that a merged list has changed (`tools`, `prompts` or `resources`)."""
        self._each(lambda subscriber: subscriber.tell(LIST_CHANGED[what]), self._everybody)

    def resource_updated(self, server: str, params: Json, identity_key: str | None) -> None:
        """Tell a resource's subscribers, if `server` is its owner.

        `identity_key` restricts it to the client for whose connection the server said so.
        """
        entries = self._by_uri.get(str(params.get("uri")), {})
        concerned = {
            subscriber
            for subscriber, entry in entries.items()
            if entry.server == server and identity_key in (None, entry.caller.identity.key)
        }
        self._each(lambda subscriber: subscriber.tell("notifications/resources/updated", params), concerned)

    def _each(self, tell: Callable[[Subscriber], None], whom: set[Subscriber]) -> None:
        for subscriber in list(whom):
            tell(subscriber)

    def _forget(self, subscriber: Subscriber, uri: str) -> _Entry | None:
        entries = self._by_uri.get(uri, {})
        entry = entries.pop(subscriber, None)
        if entry is not None:
            self._of_client -= Counter((_client(entry.caller),))
        if not entries:
            self._by_uri.pop(uri, None)
        return entry


def _client(caller: Caller) -> str:
    """Return whose subscriptions are counted together: anonymous requests cannot be told apart."""
    return caller.identity.session or caller.identity.principal or "anonymous"
