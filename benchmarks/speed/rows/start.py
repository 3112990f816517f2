"""How long a gateway takes from nothing to its first answered call, and what it holds in memory then."""

from __future__ import annotations

from benchmarks.speed.figures import Row, Samples
from benchmarks.speed.gateways.port import Behind, NotInstalled
from benchmarks.speed.processes import DidNotStart
from benchmarks.speed.stand import Stand

UNITS = {"first answer": "s", "memory (PSS)": "MiB", "memory (RSS)": "MiB"}
MIB = 1024 * 1024
HTTP, STDIO = Behind("handshake"), Behind("handshake", "stdio")


async def start(stand: Stand) -> list[Row]:
    """Start each gateway afresh in every run; its children count, the server behind does not.

    Behind it is the HTTP server, or the stdio server where it can do no other.
    """
    samples = Samples("start-up and idle memory", UNITS)
    for run in range(stand.options.runs):
        for gateway in stand.players:
            if gateway.name in samples.refused:
                continue
            behind, reason = HTTP, gateway.cannot(HTTP)
            if reason is not None:
                behind, reason = STDIO, gateway.cannot(STDIO)
            if reason is not None:
                samples.refuse(gateway.name, reason)
                continue
            try:
                async with stand.running(gateway, behind) as running:
                    if running.process is None:
                        samples.refuse(gateway.name, "no process of its own")
                        continue
                    held = running.process.memory()
            except (NotInstalled, DidNotStart) as error:
                samples.refuse(gateway.name, str(error).splitlines()[0])
                continue
            samples.add(gateway.name, **{"first answer": running.started_in})
            samples.add(gateway.name, **{"memory (PSS)": held.pss / MIB, "memory (RSS)": held.rss / MIB})
        stand.say(f"{samples.measurement}: run {run + 1} of {stand.options.runs}")
    return samples.rows(stand.order)
