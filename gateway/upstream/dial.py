"""How each configured server is dialled: by its transport, and by the era it turns out to be of."""

from __future__ import annotations

import logging
from typing import Final

from gateway.calls.model import Profile
from gateway.config.resolved import ServerConfig
from gateway.errors import ConnectionLost, PeerError, ServerUnavailable
from gateway.upstream.connection import close, shake_hands
from gateway.upstream.conversation import CLOSED_BY_US, Conversation
from gateway.upstream.guardian import SHARED, Guardian
from gateway.upstream.http import Endpoint
from gateway.upstream.modern_connection import ModernConnection
from gateway.upstream.port import Connection, Dialer, Era, Hello, Listener
from gateway.upstream.probe import OTHER_ERA, bounded, discover, or_close
from gateway.upstream.sse import SseChannel
from gateway.upstream.stdio import StdioChannel
from gateway.upstream.streamable_http_handshake import HandshakeHttpChannel
from gateway.upstream.streamable_http_modern import ModernHttpChannel
from gateway.upstream.tool_headers import ToolHeaders
from gateway.wire import jsonrpc

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
PROBE_TIMEOUT: Final = 5.0
"""Seconds that an unknown server has to answer `server/discover` before it is taken for an old one."""


def dialer_for(
    server: ServerConfig,
    *,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    max_nesting: int = jsonrpc.MAX_NESTING,
    guardian: Guardian = SHARED,
    probe_timeout: float = PROBE_TIMEOUT,
) -> Dialer:
    """Return the dialer for a server's transport.

    `max_message_bytes` bounds one line, body or event, `max_nesting` the arrays and objects inside
    each other in it. `guardian` ends stdio servers should
    the gateway die. `probe_timeout` is in seconds.
    """
    if server.transport == "stdio":
        return StdioDialer(server, max_message_bytes, max_nesting, guardian, probe_timeout)
    endpoint = Endpoint(server, max_message_bytes, max_nesting)
    if server.transport == "sse":
        return SseDialer(endpoint)
    return HttpDialer(endpoint, probe_timeout)


class StdioDialer:
    """Starts one process a connection, and asks the first one which era it is of."""

    def __init__(
        self,
        config: ServerConfig,
        max_message_bytes: int,
        max_nesting: int,
        guardian: Guardian,
        probe_timeout: float,
    ) -> None:
        self._config = config
        self._max_message_bytes = max_message_bytes
        self._max_nesting = max_nesting
        self._guardian = guardian
        self._probe_timeout = probe_timeout
        self._era: Era | None = None

    def __repr__(self) -> str:
        return f"<StdioDialer {self._config.name}, {self._era or 'unknown'} era>"

    async def dial(self, profile: Profile, listener: Listener) -> Connection:
        """Start the server and connect; see `gateway.upstream.port.Dialer`."""
        return await bounded(self._config, self._dial(profile, listener))

    async def _dial(self, profile: Profile, listener: Listener) -> Connection:
        if "handshake" in (self._config.era, self._era):
            return await self._connect(profile, listener, probe=False)
        if self._config.era == "modern":
            return await self._connect(profile, listener, probe=True)
        try:
            return await self._connect(profile, listener, probe=True)
        except ConnectionLost as error:
            # Some servers exit at a first message that is not `initialize`.
            log.info("%s; once more, with initialize alone", error)
            return await self._connect(profile, listener, probe=False)

    async def _connect(self, profile: Profile, listener: Listener, *, probe: bool) -> Connection:
        channel = await StdioChannel.open(self._config, self._guardian, self._max_message_bytes)
        conversation = Conversation(self._config, listener, channel, self._max_nesting)
        channel.start(conversation)

        async def connect() -> Connection:
            hello = await discover(conversation, profile, self._probe_timeout) if probe else None
            if hello is None:
                _check_era(self._config)
                try:
                    return await shake_hands(conversation, channel, profile)
                except PeerError as error:
                    hello = await self._after_all_modern(conversation, profile, error)
            modern = ModernConnection(conversation, channel, hello, profile, listener)
            modern.listen_lists()
            return modern

        connection = await or_close(conversation, channel, connect())
        self._era = connection.hello.era
        return connection

    async def _after_all_modern(
        self, conversation: Conversation, profile: Profile, error: PeerError
    ) -> Hello:
        """A slow starter may have read the probe after its time, and be modern since then."""
        hello = None
        if error.code == jsonrpc.UNSUPPORTED_PROTOCOL_VERSION and self._config.era != "handshake":
            hello = await discover(conversation, profile, self._probe_timeout)
        if hello is None:
            raise error
        return hello


