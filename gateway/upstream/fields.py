"""Header fields of requests to servers and of their responses, and what they say of a body."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from gateway.errors import CallError
from gateway.upstream.response import Broken, Response

EVENT_STREAM: Final = "text/event-stream"
JSON: Final = "application/json"
_SHOWN = 200
"""Characters of what a server gave that are shown in an error."""


def lines(headers: Mapping[str, str], content: bytes | None) -> bytes:
    """Return header fields as they go over the wire, and with `content` the end of the head, and that.

    Raises:
        Broken: one holds more than its own line, or what has no bytes.
    """
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers) or text.count("\r") != len(headers) or "\0" in text:
        raise Broken("a header holds a line break, which no header can carry")
    try:
        head = text.encode()
    except UnicodeEncodeError as error:
        raise Broken("a header holds half a character, which no header can carry") from error
    return head if content is None else b"%bcontent-length: %d\r\n\r\n%b" % (head, len(content), content)


def encoding_of(response: Response) -> str:
    """Return the content encoding of a response, in lower case; empty where it has none."""
    return response.headers.get("content-encoding", "").strip().lower()


def is_plain(response: Response) -> bool:
    """Whether a response is one JSON body, as it is."""
    return (
        response.is_success and content_type(response) == JSON and "content-encoding" not in response.headers
    )


def content_type(response: Response) -> str:
    """Return the media type of a response without its parameters, in lower case."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def unexpected_type(server: str, method: str, response: Response) -> CallError:
    """Return the error for a response that is neither of the two content types there are."""
    if response.status == HTTPStatus.ACCEPTED:
        return CallError(f"server '{server}' answered {method} with HTTP 202, which promises no response")
    return CallError(
        f"server '{server}' answered {method} with content type '{content_type(response)[:_SHOWN]}', "
        f"which is neither {JSON} nor {EVENT_STREAM}"
    )
