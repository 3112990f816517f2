"""Request correlation for a duplex connection: what we asked, and what we are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from gateway.errors import BackchannelError
from gateway.wire import faults, jsonrpc
from gateway.wire.jsonrpc import Json, RequestId

_RESULT_KEYS: Final = frozenset({"jsonrpc", "id", "result"})


class Outgoing:
    """Requests we sent and wait for.

    Ids are integers from 1, prefixed when `prefix` is given. A response is matched whether
    the peer echoed the id as it was or as a string.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._last = 0
        self._waiting: dict[str, asyncio.Future[Json]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<Outgoing {len(self._waiting)} waiting>"

    def open(self) -> tuple[RequestId, asyncio.Future[Json]]:
        """Mint an id and the future that `resolve` will settle."""
        self._last += 1
        request_id: RequestId = f"{self._prefix}{self._last}" if self._prefix else self._last
        future: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._waiting[str(request_id)] = future
        return request_id, future

    def close(self, request_id: RequestId) -> None:
        """Forget a request: a response that still comes is dropped."""
        self._waiting.pop(str(request_id), None)

    def settle(self, request_id: RequestId, message: Any) -> bool:
        """Settle a request with a message that is plainly its result; False if there is more to look at."""
        if not isinstance(message, dict) or cast("Json", message).keys() != _RESULT_KEYS:
            return False
        fields = cast("Json", message)
        value = fields["result"]
        if fields["id"] != request_id or fields["jsonrpc"] != "2.0" or not isinstance(value, dict):
            return False
        future = self._waiting.pop(str(request_id), None)
        if future is None or future.done():
            return False
        future.set_result(cast("Json", value))
        return True

    def resolve(self, response: Json) -> bool:
        """Settle the request a response names; False if nobody waits for it."""
        future = self._waiting.pop(str(response.get("id")), None)
        if future is None or future.done():
            return False
        value: Any = response.get("result")
        if isinstance(value, dict):
            future.set_result(cast("Json", value))
        elif "result" in response:
            future.set_exception(
                faults.peer_error({"code": -32603, "message": "the result is not an object"})
            )
        else:
            future.set_exception(faults.peer_error(response.get("error")))
        return True

    def fail_all(self, error: BackchannelError) -> None:
        """End every wait with `error`: the connection is gone."""
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(error)


class Incoming:
    """Requests the peer sent, each answered by a task of its own.

    A cancelled request is never answered (basic/patterns/cancellation).
    """

    def __init__(self, reply: Callable[[Json], Awaitable[None]]) -> None:
        self._reply = reply
        self._running: dict[str, asyncio.Task[None]] = {}
        self._telling: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, request_id: object) -> bool:
        return str(request_id) in self._running

    def start(self, request_id: RequestId, work: Awaitable[Json]) -> asyncio.Task[None]:
        """Answer request `request_id` with what `work` returns or raises; the task may be cancelled."""
        task = asyncio.get_running_loop().create_task(self._answer(request_id, work))
        key = str(request_id)
        self._running[key] = task
        task.add_done_callback(lambda done: self._forget(key, request_id, work, done))
        return task

    def cancel(self, request_id: object) -> bool:
        """Stop answering a request; False if it is not running."""
        task = self._running.get(str(request_id))
        return task is not None and task.cancel()

    def cancel_all(self) -> None:
        """Stop answering everything, without waiting: the peer is gone."""
        for task in list(self._running.values()):
            task.cancel()

    async def aclose(self) -> None:
        """Cancel everything that runs and wait for it to end."""
        tasks = list(self._running.values())
        self.cancel_all()
        await asyncio.gather(*tasks, *self._telling, return_exceptions=True)

    async def _answer(self, request_id: RequestId, work: Awaitable[Json]) -> None:
        try:
            response = jsonrpc.result(request_id, await work)
        except BackchannelError as error:
            response = faults.error_response(request_id, error)
        await self._reply(response)

    def _forget(
        self, key: str, request_id: RequestId, work: Awaitable[Json], done: asyncio.Task[None]
    ) -> None:
        if self._running.get(key) is done:
            del self._running[key]
        if asyncio.iscoroutine(work):
            # Cancelled before its first step, it would be reported as never awaited.
            work.close()
        if done.cancelled() or (error := done.exception()) is None:
            return
        loop = asyncio.get_running_loop()
        loop.call_exception_handler(
            {"message": "answering a request failed", "exception": error, "task": done}
        )
        failure = jsonrpc.error(request_id, jsonrpc.INTERNAL_ERROR, "answering this request failed")
        telling = asyncio.ensure_future(self._reply(failure))
        self._telling.add(telling)
        telling.add_done_callback(self._told)

    def _told(self, telling: asyncio.Future[None]) -> None:
        self._telling.discard(telling)
        if not telling.cancelled():
            telling.exception()  # the peer cannot be told either: nothing is left to do
