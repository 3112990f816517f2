"""The client leg: put the question to the client whose call caused it, and read its answer."""

from __future__ import annotations

import asyncio
from typing import Any, Final, NoReturn, cast

from gateway import codes
from gateway.answers import capability, outgoing
from gateway.answers.model import DEFERRED, Answer, Deferred, InputRequest, LegEnded, SourceName
from gateway.answers.schema import Unverifiable, violation
from gateway.calls.model import MAX_RETRIES, Caller, ChannelClosed, Unanswered
from gateway.errors import PeerError
from gateway.policy import outcomes
from gateway.policy.model import Outcome, Route

Json = dict[str, Any]

_MAX_WORDS: Final = 500
"""Characters of a client's error message that are kept in a reason."""


class ClientAnswerer:
    """Asks the caller of the request's call, and never any other client.

    `label_questions` puts the asking server's name before an elicitation's message.
    """

    source: SourceName = "client"

    def __init__(self, *, label_questions: bool = True) -> None:
        self._label_questions = label_questions

    async def answer(self, request: InputRequest, route: Route) -> Answer | Deferred:
        """Answer within `route.client_timeout`; see `Answerer.answer`."""
        caller = available(request)
        if caller.defers and request.deferrable:
            return DEFERRED
        params = outgoing.for_client(request, caller.profile, labelled=self._label_questions)
        try:
            result = await put(caller, request.method, params, route.client_timeout)
        except TimeoutError:
            reason = f"the client did not answer within {route.client_timeout:g} s"
            raise LegEnded(Outcome.TIMED_OUT, reason, code=codes.TIMEOUT) from None
        except ChannelClosed as closed:
            reason = f"the client cannot be reached: {closed}"
            raise LegEnded(Outcome.UNAVAILABLE, reason, code=codes.CONTEXT_MISSING) from closed
        except Unanswered as unanswered:
            raise LegEnded(Outcome.FAILED, str(unanswered), code=codes.TIMEOUT) from unanswered
        except PeerError as error:
            _end_with_error(error)
        return read_answer(request, result)


async def put(caller: Caller, method: str, params: Json, limit: float) -> Json:
    """Ask a client while its server waits, and return its raw result.

    A client that answers by retrying, and does not within the limit, has its call cancelled:
    it could not be told of any other answer.

    Raises:
        TimeoutError: any other client did not answer within `limit` seconds.
        PeerError, ChannelClosed, Unanswered: see `Caller`.
    """
    if caller.defers:
        return await caller.park(method, params, limit)
    async with asyncio.timeout(limit):
        return await caller.ask(method, params)


def available(request: InputRequest) -> Caller:
    """Return the client that can be asked this question, before anything leaves for it.

    Raises:
        LegEnded: there is none, it lacks a capability, or it was asked often enough.
    """
    if request.call is None:
        _unavailable("the question belongs to no call, so there is no client to ask")
    caller = request.call.caller
    lacking = capability.missing(request, caller.profile)
    if lacking is not None:
        _unavailable(lacking)
    if request.asked >= MAX_RETRIES:
        reason = f"the client retried {request.asked} times without answering"
        raise LegEnded(Outcome.FAILED, reason, code=codes.TIMEOUT)
    return caller


def read_answer(request: InputRequest, result: Json) -> Answer:
    """Take a client's result, whether it came at once or with a retry of its call.

    Raises:
        LegEnded: it is a decline or a cancel (final, with the result), or unusable (failed).
    """
    if request.method == "elicitation/create":
        _check_elicitation(request.params, result)
    elif request.method == "sampling/createMessage":
        _check_sampling(result)
    model = result.get("model")
    return Answer("client", result, model=model if isinstance(model, str) else None)


def _check_elicitation(params: Json, result: Json) -> None:
    outcome = outcomes.of_elicitation_action(result.get("action"))
    if outcome is Outcome.FAILED:
        _invalid("the client's result has no action that the protocol knows")
    if outcomes.is_final(outcome):
        word = "declined" if outcome is Outcome.DECLINED else "dismissed the question"
        raise LegEnded(outcome, f"the user {word}", result=result)
    if params.get("mode", "form") == "form":
        _check_form(params.get("requestedSchema"), result.get("content", {}))


def _check_form(schema: object, content: object) -> None:
    if not isinstance(content, dict):
        _invalid("the client accepted, but its content is not an object")
    if not isinstance(schema, dict):
        return
    form, values = cast("Json", schema), cast("Json", content)
    required: object = form.get("required")
    names = cast("list[object]", required) if isinstance(required, list) else []
    # Some clients send null for a field left empty; only a required one must have a value.
    filled = {key: value for key, value in values.items() if value is not None or key in names}
    try:
        # Formats are annotations here: what a person typed is not thrown away over one.
        wrong = violation(form, filled, formats=False)
    except Unverifiable:
        # The schema's fault, not the client's: the server judges the answer itself.
        return
    if wrong is not None:
        _invalid(f"the client's content does not satisfy the requested schema: {wrong.rule}")


def _check_sampling(result: Json) -> None:
    if result.get("role") not in ("user", "assistant"):
        _invalid("the client's result has no valid role")
    if not isinstance(result.get("model"), str):
        _invalid("the client's result does not name the model")
    content = result.get("content")
    blocks = cast("list[object]", content) if isinstance(content, list) else [content]
    for block in blocks:
        if not isinstance(block, dict) or not isinstance(cast("Json", block).get("type"), str):
            _invalid("the client's result has no valid content")


def _end_with_error(error: PeerError) -> NoReturn:
    outcome = outcomes.of_client_error(error.code)
    words = error.message[:_MAX_WORDS]
    if outcome is Outcome.REJECTED:
        raise LegEnded(outcome, words) from error
    if outcome is Outcome.UNAVAILABLE:
        reason = f"the client does not serve this request: {words}"
        raise LegEnded(outcome, reason, code=codes.CONTEXT_MISSING) from error
    reason = f"the client answered with error {error.code}: {words}"
    raise LegEnded(outcome, reason, code=codes.UNKNOWN) from error


def _unavailable(reason: str) -> NoReturn:
    raise LegEnded(Outcome.UNAVAILABLE, reason, code=codes.CONTEXT_MISSING)


def _invalid(reason: str) -> NoReturn:
    raise LegEnded(Outcome.FAILED, reason, code=codes.INVALID_ANSWER)
