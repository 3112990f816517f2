"""What is declared to a server for a caller, and which calls may share a lane. Pure.

Declared is what can be met for that caller, never more (a call would break half-way) and
never less (the server's feature would be off).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass

from gateway.calls.model import Caller, Capability, Extra, Profile
from gateway.config.resolved import ServerConfig
from gateway.policy.model import KINDS, Case, Facts, Kind, Policy, Strategy
from gateway.policy.outcomes import LegName, legs
from gateway.policy.resolve import chosen, possible
from gateway.upstream.extensions import Extensions
from gateway.upstream.port import Era

_BITS: Mapping[Kind, frozenset[Capability]] = {
    "sampling": frozenset({"sampling", "sampling.tools", "sampling.context"}),
    "elicitation": frozenset({"elicitation.form", "elicitation.url"}),
}
_PARENT: Mapping[Kind, frozenset[Capability]] = {
    # A sub-capability of sampling means nothing without sampling itself.
    "sampling": frozenset({"sampling"}),
    "elicitation": frozenset({"elicitation.form", "elicitation.url"}),
}
_LLM_BIT: Mapping[Kind, Capability] = {"sampling": "sampling", "elicitation": "elicitation.form"}
"""What the gateway's LLM can meet: never a conversation's context, never a URL."""
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class LaneKey:
    """What calls must have in common to share a lane of a server that does not attribute.

    `party` is whose answers the calls' questions get (see `Profiles.party`; None: nobody's in
    particular). `routes` is how each kind is answered; where it comes from in the
    configuration is left out, so that two tools with the same strategy may share a lane. Where a
    strategy depends on who calls which tool, that is in it too.
    `alone` is the call's own number where its questions would have to be parked: it shares
    with none, since it may keep its lane for as long as a person thinks.
    """

    party: str | None
    profile: Profile
    routes: tuple[Hashable, ...] = ()
    alone: int | None = None


_NOTHING = LaneKey(None, frozenset())
"""Of calls that can be asked nothing: whose they are makes no difference."""
_MOST_DECLARED = 4096


class Profiles:
    """The questions each server may ask, by policy. Holds nothing but memoised pure results.

    `llm_kinds` are the kinds for which a provider is configured: without one the LLM leg
    cannot be met, whatever policy says. `llm_tools` says that one for sampling can call tools.
    """

    def __init__(
        self,
        policy: Policy,
        servers: Mapping[str, ServerConfig],
        llm_kinds: Collection[Kind] = KINDS,
        *,
        llm_tools: bool = False,
    ) -> None:
        self.extensions = Extensions(servers)
        self._policy = policy
        self._servers = servers
        self._llm_kinds = frozenset(llm_kinds)
        self._llm_tools = llm_tools
        self._possible: dict[tuple[Kind, str], frozenset[LegName]] = {}
        self._legs: dict[tuple[Kind, str, str | None], frozenset[LegName]] = {}
        self._routes: dict[tuple[Kind, str, str | None], _Routes] = {}
        self._bases: dict[str, Profile] = {}
        self._declared: dict[tuple[str, Profile, bool], Profile] = {}
        self._seen = 0

    def base(self, server: str) -> Profile:
        """Return what the LLM alone can meet for a server: the profile of its control lane."""
        known = self._bases.get(server)
        if known is None:
            kinds: list[Kind] = [kind for kind in KINDS if "llm" in self._legs_of_server(kind, server)]
            bits: set[Capability] = {_LLM_BIT[kind] for kind in kinds}
            if self._llm_tools and "sampling" in bits:
                bits.add("sampling.tools")
            known = self._bases[server] = frozenset(bits)
        return known

    def declared(self, server: str, era: Era, caller: Caller) -> Profile:
        """Return what can be met when `caller` calls `server`.

        Roots are the client's alone: a handshake server asks for them at any time and remembers
        them, so they are declared only on a lane that is the client's own.
        """
        own = "roots" in caller.profile and (era == "modern" or self._has_own_lane(server, caller))
        slot = (server, caller.profile, own)
        known = self._declared.get(slot)
        if known is None or self._seen != self.extensions.learnt:
            if self._seen != self.extensions.learnt or len(self._declared) >= _MOST_DECLARED:
                self._declared.clear()
                self._seen = self.extensions.learnt
            known = self._declared[slot] = self._declare(server, caller, roots=own)
        return known

    def _declare(self, server: str, caller: Caller, *, roots: bool) -> Profile:
        bits: set[Capability | Extra] = set(self.base(server))
        for kind in KINDS:
            offered = caller.profile & _BITS[kind]
            if "client" in self._legs_of_server(kind, server) and offered & _PARENT[kind]:
                bits |= offered
        if roots:
            bits.add("roots")
        return frozenset(bits).union(self.extensions.declared(server, caller.profile))

    def _has_own_lane(self, server: str, caller: Caller) -> bool:
        """Whether a handshake server's lane for this caller serves nobody else, ever.

        A client without a session is told apart by its principal; one without either has a
        lane of its own only where every call has.
        """
        isolation = self._servers[server].isolation
        if isolation == "session":
            return caller.identity.session is not None or caller.identity.principal is not None
        return isolation == "call" and caller.defers

    def pin(self, server: str, era: Era, caller: Caller) -> str | None:
        """Return the identity key that a lane for this caller belongs to, or None for no one's."""
        identity = caller.identity
        pinned = self._servers[server].isolation == "session" and era == "handshake"
        return identity.key if pinned and identity.session is not None else None

    def key(self, server: str, era: Era, caller: Caller, tool: str | None) -> LaneKey:
        """Return the lane key of a call; `tool` is the exposed name, None for other calls."""
        profile = self.declared(server, era, caller)
        if not profile:
            return _NOTHING
        kinds: list[Kind] = [kind for kind in KINDS if profile & _PARENT[kind]]
        routes = tuple(self._route(kind, server, tool, caller) for kind in kinds)
        party = self._party(profile, server, caller, tool)
        alone = next(_numbers) if self._parks(profile, server, era, caller, tool) else None
        return LaneKey(party, profile, routes, alone)

    def party(self, server: str, era: Era, caller: Caller, tool: str | None) -> str | None:
        """Return on whose behalf the questions of a call are answered.

        The client itself, where a question can reach it, or where the LLM may fill in a form
        from the call's own arguments; the principal, where the LLM samples on its account;
        None where nothing can be asked.
        """
        return self._party(self.declared(server, era, caller), server, caller, tool)

    def _party(self, profile: Profile, server: str, caller: Caller, tool: str | None) -> str | None:
        client = f"client:{caller.identity.key}"
        if "roots" in profile:
            return client
        principal: str | None = None
        for kind in KINDS:
            if not profile & _PARENT[kind]:
                continue
            possible = self._legs_of_call(kind, server, tool)
            reaches = "client" in possible and caller.profile & _PARENT[kind]
            if reaches or ("llm" in possible and kind == "elicitation"):
                return client
            if "llm" in possible:
                principal = f"principal:{caller.identity.principal or ''}"
        return principal

    def parks(self, server: str, era: Era, caller: Caller, tool: str | None) -> bool:
        """Whether a question of a call may have to wait for a retry while the server waits."""
        return self._parks(self.declared(server, era, caller), server, era, caller, tool)

    def _parks(self, profile: Profile, server: str, era: Era, caller: Caller, tool: str | None) -> bool:
        """Whether a question of this call may have to wait for a retry while the server waits."""
        if era == "modern" or not caller.defers:
            return False
        return "roots" in profile or any(
            "client" in self._legs_of_call(kind, server, tool) and caller.profile & _PARENT[kind]
            for kind in KINDS
        )

    def _legs_of_server(self, kind: Kind, server: str) -> frozenset[LegName]:
        """Return the legs that some call of the server may use."""
        known = self._possible.get((kind, server))
        if known is None:
            policy = self._policy.of(kind)
            own = [tool for tool in policy.tools if server in policy.tool_servers.get(tool, (server,))]
            known = frozenset[LegName]().union(
                *(self._legs_of_call(kind, server, tool) for tool in (None, *own))
            )
            self._possible[kind, server] = known
        return known

    def _legs_of_call(self, kind: Kind, server: str, tool: str | None) -> frozenset[LegName]:
        """Return the legs that a call of this tool may use."""
        slot = (kind, server, self._configured(kind, tool))
        known = self._legs.get(slot)
        if known is None:
            found: set[LegName] = set()
            for route in possible(self._policy, Facts(*slot)):
                found.update(legs(route.strategy, fallback_to_llm=route.fallback_to_llm))
            if kind not in self._llm_kinds:
                found.discard("llm")
            known = self._legs[slot] = frozenset(found)
        return known

    def _route(self, kind: Kind, server: str, tool: str | None, caller: Caller) -> Hashable:
        """Return all that decides how a question of this call is answered, but for the question itself."""
        slot = (kind, server, self._configured(kind, tool))
        known = self._routes.get(slot)
        if known is None:
            known = self._routes[slot] = _routes(self._policy, Facts(*slot))
        told_apart = (
            tool if known.by_tool else None,
            caller.identity.name if known.by_client else None,
            caller.identity.principal if known.by_principal else None,
        )
        return (*known.limits, known.choice, *told_apart)

    def _configured(self, kind: Kind, tool: str | None) -> str | None:
        """Return the tool if the configuration names it: the memo stays as small as the configuration."""
        return tool if tool in self._policy.of(kind).tools else None


@dataclass(frozen=True, slots=True)
class _Routes:
    """What calls have in common whose questions get the same routes, and what else tells them apart.

    What a condition asks of the moment or of the question is the same for whatever call the question
    is taken to belong to; what it asks of the tool or the caller is not.
    """

    choice: Strategy | tuple[Case, ...] | None = None
    limits: tuple[Hashable, ...] = ()
    by_tool: bool = False
    by_client: bool = False
    by_principal: bool = False


def _routes(policy: Policy, facts: Facts) -> _Routes:
    routes = possible(policy, facts)
    if not routes:
        return _Routes()
    one, choice = routes[0], chosen(policy, facts)
    conditions = (
        [] if isinstance(choice, Strategy) else [case.when for case in choice if case.when is not None]
    )
    return _Routes(
        choice,
        (one.fallback_to_llm, one.client_timeout, one.llm_timeout, one.max_attempts),
        by_tool=any(condition.annotations for condition in conditions),
        by_client=any(condition.client for condition in conditions),
        by_principal=any(condition.principal for condition in conditions),
    )
