"""Connections to servers of the modern era (2026-07-28), over whichever transport."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, cast

from gateway.calls.model import CallOutcome, Profile, Resume, Scope, Suspended
from gateway.errors import PeerError
from gateway.upstream.channel import Channel
from gateway.upstream.connection import close
from gateway.upstream.conversation import Conversation
from gateway.upstream.modern import Envelope
from gateway.upstream.port import Hello, Json, Listener
from gateway.upstream.rounds import drive
from gateway.upstream.subscriptions import Subscription, list_filter
from gateway.upstream.tool_headers import ToolHeaders
from gateway.wire import jsonrpc
from gateway.wire.eras import ModernResult

_MAX_PAGES = 100


class ModernConnection:
    """A connection without a handshake: every request says who asks and what it can answer.

    `tools` is given where requests are mirrored into headers (Streamable HTTP).
    """

    def __init__(
        self,
        conversation: Conversation,
        channel: Channel,
        hello: Hello,
        profile: Profile,
        listener: Listener,
        tools: ToolHeaders | None = None,
    ) -> None:
        self.server = conversation.server
        self.hello = hello
        self.closed: asyncio.Event = conversation.closed
        self._conversation = conversation
        self._channel = channel
        self._listener = listener
        self._tools = tools
        self._envelope = Envelope(hello.protocol_version, profile)
        self._uris: frozenset[str] = frozenset()
        self._uris_lock = asyncio.Lock()
        self._updates: Subscription | None = None
        self._lists: Subscription | None = None
        conversation.connection = self
        conversation.answers = False

    def __repr__(self) -> str:
        return f"<ModernConnection {self.hello.protocol_version} {self._conversation!r}>"

    @property
    def why_closed(self) -> str:
        """For people: why `closed` was set."""
        return self._conversation.why_closed

    async def call(
        self, method: str, params: Json, scope: Scope | None = None, resume: Resume | None = None
    ) -> CallOutcome:
        """Send a request, in as many rounds as it takes; see `gateway.upstream.port.Connection.call`.

        `resources/subscribe` and `resources/unsubscribe`, which this era has not, change what
        is listened to, so that callers need not know the era.
        """
        if method in ("resources/subscribe", "resources/unsubscribe"):
            uri = {str(params.get("uri", ""))}
            async with self._uris_lock:
                await self._listen(self._uris | uri if method == "resources/subscribe" else self._uris - uri)
            return {}

        async def send(fields: Json) -> Json:
            return await self._send(method, fields, scope)

        outcome = await drive(self._conversation.config, params, scope, resume, send)
        return outcome if isinstance(outcome, Suspended) else ModernResult(outcome)

    async def notify(self, method: str, params: Json | None = None) -> None:
        """Do nothing: this era has no client notification but a cancellation, which `call` sends."""

    async def listen_resources(self, uris: frozenset[str]) -> None:
        """Receive `notifications/resources/updated` for exactly these URIs from now on.

        Raises:
            PeerError: the server does not announce updates, or not of one that was added.
            ConnectionLost: the connection ended first.
        """
        async with self._uris_lock:
            await self._listen(uris)

    def listen_lists(self) -> None:
        """Listen to the list changes that the server offers; called once, after `server/discover`."""
        wanted = list_filter(self.hello.capabilities)
        if wanted and self._lists is None:
            self._lists = self._subscribe(wanted)

    def give_up(self, reason: str) -> None:
        """Take the connection for lost, for this reason."""
        self._conversation.end(reason)

    async def aclose(self) -> None:
        """End the connection and everything it started; idempotent, bounded in time."""
        await close(self._conversation, self._channel)
        for subscription in (self._lists, self._updates):
            if subscription is not None:
                await subscription.aclose()

    async def _send(self, method: str, params: Json, scope: Scope | None) -> Json:
        sealed = self._envelope.seal(params)
        try:
            result = await self._conversation.request(method, sealed, scope)
        except PeerError as error:
            if error.code != jsonrpc.HEADER_MISMATCH or method != "tools/call" or self._tools is None:
                raise
            # The tool's annotations may have changed, or were never seen on this connection.
            await self._list_tools_again()
            result = await self._conversation.request(method, sealed, scope)
        if method == "tools/list" and self._tools is not None:
            return self._tools.learn(result)
        return result

    async def _list_tools_again(self) -> None:
        cursor: Json = {}
        for _ in range(_MAX_PAGES):
            page = await self._send("tools/list", cursor, None)
            following = page.get("nextCursor")
            if not isinstance(following, str):
                return
            cursor = {"cursor": following}

    async def _listen(self, uris: frozenset[str]) -> None:
        async with AsyncExitStack() as undo:
            following = None
            if uris:
                following = self._subscribe({"resourceSubscriptions": sorted(uris)})
                undo.push_async_callback(following.aclose)
                await following.ready()
                self._check_honored(following, uris - self._uris)
            undo.pop_all()
        previous, self._updates, self._uris = self._updates, following, uris
        if previous is not None:
            await previous.aclose()

    def _subscribe(self, wanted: Json) -> Subscription:
        return Subscription(self._conversation, wanted, self._envelope.seal, self._heard)

    def _heard(self, method: str, params: Json) -> None:
        self._listener.notification(self, method, params)

    def _check_honored(self, subscription: Subscription, added: frozenset[str]) -> None:
        honored: Any = subscription.honored.get("resourceSubscriptions")
        missing = sorted(added.difference(cast("list[str]", honored) if isinstance(honored, list) else ()))
        if missing:
            raise PeerError(
                jsonrpc.METHOD_NOT_FOUND,
                f"server '{self.server}' does not announce updates of {missing[0]}",
            )