class HttpDialer:
    """Connects to a Streamable HTTP endpoint, which it first asks for its era.

    The verdict holds until a connection is lost for a reason of the server's.
    """

    def __init__(self, endpoint: Endpoint, probe_timeout: float) -> None:
        self._endpoint = endpoint
        self._probe_timeout = probe_timeout
        self._tools = ToolHeaders(endpoint.config.name)
        self._era: Era | None = None
        self._open: set[Conversation] = set()

    def __repr__(self) -> str:
        return f"<HttpDialer {self._endpoint!r}, {self._era or 'unknown'} era>"

    async def dial(self, profile: Profile, listener: Listener) -> Connection:
        """Connect; see `gateway.upstream.port.Dialer`."""
        self._endpoint.acquire()
        try:
            return await bounded(self._endpoint.config, self._dial(profile, listener))
        finally:
            self._endpoint.release()

    async def _dial(self, profile: Profile, listener: Listener) -> Connection:
        config = self._endpoint.config
        if "handshake" not in (config.era, self._era):
            if (modern := await self._dial_modern(profile, listener)) is not None:
                return modern
            _check_era(config)
        try:
            return await self._dial_handshake(profile, listener)
        except PeerError as error:
            # The probe came too early, or the server is not what it was when it was probed.
            modern = None
            if error.code == jsonrpc.UNSUPPORTED_PROTOCOL_VERSION and config.era != "handshake":
                modern = await self._dial_modern(profile, listener)
            if modern is None:
                raise
            return modern

    async def _dial_modern(self, profile: Profile, listener: Listener) -> Connection | None:
        channel = ModernHttpChannel(self._endpoint, self._tools)
        conversation = Conversation(self._endpoint.config, listener, channel, self._endpoint.max_nesting)
        channel.start(conversation)

        async def connect() -> Connection | None:
            hello = await discover(conversation, profile, self._probe_timeout)
            if hello is None:
                return None
            modern = ModernConnection(conversation, channel, hello, profile, listener, self._tools)
            modern.listen_lists()
            return modern

        modern = await or_close(conversation, channel, connect())
        if modern is None:
            await close(conversation, channel)
            return None
        self._remember("modern", conversation)
        return modern

    async def _dial_handshake(self, profile: Profile, listener: Listener) -> Connection:
        channel = HandshakeHttpChannel(self._endpoint)
        conversation = Conversation(self._endpoint.config, listener, channel, self._endpoint.max_nesting)
        channel.start(conversation)

        async def connect() -> Connection:
            connection = await shake_hands(conversation, channel, profile)
            await channel.listen(connection.hello.capabilities)
            return connection

        connection = await or_close(conversation, channel, connect())
        self._remember("handshake", conversation)
        return connection

    def _remember(self, era: Era, conversation: Conversation) -> None:
        self._era = era
        self._open.add(conversation)

        def forget() -> None:
            self._open.discard(conversation)
            if conversation.why_closed != CLOSED_BY_US:
                self._era = None
            if conversation.why_closed == OTHER_ERA:
                # What was agreed on with the server as it was holds on none of them.
                for other in list(self._open):
                    other.end(OTHER_ERA)

        conversation.on_end.append(forget)


def _check_era(config: ServerConfig) -> None:
    """Refuse to go on to the handshake with a server that is configured to be modern."""
    if config.era == "modern":
        raise ServerUnavailable(
            config.name,
            f"it does not speak 2026-07-28, as era: modern in {config.source} asks; use era: auto",
        )


class SseDialer:
    """Connects to an HTTP+SSE endpoint, which is always of the handshake era."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def __repr__(self) -> str:
        return f"<SseDialer {self._endpoint!r}>"

    async def dial(self, profile: Profile, listener: Listener) -> Connection:
        """Connect; see `gateway.upstream.port.Dialer`."""
        return await bounded(self._endpoint.config, self._dial(profile, listener))

    async def _dial(self, profile: Profile, listener: Listener) -> Connection:
        channel = SseChannel(self._endpoint)
        conversation = Conversation(self._endpoint.config, listener, channel, self._endpoint.max_nesting)

        async def connect() -> Connection:
            await channel.start(conversation)
            return await shake_hands(conversation, channel, profile)

        return await or_close(conversation, channel, connect())
