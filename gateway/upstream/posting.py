"""A request's POST, answered by one JSON body: the common case, which takes no task of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gateway.errors import ConnectionLost
from gateway.upstream.addresses import Cookies
from gateway.upstream.channel import Pending
from gateway.upstream.conversation import Conversation
from gateway.upstream.fields import is_plain
from gateway.upstream.http import Endpoint
from gateway.upstream.port import Json
from gateway.upstream.response import Response, TooLarge

_SHORT: Final = 64 * 1024
"""Bytes of a redirect's body beyond which its connection is given up instead."""


class Post:
    """One request of a conversation, on a connection that is at hand.

    A response that is anything but one JSON body (an event stream, a refusal) goes to `go_on` as soon
    as its head is there; if it is a redirect, the message goes there instead, to be sent once more.
    """

    __slots__ = ("_conversation", "_cookies", "_endpoint", "_go_on", "_message", "_pending")

    def __init__(
        self,
        endpoint: Endpoint,
        conversation: Conversation,
        cookies: Cookies,
        pending: Pending,
        message: Json,
        go_on: Callable[[Json | Response, Pending], None],
    ) -> None:
        self._endpoint = endpoint
        self._conversation = conversation
        self._cookies = cookies
        self._pending = pending
        self._message = message
        self._go_on = go_on

    def begin(self, headers: Mapping[str, str]) -> bool:
        """Send the request; False if that takes a new connection, and nothing was sent."""
        response = self._endpoint.begin(headers, self._message, self._cookies, self._head)
        self._pending.exchange = response
        return response is not None

    def _head(self, response: Response) -> None:
        if response.error is not None:
            self._body(response.error)
            return
        self._endpoint.keep(response, self._cookies)
        if is_plain(response):
            response.collect(self._endpoint.max_message_bytes, self._body)
        elif 300 <= response.status < 400:
            # What it says is read first, so that its connection can carry what comes next.
            response.collect(_SHORT, self._redirected)
        else:
            self._go_on(response, self._pending)

    def _redirected(self, _: bytes | Exception) -> None:
        self._go_on(self._message, self._pending)

    def _body(self, outcome: bytes | Exception) -> None:
        if isinstance(outcome, TooLarge):
            limit = self._endpoint.max_message_bytes
            self._pending.fail(self._endpoint.too_large(f"a body of more than {limit} bytes"))
        elif isinstance(outcome, Exception):
            self._pending.fail(ConnectionLost(self._conversation.server, str(outcome)))
        else:
            self._conversation.take_body(outcome, self._pending)
