"""Which capability bit a question needs of the client that is to answer it."""

from __future__ import annotations

from gateway.answers.model import InputRequest
from gateway.calls.model import Capability, Profile


def missing(request: InputRequest, profile: Profile) -> str | None:
    """Say which declared capability a client lacks for this question, or None if it lacks none."""
    for needed in _needed(request):
        if needed not in profile:
            return f"the client did not declare the capability '{needed}'"
    mode = request.params.get("mode", "form")
    if request.method == "elicitation/create" and mode not in ("form", "url"):
        return "the client cannot be asked in an elicitation mode that the protocol does not define"
    return None


def _needed(request: InputRequest) -> tuple[Capability, ...]:
    if request.method == "roots/list":
        return ("roots",)
    if request.method == "elicitation/create":
        return ("elicitation.url",) if request.params.get("mode") == "url" else ("elicitation.form",)
    with_tools = request.params.get("tools") or request.params.get("toolChoice")
    return ("sampling", "sampling.tools") if with_tools else ("sampling",)
