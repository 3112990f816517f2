"""Change notifications of a modern server: `subscriptions/listen` (2026-07-28, patterns/subscriptions)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from gateway.errors import BackchannelError, CallError, PeerError
from gateway.upstream.conversation import SUBSCRIPTION_ID, Conversation
from gateway.upstream.handshake import as_object
from gateway.upstream.port import Json
from gateway.wire import jsonrpc

log = logging.getLogger(__name__)

ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
_LISTS: Final = (
    ("tools", "toolsListChanged"),
    ("prompts", "promptsListChanged"),
    ("resources", "resourcesListChanged"),
)
_FIRST_BACKOFF = 1.0
_LAST_BACKOFF = 60.0


def list_filter(capabilities: Json) -> Json:
    """Return the filter for every list whose changes the server offers to announce; may be empty."""
    return {key: True for kind, key in _LISTS if as_object(capabilities.get(kind)).get("listChanged") is True}


def list_changes(capabilities: Json) -> Iterator[str]:
    """Yield the `list_changed` methods a server offers (both eras)."""
    for kind, _ in _LISTS:
        if as_object(capabilities.get(kind)).get("listChanged") is True:
            yield f"notifications/{kind}/list_changed"


class Subscription:
    """Keeps one listen stream open, and opens it again after it breaks, with a growing pause.

    What changed while it was not open is unknown, so each re-opening reports everything it
    listens to as changed. `receive` gets notifications without the subscription's stamp.
    """

    def __init__(
        self,
        conversation: Conversation,
        wanted: Json,
        seal: Callable[[Json], Json],
        receive: Callable[[str, Json], None],
    ) -> None:
        self.honored: Json = {}
        self._conversation = conversation
        self._wanted = wanted
        self._seal = seal
        self._receive = receive
        self._backoff = _FIRST_BACKOFF
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep_open())

    def __repr__(self) -> str:
        return f"<Subscription to {sorted(self._wanted)}, {'open' if self.honored else 'not open'}>"

    async def ready(self) -> None:
        """Wait for the first acknowledgement.

        Raises:
            PeerError: the server refused.
            ConnectionLost: the connection ended first.
        """
        await asyncio.shield(self._ready)

    async def aclose(self) -> None:
        """Close the stream; the server is told in its transport's form."""
        self._task.cancel()
        await asyncio.wait({self._task})
        self._settle(self._conversation.lost())

    async def _keep_open(self) -> None:
        while not self._conversation.closed.is_set():
            try:
                params = self._seal({"notifications": self._wanted})
                await self._conversation.request("subscriptions/listen", params, watch=self._take)
            except PeerError as error:
                if not self._ready.done() or error.code == jsonrpc.METHOD_NOT_FOUND:
                    log.info("server %s does not announce changes: %r", self._conversation.server, error)
                    self._settle(error)
                    return
            except CallError as error:
                log.debug("the listen stream of server %s broke: %s", self._conversation.server, error)
            if self._conversation.closed.is_set():
                break
            await asyncio.sleep(self._backoff)
            self._backoff = min(self._backoff * 2, _LAST_BACKOFF)
        self._settle(self._conversation.lost())

    def _take(self, method: str, params: Json) -> None:
        if method != ACKNOWLEDGED:
            self._receive(method, _without_stamp(params))
            return
        self._backoff = _FIRST_BACKOFF
        self.honored = as_object(params.get("notifications"))
        if self._ready.done():
            for changed, uri in self._everything():
                self._receive(changed, uri)
        self._settle(None)

    def _everything(self) -> Iterator[tuple[str, Json]]:
        for kind, key in _LISTS:
            if self.honored.get(key) is True:
                yield f"notifications/{kind}/list_changed", {}
        uris: Any = self.honored.get("resourceSubscriptions")
        for uri in cast("list[Any]", uris) if isinstance(uris, list) else []:
            yield "notifications/resources/updated", {"uri": uri}

    def _settle(self, error: BackchannelError | None) -> None:
        if self._ready.done():
            return
        if error is None:
            self._ready.set_result(None)
        else:
            self._ready.set_exception(error)
            self._ready.exception()  # seen: nobody need wait


def _without_stamp(params: Json) -> Json:
    meta = as_object(params.get("_meta"))
    if SUBSCRIPTION_ID not in meta:
        return params
    kept = {key: value for key, value in meta.items() if key != SUBSCRIPTION_ID}
    rest = {key: value for key, value in params.items() if key != "_meta"}
    return {**rest, "_meta": kept} if kept else rest
