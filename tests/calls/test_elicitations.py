"""Which client was shown which URL elicitation: bounded, each server's ids its own."""

from __future__ import annotations

from typing import Any

from gateway.calls.elicitations import COMPLETE, Elicitations
from gateway.calls.model import Call, Identity, Nobody

Told = list[tuple[str, Any]]


class Client(Nobody):
    """A caller that notes what it is told while its call runs."""

    def __init__(self, key: str, session: str | None = "session") -> None:
        self.identity = Identity(key, None, session)
        self.told: Told = []

    def notify(self, method: str, params: dict[str, Any]) -> None:
        self.told.append((method, params["elicitationId"]))


def noting(told: Told, **bounds: int) -> Elicitations:
    return Elicitations(lambda who, _, params: told.append((who.key, params["elicitationId"])), **bounds)


def call(client: Client, server: str = "s") -> Call:
    return Call("tools/call", {}, client, server, "t")


def test_a_completion_goes_to_the_running_call_and_later_to_its_session() -> None:
    told: Told = []
    seen, client = noting(told), Client("ann")
    running = call(client)
    seen.shown(running, {"elicitationId": "e"})
    seen.completed("s", {"elicitationId": "e"})
    seen.over(running)
    seen.completed("s", {"elicitationId": "e"})
    assert (client.told, told) == ([(COMPLETE, "e")], [("ann", "e")])


def test_no_server_completes_anothers_elicitation_or_one_that_was_never_shown() -> None:
    told: Told = []
    seen, client = noting(told), Client("ann")
    seen.shown(call(client), {"elicitationId": "e"})
    seen.shown(call(client), {"elicitationId": 7})
    for server, name in (("other", "e"), ("s", "f"), ("s", None), ("s", 7)):
        seen.completed(server, {"elicitationId": name})
    seen.completed("s", {})
    assert (client.told, told) == ([], [])


def test_for_a_client_without_a_session_it_ends_here() -> None:
    told: Told = []
    seen, client = noting(told), Client("request-1", None)
    seen.shown(call(client), {"elicitationId": "e"})
    seen.completed("s", {"elicitationId": "e"})
    assert (client.told, told) == ([], [])


def test_the_oldest_are_forgotten_beyond_the_bound_and_one_shown_again_is_not_old() -> None:
    told: Told = []
    seen, client = noting(told, kept=2), Client("ann")
    for name in ("a", "b", "a", "c"):
        running = call(client)
        seen.shown(running, {"elicitationId": name})
        seen.over(running)
    for name in ("a", "b", "c"):
        seen.completed("s", {"elicitationId": name})
    assert told == [("ann", "a"), ("ann", "c")]
    assert repr(seen) == "<Elicitations 2 seen, 0 of calls in flight>"
