"""What policy means for a server and its clients, in words. Asks nobody and starts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from gateway.calls.model import Capability, Identity, Nobody, Profile
from gateway.llm.registry import calls_tools
from gateway.policy.model import KINDS, Facts, Kind, Refusal, Strategy
from gateway.policy.outcomes import LegName, legs
from gateway.policy.resolve import chosen, resolve
from gateway.upstream.profiles import Profiles

if TYPE_CHECKING:
    from gateway.config.resolved import GatewayConfig, LlmConfig
    from gateway.upstream.port import Era

_EVERYTHING: Profile = frozenset(get_args(Capability))
PARKED = "* a 2026-07-28 client answers by calling again; until then its call holds a connection of its own"
"""The footnote of what `need` marks with ``*``."""


class _Client(Nobody):
    """A client as policy sees it: what it declared, and whether it can be asked at any time."""

    def __init__(self, profile: Profile) -> None:
        self.identity = Identity("client", session="client")
        self.profile = profile
        self.defers = False


def chain(config: GatewayConfig, kind: Kind) -> LlmConfig:
    """Return the LLM providers for one kind."""
    return config.sampling_llm if kind == "sampling" else config.elicitation_llm


def declared(config: GatewayConfig, server: str, kind: Kind, *, able: bool) -> list[str]:
    """Return what a server is told it may ask of this kind, for a client that can do all of it or none."""
    kinds: list[Kind] = [one for one in KINDS if chain(config, one).providers]
    servers = {one.name: one for one in config.servers}
    profiles = Profiles(config.policy, servers, kinds, llm_tools=calls_tools(config.sampling_llm))
    bits = profiles.declared(server, "handshake", _Client(_EVERYTHING if able else frozenset()))
    return sorted(bit for bit in bits if isinstance(bit, str) and bit.startswith(kind))


def answerers(config: GatewayConfig, facts: Facts) -> tuple[LegName, ...]:
    """Return who is tried, in order; the LLM only if one is configured. Empty if nobody is."""
    route = resolve(config.policy, facts)
    if isinstance(route, Refusal):
        return ()
    order = legs(route.strategy, fallback_to_llm=route.fallback_to_llm)
    return tuple(leg for leg in order if leg == "client" or chain(config, facts.kind).providers)


def need(config: GatewayConfig, server: str, capability: Capability, era: Era | None) -> str:
    """Say what a client's capability is for, with this server; `PARKED` explains a ``*``."""
    asked_at_once = " *" if era == "handshake" else ""
    if capability == "roots":
        return f"only the client answers; without it the server sees no roots{asked_at_once}"
    kind: Kind = "elicitation" if capability.startswith("elicitation") else "sampling"
    off = resolve(config.policy, Facts(kind, server))
    if isinstance(off, Refusal):
        return f"off: {off.reason}"
    if not isinstance(chosen(config.policy, Facts(kind, server)), Strategy):
        return f"depends on the circumstances: see `backchannel explain`{asked_at_once}"
    order = answerers(config, Facts(kind, server))
    if capability == "elicitation.url":
        order = ("client",) if "client" in order else ()
    return _words(order, asked_at_once) + _exceptions(config, server, kind)


def _words(order: tuple[LegName, ...], asked_at_once: str) -> str:
    if not order:
        return "nobody can answer"
    if order == ("llm",):
        return "the LLM answers, client not needed"
    if order == ("client",):
        return f"only the client answers, so it must support it{asked_at_once}"
    if order[0] == "llm":
        return f"the LLM answers; if it fails, a client that supports it{asked_at_once}"
    return f"a client that supports it answers, else the LLM{asked_at_once}"


def _exceptions(config: GatewayConfig, server: str, kind: Kind) -> str:
    """Name the tools that have an entry of their own."""
    policy = config.policy.of(kind)
    tools = [
        tool
        for tool, layer in policy.tools.items()
        if layer.strategy is not None and server in policy.tool_servers.get(tool, (server,))
    ]
    return f" ({', '.join(tools)}: see `backchannel explain`)" if tools else ""
