"""Load that does not wait for answers: requests fall due at a rate, whether or not they can be served.

Each is sent when it is due, on a connection that is free or a new one, and given up after a time-out with its
connection. Answers are counted by status without being parsed, so that the load costs little.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Protocol, cast

from benchmarks.speed.sockets import Pool


@dataclass
class Tally:
    """What came of the requests: `good` are whole answers in time, `refused` counts by status."""

    sent: int = 0
    good: int = 0
    timed_out: int = 0
    broken: int = 0
    unsent: int = 0
    without_retry_after: int = 0
    refused: Counter[int] = field(default_factory=Counter[int])
    seconds: float = 0.0

    def answered(self, status: int, head: bytes, body: bytes) -> None:
        """Count one response; a session's refusal comes with a success of HTTP, as an error in JSON-RPC."""
        if status == 200 and b'"result"' in body:
            self.good += 1
            return
        self.refused[status] += 1
        self.without_retry_after += b"retry-after:" not in head

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.good / self.seconds

    @property
    def ended(self) -> int:
        """Every request that came to something."""
        return self.good + self.timed_out + self.broken + self.refused.total()


class Load(Protocol):
    """Who is told what came of a connection's request."""

    def answered(self, connection: Connection, status: int, head: bytes, body: bytes, *, again: bool) -> None:
        """Take a response; `again` says that its connection can be used again."""
        ...

    def lost(self) -> None:
        """Take note that the connection broke during a request."""
        ...


class Connection(asyncio.Protocol):
    """Sends one request at a time and takes its response apart as little as can be."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._rest = b""
        self.busy = False
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        self.busy = True
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._rest = self._rest + data if self._rest else data
        end = self._rest.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._rest[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 : at + 25].split(b"\r\n")[0]) if at >= 0 else 0
        if len(self._rest) < end + 4 + length:
            return
        body, self._rest = self._rest[end + 4 : end + 4 + length], b""
        if not self.busy:
            return
        self.busy = False
        closing = b"connection: close" in head
        if closing:
            self.transport.close()
        self._load.answered(self, int(head[9:12]), head, body, again=not closing)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self.busy:
            self.busy = False
            self._load.lost()


class OpenLoop:
    """Offers `rate` requests a second on `most` connections at most; answers count within `limit` seconds."""

    def __init__(self, pool: Pool, request: bytes, rate: float, most: int, limit: float) -> None:
        self._pool, self._request, self._rate, self._most, self._limit = pool, request, rate, most, limit
        self.tally = Tally()
        self._free: list[Connection] = []
        self._waiting: deque[tuple[float, Connection]] = deque()
        self._open = 0
        self._opening: set[asyncio.Task[None]] = set()

    def answered(self, connection: Connection, status: int, head: bytes, body: bytes, *, again: bool) -> None:
        """Count one response; its connection is free again, if it goes `again`."""
        self.tally.answered(status, head, body)
        if again:
            self._free.append(connection)
        else:
            self._open -= 1

    def lost(self) -> None:
        """Count a connection that broke during a request."""
        self.tally.broken += 1
        self._open -= 1

    async def run(self, seconds: float) -> Tally:
        """Offer load for some seconds, and wait for what is on its way."""
        began = time.perf_counter()
        due = 0
        while (now := time.perf_counter() - began) < seconds:
            for _ in range(due, int(now * self._rate)):
                self._one(began + now)
            due = int(now * self._rate)
            self._give_up(began + now)
            await asyncio.sleep(0.001)
        self.tally.seconds = time.perf_counter() - began
        while self._waiting and time.perf_counter() < began + seconds + self._limit + 1:
            self._give_up(time.perf_counter())
            await asyncio.sleep(0.005)
        for task in self._opening:
            task.cancel()
        for connection in self._free:
            connection.transport.abort()
        return self.tally

    def _one(self, now: float) -> None:
        self.tally.sent += 1
        while self._free:
            connection = self._free.pop()
            if not connection.closed:
                self._send(connection, now)
                return
            self._open -= 1
        if self._open >= self._most:
            # As if its connection had been refused: a client that gets no connection has no answer.
            self.tally.unsent += 1
            return
        self._open += 1
        task = asyncio.ensure_future(self._connect(now))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self, now: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self), self._pool.host, self._pool.port
            )
        except OSError:
            self._open -= 1
            self.tally.broken += 1
            return
        self._send(connection, now)

    def _send(self, connection: Connection, now: float) -> None:
        connection.send(self._request)
        self._waiting.append((now, connection))

    def _give_up(self, now: float) -> None:
        while self._waiting and (not self._waiting[0][1].busy or now - self._waiting[0][0] > self._limit):
            _, connection = self._waiting.popleft()
            if connection.busy:
                connection.busy = False
                self.tally.timed_out += 1
                self._open -= 1
                connection.transport.abort()


class ClosedLoop:
    """Keeps some connections busy: the next request goes out when an answer is there. Finds the capacity."""

    def __init__(self, pool: Pool, request: bytes, connections: int) -> None:
        self._pool, self._request, self._connections = pool, request, connections
        self.tally = Tally()
        self._over = False

    def answered(self, connection: Connection, status: int, head: bytes, body: bytes, *, again: bool) -> None:
        """Count one response and send the next request."""
        self.tally.answered(status, head, body)
        if again and not self._over:
            connection.send(self._request)

    def lost(self) -> None:
        """Count a connection that broke."""
        self.tally.broken += 1

    async def run(self, seconds: float) -> Tally:
        """Load for some seconds."""
        loop = asyncio.get_running_loop()
        where = self._pool.host, self._pool.port
        made = [
            (await loop.create_connection(lambda: Connection(self), *where))[1]
            for _ in range(self._connections)
        ]
        began = time.perf_counter()
        for connection in made:
            connection.send(self._request)
        await asyncio.sleep(seconds)
        self._over = True
        self.tally.seconds = time.perf_counter() - began
        for connection in made:
            connection.busy = False
            connection.transport.abort()
        return self.tally
