"""`backchannel doctor`: connect every server, ask every provider, and say what to mend."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from gateway.cli.common import DEFAULT_CONFIG, ConfigOption, load_config, warn

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from gateway.app import Gateway
    from gateway.config.resolved import GatewayConfig
    from gateway.llm.probe import Probe
    from gateway.policy.model import Kind

_LIMIT = 45.0
"""Seconds for servers to connect before the doctor reports them as they are."""
_TICK, _CROSS = "[green]✓[/green]", "[red]✗[/red]"


def doctor(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Connect everything once and report; exit status 1 if something is broken."""
    loaded = load_config(config, {"logging.level": "error"})
    warn(loaded)
    from gateway.observability.logging import configure

    configure(loaded.logging)
    if not asyncio.run(_examine(loaded)):
        raise typer.Exit(1)


async def _examine(config: GatewayConfig) -> bool:
    from rich.console import Console

    from gateway.app import Gateway

    console = Console(soft_wrap=True)
    gateway = Gateway(config)
    async with gateway.running():
        probes = await _probes(gateway)
        await gateway.fleet.settled(_LIMIT)
        console.print(_servers(gateway))
        console.print(_providers(probes))
        console.print(_meanings(config))
        sound = _clashes(gateway, console)
        broken = [server for server in gateway.servers() if server.state != "up"]
        for server in broken:
            console.print(f"{_CROSS} fix server '{server.name}': {server.reason}", highlight=False)
        for failed in (one for one in probes if not one.ok):
            console.print(
                f"{_CROSS} fix provider {failed.provider} {failed.model}: {failed.detail}", highlight=False
            )
    return sound and not broken and all(one.ok for one in probes)


async def _probes(gateway: Gateway) -> Sequence[Probe]:
    """Ask each provider once, also if both kinds use it."""
    from gateway.llm.probe import probe

    found = [one for chain in gateway.chains() for one in await probe(chain)]
    return list({(one.provider, one.model): one for one in found}.values())


def _servers(gateway: Gateway) -> Table:
    from rich.table import Table

    table = Table(title="Servers", title_justify="left")
    for heading in ("", "server", "transport", "era", "tools", "prompts", "resources", "state"):
        table.add_column(heading)
    for server in gateway.servers():
        up = server.state == "up"
        counts = (str(server.tools), str(server.prompts), str(server.resources)) if up else ("", "", "")
        version = f"{server.era} {server.protocol_version}" if server.era else ""
        state = server.state if up else f"{server.state}: {server.reason}"
        table.add_row(_TICK if up else _CROSS, server.name, server.transport, version, *counts, state)
    return table


def _providers(probes: Sequence[Probe]) -> Table:
    from rich.table import Table

    table = Table(title="LLM providers", title_justify="left")
    for heading in ("", "provider", "model", "seconds", "answer"):
        table.add_column(heading)
    for one in probes:
        table.add_row(_TICK if one.ok else _CROSS, one.provider, one.model, f"{one.seconds:.1f}", one.detail)
    if not probes:
        table.add_row(
            "–", "none", "", "", "only clients can answer; set sampling.llm_config for an LLM of your own"
        )
    return table


def _meanings(config: GatewayConfig) -> Table:
    """Say for each server what a client must be able to do, by policy without a tool's own rules."""
    from rich.table import Table

    table = Table(title="What a client needs", title_justify="left")
    for heading in ("server", "sampling", "elicitation"):
        table.add_column(heading)
    for server in config.servers:
        table.add_row(
            server.name, _need(config, server.name, "sampling"), _need(config, server.name, "elicitation")
        )
    return table


def _need(config: GatewayConfig, server: str, kind: Kind) -> str:
    from gateway.policy.model import Facts, Refusal
    from gateway.policy.outcomes import legs
    from gateway.policy.resolve import resolve

    route = resolve(config.policy, Facts(kind, server))
    if isinstance(route, Refusal):
        return f"off ({route.reason})"
    order = legs(route.strategy, fallback_to_llm=route.fallback_to_llm)
    chain = config.sampling_llm if kind == "sampling" else config.elicitation_llm
    if "llm" in order and not chain.providers:
        order = tuple(leg for leg in order if leg != "llm")
    if not order:
        return "[red]nobody can answer: no LLM is configured[/red]"
    if order == ("llm",):
        return "nothing: the LLM answers"
    if order == ("client",):
        return f"the {kind} capability: only the client answers"
    first = (
        "the LLM answers first, the client if it fails" if order[0] == "llm" else "asked first, else the LLM"
    )
    return f"helpful, not needed: {first}"


def _clashes(gateway: Gateway, console: Console) -> bool:
    clashes = gateway.fleet.catalog.clashes()
    for clash in clashes:
        console.print(f"{_CROSS} {clash}", highlight=False)
    return not clashes
