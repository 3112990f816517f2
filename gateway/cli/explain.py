"""`backchannel explain`: who would answer a server's question, and why, without running anything."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import DEFAULT_CONFIG, ConfigOption, fail, load_config

if TYPE_CHECKING:
    from gateway.config.resolved import GatewayConfig, ServerConfig
    from gateway.policy.model import Kind, Route


def explain(
    server: Annotated[str, typer.Option("--server", "-s", help="The asking server's name.")],
    config: ConfigOption = DEFAULT_CONFIG,
    tool: Annotated[
        str | None, typer.Option("--tool", "-t", help="The tool that asks, under either name.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="sampling or elicitation; both by default.")] = None,
) -> None:
    """Print every level, what it says and where, the winner, and the limits."""
    from gateway.policy.explain import explain as lines
    from gateway.policy.model import Facts, Route
    from gateway.policy.resolve import resolve

    loaded = load_config(config)
    asking = _find(loaded, server)
    exposed = None if tool is None else _exposed(asking, tool)
    for one in _kinds(kind):
        facts = Facts(one, asking.name, exposed)
        route = resolve(loaded.policy, facts)
        print("\n".join(lines(facts, route)))
        if isinstance(route, Route):
            print("\n".join(_circumstances(loaded, asking, route)))


def _circumstances(config: GatewayConfig, server: ServerConfig, route: Route) -> Iterator[str]:
    """Say which LLM there is, and what the server is told that it may ask."""
    from gateway.cli.meaning import chain, declared
    from gateway.policy.outcomes import legs

    kind = route.kind
    if "llm" in legs(route.strategy, fallback_to_llm=route.fallback_to_llm):
        providers = [f"{one.provider} (model {one.model})" for one in chain(config, kind).providers]
        none = f"none is configured, so its leg is unavailable; set {kind}.llm_config"
        yield f"  the gateway's LLM: {', then '.join(providers) or none}"
    for able, client in ((False, f"without {kind}"), (True, f"with all of {kind}")):
        bits = ", ".join(declared(config, server.name, kind, able=able)) or "nothing"
        yield f"  declared to {server.name} for a client {client}: {bits}"
    if server.era != "modern":
        yield f"  if {server.name} is of the handshake era, a 2026-07-28 client's call waits for it there,"
        yield "  on a connection of its own, until the client calls again with the answer"


def _kinds(kind: str | None) -> Sequence[Kind]:
    from gateway.policy.model import KINDS

    chosen: list[Kind] = [one for one in KINDS if kind in (None, one)]
    if not chosen:
        fail(f"--kind must be sampling or elicitation, not '{kind}'")
    return chosen


def _find(config: GatewayConfig, name: str) -> ServerConfig:
    by_name = {server.name: server for server in config.servers}
    if name not in by_name:
        close = difflib.get_close_matches(name, by_name, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else f"; configured: {', '.join(by_name) or 'none'}"
        fail(f"no server is called '{name}'{hint}")
    return by_name[name]


def _exposed(server: ServerConfig, tool: str) -> str:
    """Take a tool's exposed name or the server's own; policy knows the exposed one."""
    return tool if tool.startswith(server.prefix) else f"{server.prefix}{tool}"
