"""`roots/list` is always the client's: no policy, no LLM."""

from __future__ import annotations

from typing import Any

from gateway import codes
from gateway.answers import outgoing
from gateway.answers.client import available, put
from gateway.answers.model import DEFERRED, Deferred, InputRequest, LegEnded
from gateway.calls.model import ChannelClosed, Unanswered
from gateway.errors import NobodyAnswered, QuestionRefused

Json = dict[str, Any]


async def list_roots(request: InputRequest, timeout: float) -> Json | Deferred:
    """Ask the call's client for its roots and return its result as it is.

    Raises:
        QuestionRefused: there is no client to ask, or it did not declare `roots`.
        NobodyAnswered: it did not answer within `timeout` seconds.
        PeerError: the client's own error.
    """
    try:
        caller = available(request)
        if caller.defers and request.deferrable:
            return DEFERRED
        params = outgoing.for_client(request, caller.profile, labelled=False)
        return await put(caller, request.method, params, timeout)
    except (LegEnded, ChannelClosed) as ended:
        raise QuestionRefused(f"roots/list: {ended}", codes.told(codes.WORKSPACE_ACCESS)) from ended
    except (TimeoutError, Unanswered) as ended:
        message = (
            f"roots/list: {ended}"
            if isinstance(ended, Unanswered)
            else (f"roots/list: the client did not answer within {timeout:g} s")
        )
        raise NobodyAnswered(message, codes.told(codes.TIMEOUT), unavailable=False) from None
