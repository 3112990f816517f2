"""JSON-RPC 2.0 messages as plain dicts: build, tell apart, encode and decode.

Messages stay dicts from socket to socket, so that fields this gateway has never heard of
survive (`docs/decisions/0001`).
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable
from typing import Any, Final, Literal, TypeGuard, cast

import orjson
import pydantic_core

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

MAX_NESTING: Final = 128
"""Arrays and objects inside each other, where nothing else is configured."""


class Undecodable(ValueError):
    """The bytes are not JSON. The message is for the peer."""


class TooDeep(Undecodable):
    """The JSON is nested more deeply than is allowed; the message names the setting."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"JSON nested more than {limit} levels deep (limits.max_nesting)")


def encode(message: Any) -> bytes:
    """Serialise to compact UTF-8 JSON on one line."""
    try:
        return orjson.dumps(message)
    except TypeError:
        # orjson refuses what JSON allows: lone surrogates and integers beyond 64 bits.
        return json.dumps(message, separators=(",", ":")).encode()


def encode_to_keep(message: Any) -> bytes:
    """Serialise what stays in memory for a while, in no more of it than it is long.

    orjson does not shrink the buffer it writes to, which is of 4 KiB at least and up to ten times the text.
    """
    return b"%b" % encode(message)


def decode(data: bytes | bytearray | str, max_nesting: int = MAX_NESTING) -> Any:
    """Parse JSON with nothing lost: integers of any size and lone surrogates stay what they are.

    Of a key given twice the last counts, as in every common parser.

    Raises:
        Undecodable: not JSON. `NaN`, `Infinity` and numbers too large for a double are not: nothing
            that reads JSON could be told them.
        TooDeep: more than `max_nesting` arrays and objects inside each other.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    try:
        value = _parse(raw)
    except RecursionError:
        raise TooDeep(max_nesting) from None
    if raw.count(b"[") + raw.count(b"{") > max_nesting and _is_deeper(value, max_nesting):
        raise TooDeep(max_nesting)
    return value


def _parse(raw: bytes | bytearray) -> Any:
    if len(raw) > _PART:
        return _parse_large(raw)
    if _LONG_NUMBER in raw.translate(_DIGITS):
        # orjson would make a float of an integer beyond 64 bits.
        return _parse_slowly(raw, None)
    return _parse_at_once(raw)


def _parse_at_once(raw: bytes | bytearray) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        # orjson refuses lone surrogates, which JSON text may carry; the standard parser does not.
        return _parse_slowly(raw, str(error))


def _parse_large(raw: bytes | bytearray) -> Any:
    """Parse what is long by a parser that makes no copy of it, as orjson does."""
    if _has(raw, _LONG_NUMBER):
        return _parse_slowly(raw, None)
    # This parser would make an infinity of a number that is too large.
    if not _has(raw, *_LARGE_EXPONENTS):
        with contextlib.suppress(ValueError):
            return pydantic_core.from_json(raw, allow_inf_nan=False, cache_strings=False)
    return _parse_at_once(raw)


def _has(raw: bytes | bytearray, *patterns: bytes) -> bool:
    """Look part by part, each beginning before the last one's end: a copy of a large body is not small."""
    overlap = len(_LONG_NUMBER) - 1
    for start in range(0, len(raw), _PART):
        part = raw[max(0, start - overlap) : start + _PART].translate(_DIGITS)
        if any(pattern in part for pattern in patterns):
            return True
    return False


def _parse_slowly(raw: bytes | bytearray, reason: str | None) -> Any:
    try:
        return _STANDARD.decode(raw.decode("utf-8-sig"))
    except ValueError as error:
        raise Undecodable(f"not valid JSON: {reason or error}") from None


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number has more than {_MOST_DIGITS} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"number {text[:40]} is too large")
    return number


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON value")


_MOST_DIGITS: Final = 4000
"""Python reads no more than 4,300, since reading them takes quadratic time."""
_STANDARD: Final = json.JSONDecoder(parse_int=_whole, parse_float=_finite, parse_constant=_no_constant)
_DIGITS: Final = bytes.maketrans(
    bytes(range(256)),
    bytes(
        ord("0")
        if chr(byte) in "0123456789"
        else byte
        if chr(byte) in "e+"
        else ord("e" if byte == 69 else " ")
        for byte in range(256)
    ),
)
"""Makes every digit a zero, leaves of an exponent what belongs to it, and nothing of the rest."""
_LARGE_EXPONENTS: Final = (b"0e000", b"0e+000")
_LONG_NUMBER: Final = b"0" * 19
"""So many digits in a row may be more than 64 bits."""
_PART: Final = 64 * 1024
"""Bytes that are looked through at a time."""


def _is_deeper(value: Any, limit: int) -> bool:
    """Whether containers lie more than `limit` deep. Level by level: no recursion of ours."""
    level: list[Any] = [value] if isinstance(value, list | dict) else []
    for _ in range(limit):
        level = [
            child for container in level for child in _children(container) if isinstance(child, list | dict)
        ]
        if not level:
            return False
    return True


def _children(container: Any) -> Iterable[Any]:
    return cast("Json", container).values() if isinstance(container, dict) else container


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


def kind_of_valid(message: Json) -> MessageKind:
    """Tell what a message is of which `kind_of` has said that it is one."""
    if message.get("method") is None:
        return "response"
    return "request" if "id" in message else "notification"


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
