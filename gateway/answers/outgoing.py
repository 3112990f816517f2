"""What of a server's question goes to the client: the question itself, and five exceptions.

An elicitation's message gets the asking server's name in front, because a client shows
its user the gateway's name only. `includeContext` is left out for a client that did not
declare `sampling.context` (2025-11-25, client/sampling: servers should not use it then). And a
client that answers by retrying is not given the id of a URL elicitation: its revision has none.
A server's progress token is kept here: nobody reports how far a person has got, and two servers'
tokens may be the same, which one client's must not be (2025-11-25, utilities/progress). Where a
model may answer, `_meta` says how deep the question stands (`gateway.calls.nesting`).
"""

from __future__ import annotations

from typing import Any, cast

from gateway.answers.model import InputRequest
from gateway.calls.model import Profile
from gateway.calls.nesting import depth_of, stamped

Json = dict[str, Any]


def label(params: Json, server: str) -> Json:
    """Return an elicitation's params with the server's name before the message: ``[booking] …``.

    The argument is not changed; params without a text message come back as they are.
    """
    message = params.get("message")
    return {**params, "message": f"[{server}] {message}"} if isinstance(message, str) else params


def for_client(request: InputRequest, profile: Profile, *, labelled: bool) -> Json:
    """Return the params to put to a client of this profile, at once or in a deferred round."""
    params = _plain(request, profile, labelled=labelled)
    call = request.call
    if call is None or call.root is None or not _may_lead_on(request):
        return params
    return stamped(params, depth_of_question(request), call.rooted())


def depth_of_question(request: InputRequest) -> int:
    """Return how deep a question stands: one below its call, or deeper if another gateway says so."""
    below = 1 if request.call is None else request.call.depth + 1
    return max(below, depth_of(request.params))


def _may_lead_on(request: InputRequest) -> bool:
    """Whether a model may be what answers for the client: not where a list is read, or a page visited."""
    return request.method != "roots/list" and request.params.get("mode") != "url"


def _plain(request: InputRequest, profile: Profile, *, labelled: bool) -> Json:
    params = _without_token(request.params)
    if request.method == "elicitation/create":
        if _crosses(request):
            params = {key: value for key, value in params.items() if key != "elicitationId"}
        return label(params, request.server) if labelled else params
    if "includeContext" in params and "sampling.context" not in profile:
        return {key: value for key, value in params.items() if key != "includeContext"}
    return params


def _without_token(params: Json) -> Json:
    meta: Any = params.get("_meta")
    if not isinstance(meta, dict) or "progressToken" not in meta:
        return params
    kept = {key: value for key, value in cast("Json", meta).items() if key != "progressToken"}
    rest = {key: value for key, value in params.items() if key != "_meta"}
    return {**rest, "_meta": kept} if kept else rest


def _crosses(request: InputRequest) -> bool:
    """Whether a server that waits with its call open asks a client that answers by retrying."""
    return request.call is not None and request.call.caller.defers and not request.deferrable
