"""The one mapping between the error tree and JSON-RPC error objects, in both directions."""

from __future__ import annotations

from typing import Any, cast

from gateway import errors
from gateway.wire import jsonrpc
from gateway.wire.jsonrpc import Json

_CODES: tuple[tuple[type[errors.BackchannelError], int], ...] = (
    (errors.UnknownTarget, jsonrpc.INVALID_PARAMS),
    (errors.InvalidCall, jsonrpc.INVALID_PARAMS),
    (errors.CallCancelled, jsonrpc.REQUEST_CANCELLED),
    (errors.QuestionRefused, jsonrpc.METHOD_NOT_FOUND),
    (errors.QuestionRejected, jsonrpc.USER_REJECTED),
)


def error_object(error: errors.BackchannelError) -> Json:
    """Return the JSON-RPC error object (code, message, data) a peer is told."""
    if isinstance(error, errors.PeerError):
        return _object(error.code, error.message, error.data)
    if isinstance(error, errors.NobodyAnswered):
        code = jsonrpc.METHOD_NOT_FOUND if error.unavailable else jsonrpc.INTERNAL_ERROR
        return _object(code, str(error), error.data)
    for kind, code in _CODES:
        if isinstance(error, kind):
            return _object(code, str(error), getattr(error, "data", None))
    return _object(jsonrpc.INTERNAL_ERROR, str(error), getattr(error, "data", None))


def error_response(request_id: jsonrpc.RequestId | None, error: errors.BackchannelError) -> Json:
    """Return the whole error response for a request that failed with `error`."""
    return {"jsonrpc": "2.0", "id": request_id, "error": error_object(error)}


def peer_error(value: object) -> errors.PeerError:
    """Read the `error` member of a response; a malformed one still becomes an error."""
    if not isinstance(value, dict):
        return errors.PeerError(jsonrpc.INTERNAL_ERROR, "the peer sent a malformed error object")
    fields = cast("Json", value)
    code: Any = fields.get("code")
    message: Any = fields.get("message")
    return errors.PeerError(
        code if isinstance(code, int) else jsonrpc.INTERNAL_ERROR,
        message if isinstance(message, str) else "the peer gave no message",
        fields.get("data"),
    )


def _object(code: int, message: str, data: Any) -> Json:
    body: Json = {"code": code, "message": message}
    if data is not None:
        body["data"] = data
    return body
