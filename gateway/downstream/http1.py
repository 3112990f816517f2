"""HTTP/1.1 on one connection of a client, by callbacks, for an ASGI application.

uvicorn listens, starts and stops, and is given this protocol for its connections; its own takes as long
for a request as the rest of the gateway does (docs/decisions/0049). The parser is httptools' (llhttp). What
a connection may cost is bounded in `gateway.downstream.connections`.
"""

from __future__ import annotations

import asyncio
import functools
import urllib.parse
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import httptools

from gateway.downstream.cycle import App, Cycle, Scope

if TYPE_CHECKING:
    import uvicorn
    from uvicorn.server import ServerState

_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}
_SHORT: Final = 256
"""Bytes of a request's target that is worth remembering: nearly all are `/mcp`."""

Target = tuple[str, bytes, bytes]
"""A path without its escapes, the same as it came, and the query."""


class Refused(Exception):
    """Ends the parsing of a request: what came is answered with `status`, and is the last."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class HttpConnection(asyncio.Protocol):
    """One client's connection. Requests that come before the last one's response are answered in turn.

    A connection that carries nothing is closed after uvicorn's `timeout_keep_alive`, by one clock that is
    looked at when it rings.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_running_loop()
        self.fields: list[tuple[bytes, bytes]] = []
        self.trailers = 0
        self.target = b""
        self.current: Cycle | None = None
        self._app = cast("App", cast("Any", config).loaded_app)
        self._shared = server_state
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._of_all: Scope = {}
        self._expects = False
        self._arriving: Cycle | None = None
        self._next: deque[Cycle] = deque()
        self._paused = False
        self._drained: asyncio.Event | None = None
        self._rests_for: float = config.timeout_keep_alive
        self._rests_since = 0.0
        self._rest: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._of_all.get('client')}, {self.current or 'idle'}>"

    @property
    def transport(self) -> asyncio.Transport:
        """The socket's; there is one from `connection_made` on."""
        assert self._transport is not None
        return self._transport

    @property
    def busy(self) -> bool:
        """Whether it carries something, and is not to be closed for being idle."""
        return self.current is not None

    @property
    def stalled(self) -> bool:
        """Whether the client takes no more for now."""
        return self._drained is not None

    @property
    def default_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """What every response has: the date."""
        return self._shared.default_headers

    async def drain(self) -> None:
        """Wait until the client takes more, or has left."""
        if self._drained is not None:
            await self._drained.wait()

    def pause(self) -> None:
        """Take no more from the socket."""
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Go on after `pause`, unless there are requests to be answered first."""
        if self._paused and not self._next and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    def answered(self, cycle: Cycle) -> None:  # noqa: ARG002
        """Go on to the next request, if there is one."""
        self._shared.total_requests += 1
        self.current = None
        if self.transport.is_closing():
            return
        if self._next:
            self._serve(self._next.popleft())
        else:
            self.resume()
            self.rest()

    def rest(self) -> None:
        """Begin to carry nothing."""
        self._rests_since = self.loop.time()
        if self._rest is None:
            self._rest = self.loop.call_later(self._rests_for, self._look_at_rest)

    def shutdown(self) -> None:
        """Close, as soon as the request at hand has been answered; uvicorn calls this."""
        if self.current is None:
            self.transport.close()
        else:
            self.current.keep_alive = False
            self._next.clear()

    def refuse(self, status: int, text: str) -> None:
        """Answer what could not be parsed, and close."""
        raise NotImplementedError

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        # uvloop's transports are none of asyncio's classes, though all that those are.
        self._transport = cast("asyncio.Transport", transport)
        self._shared.connections.add(cast("Any", self))
        self._of_all = {
            "type": "http",
            "asgi": _ASGI,
            "server": _address(transport.get_extra_info("sockname")),
            "client": _address(transport.get_extra_info("peername")),
            "scheme": "https" if transport.get_extra_info("sslcontext") else "http",
            "root_path": "",
        }

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell who answers on it."""
        self._shared.connections.discard(cast("Any", self))
        if self._rest is not None:
            self._rest.cancel()
        self._next.clear()
        if self.current is not None:
            self.current.disconnect()
        self.resume_writing()
        del self._parser  # they hold each other

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # What follows is of another protocol, which nobody speaks here.
            self.pause()
            if self.current is not None:
                self.current.keep_alive = False
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if isinstance(cause, Refused):
                self.refuse(cause.status, str(cause))
            else:
                raise  # a defect of ours: the event loop reports it, and ends the connection
        except httptools.HttpParserError:
            self.refuse(400, "Invalid HTTP request received.")

    def pause_writing(self) -> None:
        """Let responses wait: the client takes no more."""
        self._drained = self._drained or asyncio.Event()

    def resume_writing(self) -> None:
        """Let responses go on."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set()

    # httptools

    def on_message_begin(self) -> None:
        """Begin a request."""
        self.target, self.fields, self.trailers = b"", [], 0
        self._expects = False
        self._arriving = None

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field; those after the body are counted, and not used."""
        if self._arriving is not None:
            self.trailers += 1
            return
        name = name.lower()
        if name == b"expect":
            self._expects = value.lower() == b"100-continue"
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Hand the request to the application, in its turn."""
        parser = self._parser
        version = parser.get_http_version()
        path, raw, query = _short(self.target) if len(self.target) < _SHORT else _parsed(self.target)
        scope = {
            **self._of_all,
            "http_version": version,
            "method": parser.get_method().decode("ascii"),
            "path": path,
            "raw_path": raw,
            "query_string": query,
            "headers": self.fields,
        }
        keep_alive = version == "1.1" and parser.should_keep_alive()
        self._arriving = cycle = Cycle(self, scope, keep_alive=keep_alive, expects=self._expects)
        if self.current is None:
            self._serve(cycle)
        else:
            self._next.append(cycle)
            self.pause()

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on."""
        if self._arriving is not None:
            self._arriving.feed(body)

    def on_message_complete(self) -> None:
        """Pass the body's end on."""
        if self._arriving is not None:
            self._arriving.finish()

    def _serve(self, cycle: Cycle) -> None:
        self.current = cycle
        tasks = self._shared.tasks
        cycle.task = task = self.loop.create_task(cycle.run(self._app, tasks))
        tasks.add(task)

    def _look_at_rest(self) -> None:
        self._rest = None
        if self.busy:
            return  # it is set again when that is over
        left = self._rests_since + self._rests_for - self.loop.time()
        if left > 0:
            self._rest = self.loop.call_later(left, self._look_at_rest)
        else:
            self.transport.close()


def _address(address: Any) -> tuple[str, int | None] | None:
    """Return ASGI's form of a socket's address; a Unix socket's has a path, or nothing."""
    if isinstance(address, tuple):
        host, port = cast("tuple[Any, ...]", address)[:2]
        return str(host), int(port)
    return (address, None) if isinstance(address, str) and address else None


def _parsed(target: bytes) -> Target:
    try:
        url = httptools.parse_url(target)
        path = (url.path or b"").decode("ascii")
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError) as error:
        raise Refused(400, "the request's target is not a path") from error
    if not path:
        raise Refused(400, "the request's target is not a path")
    return urllib.parse.unquote(path), url.path, url.query or b""


_short: Final = functools.lru_cache(maxsize=64)(_parsed)
