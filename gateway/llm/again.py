"""Asking a service again, by the request its SDK has once made, with another body.

An SDK makes the same URL, headers and credentials for every request to one path, in several times the time
that sending it takes. So the first request is the SDK's, and those after it are a copy of it
(docs/decisions/0048).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from gateway.llm.transport import Sendable, Transport
from gateway.wire.jsonrpc import decode, encode

Json = dict[str, Any]

_OF_THE_BODY = frozenset({"content-length", "cookie"})


@dataclass(frozen=True, slots=True)
class Reply:
    """A response, read and unpacked; names of `headers` are to be looked up in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> object:
        """Return the body's JSON; raises ValueError if it is none."""
        return decode(self.content)


class Again:
    """One path of one service, to which JSON is sent by POST.

    A service that redirects is asked by the SDK each time. Cookies are not kept.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._known: Sendable | None = None

    async def post(self, body: Json, first: Callable[[], Awaitable[httpx2.Response]]) -> Reply:
        """Send `body` and return the response, an error status included; `first` has the SDK send it.

        Raises:
            httpx2.RequestError: as `Transport.send`.
            Exception: whatever `first` raises.
        """
        if self._known is not None:
            status, headers, content = await self._transport.send(self._known, encode(body))
            if not 300 <= status < 400:
                return Reply(status, headers, content)
            self._known = None
        response = await first()
        if not response.history:
            self._known = self._transport.sendable(response.request, _OF_THE_BODY)
        return Reply(response.status_code, response.headers, response.content)
