"""Who pays for what the LLM does for an input request."""

from __future__ import annotations

from gateway.answers.model import KIND_OF, InputRequest
from gateway.llm.port import Account, Llm
from gateway.policy.model import LevelName, Route, Spent


class Unmetered:
    """A `Meter` that counts nothing, for those who have no costs."""

    def charged(self, llm: Llm, account: Account) -> Llm:
        """See `Meter.charged`."""
        del account
        return llm

    def spent(self, account: Account) -> Spent:
        """See `Meter.spent`."""
        del account
        return Spent()


def account_of(request: InputRequest, route: Route | None = None) -> Account:
    """Return whose account a request goes to; which level decided is known once there is a route."""
    level: LevelName | None = route.level if route is not None else None
    kind, call = KIND_OF[request.method], request.call
    if call is None:
        return Account(kind, request.server, level=level)
    identity = call.caller.identity
    return Account(
        kind,
        request.server,
        tool=call.tool,
        client=identity.name or None,
        principal=identity.principal,
        call=call.number,
        level=level,
    )
