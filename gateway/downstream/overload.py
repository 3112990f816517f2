"""What still passes when no new calls are taken: whatever belongs to a call that was begun before.

As much as can be is refused from a request's head. Only what may be an answer, a cancellation or a
retry that brings answers is read, to see whether it is.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Final, cast

from gateway.config.resolved import Limits
from gateway.downstream.connections import HOLD
from gateway.downstream.exchange import BodyTooLarge, Receive, Scope, Send, read_body, respond_json
from gateway.downstream.load import Load, retry_after, status_of
from gateway.downstream.methods import RELAYED
from gateway.errors import Overloaded
from gateway.wire import faults, jsonrpc
from gateway.wire.jsonrpc import Json

_SESSION: Final = "mcp-session-id"
_HELD: Final = 2.0
"""Seconds for which a connection is not read from at most. A client that gives up and comes back on a new
one costs more than to refuse it again."""
_STATE: Final = b'"requestState"'


async def continued(
    refusal: Overloaded,
    load: Load,
    scope: Scope,
    headers: Mapping[str, str],
    receive: Receive,
    send: Send,
    limits: Limits,
) -> Receive | None:
    """Return what the request's body is to be read from, or None if it has been answered with `refusal`.

    Clients that ask again at once, whatever they are told, would make refusals cost more than
    calls. So where the loop is late, the connection is not read from for a while. A session's is, for the
    answers that may come on it.
    """
    session = _SESSION in headers
    decoded: Any = None
    if session or headers.get("mcp-method") in RELAYED:
        try:
            body = await read_body(receive, limits.max_body_bytes, limits.request_timeout_seconds)
            decoded = jsonrpc.decode(body, limits.max_nesting) if session or _STATE in body else None
        except ConnectionResetError:
            return None
        except (BodyTooLarge, TimeoutError, jsonrpc.Undecodable):
            body = b""
        if _goes_on(decoded):
            return _again(body, receive)
    load.refused(refusal)
    if session:
        await _refuse_in_session(decoded, refusal, send)
    else:
        if load.late:
            scope[HOLD] = min(float(refusal.retry_after), _HELD)
        await respond_json(send, status_of(refusal), faults.error_response(None, refusal))
    return None


def brings_answers(params: Json) -> bool:
    """Whether a request of 2026-07-28 goes on with a call that was begun before."""
    return "requestState" in params


def _goes_on(decoded: Any) -> bool:
    """Whether a message, or one of a batch, is about a call in flight. `ping` says that we are alive."""
    if isinstance(decoded, list):
        return any(_goes_on(message) for message in cast("list[Any]", decoded))
    kind = jsonrpc.kind_of(decoded)
    if kind != "request":
        return kind != "invalid"
    params: Any = decoded.get("params")
    return decoded["method"] == "ping" or (isinstance(params, dict) and brings_answers(cast("Json", params)))


async def _refuse_in_session(decoded: Any, refusal: Overloaded, send: Send) -> None:
    """Refuse a session's request as the answer to it, with a status of success.

    The Python SDK to 1.x ends the whole session, and every call in it, on any other status.
    """
    messages = cast("list[Any]", decoded) if isinstance(decoded, list) else [decoded]
    answers = [
        faults.error_response(message["id"] if jsonrpc.kind_of(message) == "request" else None, refusal)
        for message in messages
    ]
    body = answers if isinstance(decoded, list) else answers[0]
    await respond_json(send, 200, body, [retry_after(answers[0])])


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields a body which has been read, and then what the real one does."""
    left = [body]

    async def replay() -> MutableMapping[str, Any]:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return replay
