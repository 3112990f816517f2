"""`backchannel explain`: who would answer a server's question, and why, without running anything."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from gateway.cli.common import DEFAULT_CONFIG, ConfigOption, fail, load_config

if TYPE_CHECKING:
    from gateway.config.resolved import GatewayConfig, ServerConfig
    from gateway.policy.budgets import Budgets
    from gateway.policy.model import Facts, Kind, Route


def explain(
    server: Annotated[str, typer.Option("--server", "-s", help="The asking server's name.")],
    config: ConfigOption = DEFAULT_CONFIG,
    tool: Annotated[
        str | None, typer.Option("--tool", "-t", help="The tool that asks, under either name.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="sampling or elicitation; both by default.")] = None,
    at: Annotated[
        str | None, typer.Option(help="When: 2026-07-28T23:30+02:00; without an offset, UTC.")
    ] = None,
    client: Annotated[str | None, typer.Option(help="What the client calls itself.")] = None,
    principal: Annotated[str | None, typer.Option(help="Whose key it brings.")] = None,
    hint: Annotated[list[str] | None, typer.Option(help="A model hint; may be repeated.")] = None,
    characters: Annotated[int | None, typer.Option(min=0, help="Length of the request's text.")] = None,
    annotation: Annotated[
        list[str] | None, typer.Option(help="Of the tool: readOnlyHint=true; may be repeated.")
    ] = None,
    spent_usd: Annotated[float, typer.Option(min=0, help="US dollars spent today.")] = 0.0,
    spent_tokens: Annotated[int, typer.Option(min=0, help="Tokens spent today.")] = 0,
    spent_fraction: Annotated[float, typer.Option(min=0, help="Part of the budget spent; 1 is all.")] = 0.0,
    in_flight: Annotated[int, typer.Option(min=0, help="The server's other questions in flight.")] = 0,
    queued: Annotated[int, typer.Option(min=0, help="Requests that wait for the LLM.")] = 0,
) -> None:
    """Print every level, what it says and where, the winner, and the limits.

    The options after --kind are what conditions (`when … use …`) look at.
    """
    from gateway.policy.explain import explain as lines
    from gateway.policy.model import Facts, Route, Spent
    from gateway.policy.resolve import resolve

    loaded = load_config(config)
    asking = _find(loaded, server)
    exposed = None if tool is None else _exposed(asking, tool)
    for one in _kinds(kind):
        facts = Facts(
            one,
            asking.name,
            exposed,
            now=_moment(at),
            client=client,
            principal=principal,
            hints=tuple(hint or ()),
            characters=characters,
            annotations=_annotations(annotation),
            spent=Spent(spent_fraction, spent_usd, spent_tokens),
            in_flight=in_flight,
            queued=queued,
        )
        route = resolve(loaded.policy, facts)
        print("\n".join(lines(facts, route)))
        if isinstance(route, Route):
            print("\n".join(_circumstances(loaded, asking, facts, route)))


def _circumstances(config: GatewayConfig, server: ServerConfig, facts: Facts, route: Route) -> Iterator[str]:
    """Say which LLM there is and what it may cost, and what the server is told that it may ask."""
    from gateway.cli.meaning import chain, declared
    from gateway.policy.outcomes import legs

    kind = route.kind
    if "llm" in legs(route.strategy, fallback_to_llm=route.fallback_to_llm):
        providers = [f"{one.provider} (model {one.model})" for one in chain(config, kind).providers]
        none = f"none is configured, so its leg is unavailable; set {kind}.llm_config"
        yield f"  the gateway's LLM: {', then '.join(providers) or none}"
        yield from _budgets(config.costs.budgets, facts, route)
    for able, client in ((False, f"without {kind}"), (True, f"with all of {kind}")):
        bits = ", ".join(declared(config, server.name, kind, able=able)) or "nothing"
        yield f"  declared to {server.name} for a client {client}: {bits}"
    if server.era != "modern":
        yield f"  if {server.name} is of the handshake era, a 2026-07-28 client's call waits for it there,"
        yield "  on a connection of its own, until the client calls again with the answer"


def _budgets(budgets: Budgets, facts: Facts, route: Route) -> Iterator[str]:
    """Say what may be spent on an answer: all the budgets that it has to fit in."""
    held = budgets.applying(
        facts.kind, facts.server, tool=facts.tool, level=route.level, principal=facts.principal
    )
    for scope, rule in held:
        yield f"  budget of {scope}: {rule} ({rule.source})"
    if facts.principal is None and budgets.principals:
        yield f"  with a key of {', '.join(budgets.principals)}: that principal's budget (--principal)"


def _kinds(kind: str | None) -> Sequence[Kind]:
    from gateway.policy.model import KINDS

    chosen: list[Kind] = [one for one in KINDS if kind in (None, one)]
    if not chosen:
        fail(f"--kind must be sampling or elicitation, not '{kind}'")
    return chosen


def _moment(at: str | None) -> datetime:
    if at is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        fail(f"--at must be a date and a time, as in 2026-07-28T23:30+02:00, not '{at}'")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _annotations(given: list[str] | None) -> tuple[tuple[str, bool], ...] | None:
    """Read what is said of the tool; None where nothing is, since then it is not known."""
    from gateway.policy.model import Hint

    if given is None:
        return None
    read: list[tuple[str, bool]] = []
    for text in given:
        name, _, value = text.partition("=")
        if name not in get_args(Hint) or value not in ("true", "false"):
            fail(
                f"--annotation must be one of {', '.join(get_args(Hint))}, and =true or =false, not '{text}'"
            )
        read.append((name, value == "true"))
    return tuple(read)


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
