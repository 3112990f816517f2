"""JSON-RPC 2.0 messages as plain dicts: build, tell apart, encode and decode.

Messages stay dicts from socket to socket, so that fields this gateway has never heard of
survive (`docs/decisions/0001`).
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal, TypeGuard, cast

import orjson

Json = dict[str, Any]
RequestId = str | int
MessageKind = Literal["request", "notification", "response", "invalid"]

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
USER_REJECTED: Final = -1
"""What clients answer when the user rejects a sampling request (2025-11-25, client/sampling)."""
REQUEST_CANCELLED: Final = -32800
UNSUPPORTED_PROTOCOL_VERSION: Final = -32022
HEADER_MISMATCH: Final = -32020
MISSING_CLIENT_CAPABILITY: Final = -32021
RESOURCE_NOT_FOUND: Final = -32002
URL_ELICITATION_REQUIRED: Final = -32042


class Undecodable(ValueError):
    """The bytes are not JSON. The message is for the peer."""


def encode(message: Any) -> bytes:
    """Serialise to compact UTF-8 JSON on one line."""
    try:
        return orjson.dumps(message)
    except TypeError:
        # orjson refuses what JSON allows: lone surrogates and integers beyond 64 bits.
        return json.dumps(message, separators=(",", ":")).encode()


def decode(data: bytes | bytearray | memoryview | str) -> Any:
    """Parse JSON.

    Raises:
        Undecodable: not JSON, or nested too deeply to hold.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        text = data if isinstance(data, str) else bytes(data)
        try:
            # orjson refuses lone surrogates, which JSON text may carry; the standard parser does not.
            return json.loads(text)
        except (ValueError, RecursionError):
            raise Undecodable(f"not valid JSON: {error}") from None


def is_id(value: object) -> TypeGuard[RequestId]:
    """Whether a value can be a request id (2026-07-28, basic: string or integer, never null)."""
    return isinstance(value, str | int) and not isinstance(value, bool)


def kind_of(message: object) -> MessageKind:
    """Tell what a decoded message is; anything malformed is "invalid"."""
    if not isinstance(message, dict):
        return "invalid"
    fields = cast("Json", message)
    if fields.get("jsonrpc") != "2.0":
        return "invalid"
    method = fields.get("method")
    if method is None:
        if "id" not in fields or ("result" not in fields and not isinstance(fields.get("error"), dict)):
            return "invalid"
        return "response"
    params = fields.get("params")
    if not isinstance(method, str) or not (params is None or isinstance(params, dict)):
        return "invalid"
    if "id" not in fields:
        return "notification"
    return "request" if is_id(fields["id"]) else "invalid"


def request(request_id: RequestId, method: str, params: Json | None = None) -> Json:
    """Build a request; `params` is left out when None."""
    message: Json = {"jsonrpc": "2.0", "id": request_id, "method": method}
    if params is not None:
        message["params"] = params
    return message


def notification(method: str, params: Json | None = None) -> Json:
    """Build a notification; `params` is left out when None."""
    message: Json = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        message["params"] = params
    return message


def result(request_id: RequestId, value: Json) -> Json:
    """Build a success response."""
    return {"jsonrpc": "2.0", "id": request_id, "result": value}


def error(request_id: RequestId | None, code: int, message: str, data: Any = None) -> Json:
    """Build an error response; `data` is left out when None."""
    body: Json = {"code": code, "message": message}
    if data is not None:
        body["data"] = data
    return {"jsonrpc": "2.0", "id": request_id, "error": body}
