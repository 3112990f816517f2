"""`subscriptions/listen`: a modern client's stream of changes (2026-07-28, basic/patterns/subscriptions)."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from gateway.calls.model import Caller, Json
from gateway.downstream.outbox import Outbox
from gateway.downstream.subscriptions import LIST_CHANGED, Subscriptions
from gateway.errors import BackchannelError, InvalidCall
from gateway.wire import jsonrpc
from gateway.wire.jsonrpc import RequestId

SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"
_WANTED: Final = {
    "toolsListChanged": LIST_CHANGED["tools"],
    "promptsListChanged": LIST_CHANGED["prompts"],
    "resourcesListChanged": LIST_CHANGED["resources"],
}
_UPDATED: Final = "notifications/resources/updated"


class Listener:
    """One open listen stream: passes on what its client asked for, stamped with the subscription's id."""

    def __init__(self, request_id: RequestId, outbox: Outbox) -> None:
        self.request_id = request_id
        self._outbox = outbox
        self._methods = {_UPDATED}

    def want(self, method: str) -> None:
        """Pass on notifications of this method too."""
        self._methods.add(method)

    def tell(self, method: str, params: Json | None = None) -> None:
        """Queue a notification if the client asked for its kind; the latest about a thing is enough."""
        if method not in self._methods:
            return
        body = dict(params or {})
        meta: Any = body.get("_meta")
        body["_meta"] = {**(cast("Json", meta) if isinstance(meta, dict) else {}), **self.stamp()}
        self._outbox.put(jsonrpc.notification(method, body), (method, body.get("uri"), self.request_id))

    def stamp(self) -> Json:
        """Return the `_meta` entry that names the subscription."""
        return {SUBSCRIPTION_ID: self.request_id}


class Listeners:
    """All open listen streams."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End every stream gracefully: each gets its closing result."""
        self._stopped.set()

    async def listen(self, listener: Listener, caller: Caller, params: Json) -> Json:
        """Acknowledge, then pass changes on until the client leaves or the gateway stops.

        Resources that cannot be subscribed to are left out of the acknowledgment.

        Raises:
            InvalidCall: the filter is malformed.
        """
        wanted = params.get("notifications")
        if not isinstance(wanted, dict):
            raise InvalidCall("subscriptions/listen needs the parameter 'notifications'")
        honoured: Json = {}
        for name, method in _WANTED.items():
            if cast("Json", wanted).get(name) is True:
                listener.want(method)
                honoured[name] = True
        try:
            uris = await self._subscribe(listener, caller, cast("Json", wanted).get("resourceSubscriptions"))
            if uris:
                honoured["resourceSubscriptions"] = uris
            listener.want("notifications/subscriptions/acknowledged")
            listener.tell("notifications/subscriptions/acknowledged", {"notifications": honoured})
            self._subscriptions.join(listener)
            await self._stopped.wait()
        finally:
            await asyncio.shield(self._subscriptions.drop(listener))
        return {"resultType": "complete", "_meta": listener.stamp()}

    async def _subscribe(self, listener: Listener, caller: Caller, uris: object) -> list[str]:
        if uris is None:
            return []
        if not isinstance(uris, list):
            raise InvalidCall("resourceSubscriptions must be a list of URIs")
        wanted = cast("list[Any]", uris)
        if len(wanted) > self._subscriptions.limit:
            raise InvalidCall(
                f"resourceSubscriptions has {len(wanted)} entries, and one client may have "
                f"{self._subscriptions.limit} (limits.max_subscriptions)"
            )
        honoured: list[str] = []
        for uri in wanted:
            if not isinstance(uri, str):
                raise InvalidCall("resourceSubscriptions must be a list of URIs")
            try:
                await self._subscriptions.add(listener, caller, uri)
            except BackchannelError:
                continue  # told by its absence from the acknowledgment, as the specification has it
            honoured.append(uri)
        return honoured
