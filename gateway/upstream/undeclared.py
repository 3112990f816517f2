"""A server asks a call's client for roots on a connection to which none were declared."""

from __future__ import annotations

from gateway.calls.model import Asked, Json, LaterAnswer, Scope
from gateway.errors import QuestionRefused


class WithoutRoots:
    """The scope of a call whose connection serves other clients too: it answers all but `roots/list`.

    The question would reach the right client, but a handshake-era server remembers what it is
    told for as long as its connection lives, and the next call there is another client's.
    """

    def __init__(self, server: str, scope: Scope) -> None:
        self._server = server
        self._scope = scope

    async def question(self, asked: Asked, *, deferrable: bool) -> Json | LaterAnswer:
        """See `Scope.question`; raises QuestionRefused for `roots/list`."""
        if asked.method == "roots/list":
            raise QuestionRefused(f"roots was not declared to server '{self._server}' on this connection")
        return await self._scope.question(asked, deferrable=deferrable)

    def notification(self, method: str, params: Json) -> None:
        """See `Scope.notification`."""
        self._scope.notification(method, params)
