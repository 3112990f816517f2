"""Messages on their way to one client over one stream: ordered, bounded, resumable."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from gateway.wire import jsonrpc
from gateway.wire.jsonrpc import Json

_KEPT: Final = frozenset({"notifications/cancelled"})
"""Notifications that a client needs, beside the news that `Outbox.put` is told of."""


@dataclass(frozen=True, slots=True)
class Item:
    """One message with its number in the stream, from 1."""

    number: int
    data: bytes
    lossy: bool
    about: tuple[object, ...] | None = None


class Outbox:
    """A queue with one reader at a time.

    `backlog` messages and `limit` bytes bound what waits to be read: beyond them the oldest
    lossy messages are dropped (`dropped` counts them). `replay` is how many sent messages are
    kept for a reader that comes back, in `limit` bytes at most. `on_first` is called once,
    when the first message is put.
    """

    # A call that is answered at once puts nothing into its outbox: what only a reader or a writer needs
    # is made when one comes.
    closed = False
    dropped = 0
    reachable = True
    """Whether somebody reads, or may come to read, what is put."""
    has_reader = False
    _waiting_bytes = 0
    _sent_bytes = 0
    _last = 0
    _reader = 0
    _sent: deque[Item] | None = None
    _wake: asyncio.Event | None = None
    _taken: asyncio.Event | None = None

    def __init__(
        self,
        stream_id: str = "",
        *,
        backlog: int = 1024,
        limit: int = 16 * 1024 * 1024,
        replay: int = 0,
        on_first: Callable[[], None] | None = None,
    ) -> None:
        self.stream_id = stream_id
        self._backlog = backlog
        self._limit = limit
        self._replay = replay
        self._on_first = on_first
        self._waiting: deque[Item] = deque()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return (
            f"<Outbox {self.stream_id} {state}, {len(self._waiting)} waiting, {len(self._sent or ())} kept>"
        )

    @property
    def full(self) -> bool:
        """Whether as much waits as is allowed, which `put` can only keep to by dropping."""
        return len(self._waiting) >= self._backlog or self._waiting_bytes >= self._limit

    async def room(self) -> None:
        """Wait until the outbox is not full, or closed."""
        while self.full and not self.closed:
            taken = self._taken = self._taken or asyncio.Event()
            taken.clear()
            await taken.wait()

    def put(self, message: Json, about: tuple[object, ...] | None = None) -> None:
        """Queue a message; ignored once closed.

        `about` marks news that says all that earlier news about the same thing did: it takes
        the place of one that still waits.
        """
        if self.closed:
            return
        # Progress, log lines and whatever else an extension tells: no call's result depends on it.
        lossy = "id" not in message and about is None and message.get("method") not in _KEPT
        if about is not None:
            self._supersede(about)
        self._last += 1
        item = Item(self._last, jsonrpc.encode_to_keep(message), lossy, about)
        self._make_room(len(item.data))
        self._waiting.append(item)
        self._waiting_bytes += len(item.data)
        _set(self._wake)
        if self._on_first is not None:
            first, self._on_first = self._on_first, None
            first()

    @property
    def size(self) -> int:
        """Bytes that are held, to be read or to be read again."""
        return self._waiting_bytes + self._sent_bytes

    def close(self) -> None:
        """End the stream after what is queued."""
        self.closed = True
        self._on_first = None  # nothing can be put any more; and who listens often holds this outbox
        _set(self._wake)
        _set(self._taken)

    async def read(self, after: int | None = None, idle: float | None = None) -> AsyncIterator[Item | None]:
        """Yield items as they come, until the stream is closed and empty.

        `after` replays what was sent beyond that number and is still kept. None is yielded
        whenever nothing came for `idle` seconds. A later reader takes over: this one ends.
        """
        self._reader += 1
        mine = self._reader
        _set(self._wake)
        self.has_reader = True
        try:
            for item in [item for item in self._sent or () if after is not None and item.number > after]:
                yield item
            while self._reader == mine:
                while self._waiting:
                    yield self._next()
                    if self._reader != mine:
                        return
                if self.closed:
                    return
                if not await self._woken(idle):
                    yield None
        finally:
            if self._reader == mine:
                self.has_reader = False

    def _next(self) -> Item:
        item = self._waiting.popleft()
        self._waiting_bytes -= len(item.data)
        _set(self._taken)
        if self._replay:
            self._keep(item)
        return item

    def _keep(self, item: Item) -> None:
        sent = self._sent = deque() if self._sent is None else self._sent
        sent.append(item)
        self._sent_bytes += len(item.data)
        while sent and (len(sent) > self._replay or self._sent_bytes > self._limit):
            self._sent_bytes -= len(sent.popleft().data)

    async def _woken(self, idle: float | None) -> bool:
        wake = self._wake = self._wake or asyncio.Event()
        wake.clear()
        try:
            async with asyncio.timeout(idle):
                return await wake.wait()
        except TimeoutError:
            return False

    def _supersede(self, about: tuple[object, ...]) -> None:
        for item in self._waiting:
            if item.about == about:
                self._remove(item)
                return

    def _make_room(self, size: int) -> None:
        """Drop the oldest lossy messages until another of `size` bytes fits, or none is left."""
        while self._waiting and (
            len(self._waiting) >= self._backlog or self._waiting_bytes + size > self._limit
        ):
            oldest = next((item for item in self._waiting if item.lossy), None)
            if oldest is None:
                return
            self._remove(oldest)
            self.dropped += 1

    def _remove(self, item: Item) -> None:
        self._waiting.remove(item)
        self._waiting_bytes -= len(item.data)


def _set(event: asyncio.Event | None) -> None:
    if event is not None:
        event.set()
