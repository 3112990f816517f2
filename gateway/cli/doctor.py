"""`backchannel doctor`: connect every server, ask every provider, and say what to mend."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from gateway.cli.common import DEFAULT_CONFIG, ConfigOption, counted, load_config, warn

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from gateway.app import Gateway
    from gateway.calls.model import Capability
    from gateway.llm.probe import Probe
    from gateway.policy.model import Source
    from gateway.upstream.events import ServerStatus

_LIMIT = 45.0
"""Seconds for servers to connect before the doctor reports them as they are."""
_WIDTH = 130
"""Columns of the report where it goes into a file or a pipe."""
_TICK, _CROSS, _NOTE = "[green]✓[/green]", "[red]✗[/red]", "[yellow]![/yellow]"
_ADVICE = {
    True: "run its command by hand, or correct it",
    False: "start what serves it, or correct its url",
}
_CAPABILITIES: tuple[tuple[Capability, str], ...] = (
    ("sampling", "sampling"),
    ("elicitation.form", "elicitation, form"),
    ("elicitation.url", "elicitation, url"),
    ("roots", "roots"),
)


def doctor(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Connect everything once and report; exit status 1 if something is broken."""
    loaded = load_config(config, {"logging.level": "error"})
    warn(loaded)
    from gateway.app import Gateway
    from gateway.observability.logging import configure

    configure(loaded.logging)
    if not asyncio.run(_examine(Gateway(loaded))):
        raise typer.Exit(1)


async def _examine(gateway: Gateway) -> bool:
    from rich.console import Console

    from gateway.cli.meaning import PARKED
    from gateway.cli.running import circuits

    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH
    async with gateway.running():
        with console.status("connecting servers and asking providers…"):
            probes, _ = await asyncio.gather(_probes(gateway), gateway.fleet.settled(_LIMIT))
        http = gateway.config.http
        notes = [*await _notes(gateway), *await circuits(f"http://{http.host}:{http.port}")]
        servers = gateway.servers()
    for table in (_servers(servers), _providers(probes), _clients(gateway, servers)):
        console.print(table)
    if any(server.era == "handshake" for server in servers):
        console.print(f"{PARKED}\n", soft_wrap=True)
    places = {server.name: server.source for server in gateway.config.servers}
    return _diagnose(console, servers, places, probes, notes)


async def _probes(gateway: Gateway) -> Sequence[Probe]:
    """Ask each provider once, also if both kinds use it."""
    from gateway.llm.probe import probe

    found = await asyncio.gather(*(probe(chain) for chain in gateway.chains()))
    return list({(one.provider, one.model): one for chain in found for one in chain}.values())


async def _notes(gateway: Gateway) -> list[str]:
    """Return what is odd about the listings: what is hidden, and patterns and entries that match nothing."""
    from gateway.calls.model import Nobody
    from gateway.capabilities.registry import unmatched, warning

    tools = [tool["name"] for tool in (await gateway.fleet.catalog.view(Nobody())).tools]
    up = {server.name for server in gateway.servers() if server.state == "up"}
    entries = [
        one for one in unmatched(gateway.config.tools, tools) if one.server is None or one.server in up
    ]
    catalog = gateway.fleet.catalog
    unmatched_entries = (warning(entry, tools) for entry in entries)
    return [*catalog.clashes(), *catalog.hidden(), *unmatched_entries]


def _table(title: str, *headings: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _servers(servers: Sequence[ServerStatus]) -> Table:
    table = _table("Servers", "", "server", "transport", "era", "tools", "prompts", "resources", "state")
    for server in servers:
        up = server.state == "up"
        counts = (str(server.tools), str(server.prompts), str(server.resources)) if up else ("–", "–", "–")
        version = f"{server.era}, {server.protocol_version}" if server.era else "–"
        table.add_row(
            _TICK if up else _CROSS,
            _escaped(server.name),
            server.transport,
            version,
            *counts,
            _escaped(server.state),
        )
    return table


def _providers(probes: Sequence[Probe]) -> Table:
    table = _table("LLM providers", "", "provider", "model", "seconds", "answer")
    for one in probes:
        answer = one.detail if one.ok else "failed"
        table.add_row(
            _TICK if one.ok else _CROSS, one.provider, one.model, f"{one.seconds:.1f}", _escaped(answer)
        )
    if not probes:
        table.add_row("–", "none", "", "", "only clients can answer; set sampling.llm_config for an LLM")
    return table


def _clients(gateway: Gateway, servers: Sequence[ServerStatus]) -> Table:
    from gateway.cli.meaning import need

    table = _table("What each capability of a client means", "server", "capability", "meaning")
    for server in servers:
        for number, (capability, words) in enumerate(_CAPABILITIES):
            meaning = need(gateway.config, server.name, capability, server.era)
            table.add_row("" if number else server.name, words, _escaped(meaning))
    return table


def _diagnose(
    console: Console,
    servers: Sequence[ServerStatus],
    places: Mapping[str, Source],
    probes: Sequence[Probe],
    notes: Sequence[str],
) -> bool:
    """Print what to mend, and where servers are configured; true if nothing is broken."""
    for note in notes:
        console.print(f"{_NOTE} {_escaped(note)}", soft_wrap=True)
    broken = [
        f"server '{server.name}', which is {server.state}: {server.reason or 'it has not answered yet'}"
        f"\n    {_ADVICE[server.transport == 'stdio']}: {places[server.name]}"
        for server in servers
        if server.state != "up"
    ]
    broken += [f"provider {one.provider} ({one.model}): {one.detail}" for one in probes if not one.ok]
    for what in broken:
        console.print(f"{_CROSS} fix {_escaped(what)}", soft_wrap=True)
    if not broken:
        odd = f", {counted(len(notes), 'thing')} to look at above" if notes else ""
        console.print(f"{_TICK} nothing is broken{odd}")
    return not broken


def _escaped(text: str) -> str:
    """Return text that is not ours so that it is shown as it is."""
    from rich.markup import escape

    return escape(text)
