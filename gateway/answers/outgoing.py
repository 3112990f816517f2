"""What of a server's question goes to the client: the question itself, and three exceptions.

An elicitation's message gets the asking server's name in front, because a client shows
its user the gateway's name only. `includeContext` is left out for a client that did not
declare `sampling.context` (2025-11-25, client/sampling: servers should not use it then). And a
client that answers by retrying is not given the id of a URL elicitation: its revision has none.
"""

from __future__ import annotations

from typing import Any

from gateway.answers.model import InputRequest
from gateway.calls.model import Profile

Json = dict[str, Any]


def label(params: Json, server: str) -> Json:
    """Return an elicitation's params with the server's name before the message: ``[booking] …``.

    The argument is not changed; params without a text message come back as they are.
    """
    message = params.get("message")
    return {**params, "message": f"[{server}] {message}"} if isinstance(message, str) else params


def for_client(request: InputRequest, profile: Profile, *, labelled: bool) -> Json:
    """Return the params to put to a client of this profile, at once or in a deferred round."""
    params = request.params
    if request.method == "elicitation/create":
        if _crosses(request):
            params = {key: value for key, value in params.items() if key != "elicitationId"}
        return label(params, request.server) if labelled else params
    if "includeContext" in params and "sampling.context" not in profile:
        return {key: value for key, value in params.items() if key != "includeContext"}
    return params


def _crosses(request: InputRequest) -> bool:
    """Whether a server that waits with its call open asks a client that answers by retrying."""
    return request.call is not None and request.call.caller.defers and not request.deferrable
