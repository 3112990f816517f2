"""This gateway, by its own command line and a YAML file as an operator writes it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML

from benchmarks.speed.gateways.port import Behind, Gateway, Launched, Site
from gateway import __version__


class Backchannel(Gateway):
    """Policy, questions, limits, metrics and decisions all on, as shipped; log level `warning`."""

    name = "backchannel"
    about = "this gateway, with everything on as shipped"

    def version(self) -> str:
        """Its own version."""
        return __version__

    async def launch(self, behind: Behind, site: Site) -> Launched:
        """Write the configuration and run `backchannel serve`."""
        path = site.folder / "gateway.yaml"
        with path.open("w") as file:
            cast("Any", YAML(typ="safe")).dump(configuration(behind, site), file)
        command = Path(sys.executable).with_name("backchannel")
        process = site.start([command, "serve", "--config", path, *behind.options])
        return Launched(f"http://127.0.0.1:{site.port}/mcp", process)


def configuration(behind: Behind, site: Site) -> dict[str, Any]:
    """The configuration: the first server's tools keep their names, further servers have prefixes.

    A stdio server is shared between clients, as every other gateway has it.
    """
    one: dict[str, Any] = {"era": behind.era, **behind.server}
    if behind.transport == "stdio":
        command, *arguments = site.stdio
        one |= {"command": command, "args": arguments, "env": dict(site.stdio_env), "isolation": "shared"}
    else:
        one |= {"type": "http", "url": site.upstream}
    servers = [{"name": "bench", "prefix": "none", **one}]
    servers += [{"name": f"bench{number}", **one} for number in range(2, behind.servers + 1)]
    base: dict[str, Any] = {
        "http": {"host": "127.0.0.1", "port": site.port},
        "logging": {"level": "warning"},
        "external_mcp": {"servers": servers},
    }
    if behind.tools:
        base["limits"] = {"page_size": behind.tools}  # the others do not page either
    return merged(base, dict(behind.config))


def merged(base: Any, more: Any) -> Any:
    """Return `base` with `more` laid over it, mappings within mappings."""
    if not (isinstance(base, dict) and isinstance(more, dict)):
        return more
    under, over = cast("dict[str, Any]", base), cast("dict[str, Any]", more)
    return {**under, **{key: merged(under.get(key), value) for key, value in over.items()}}
