"""YAML in, resolved configuration out: each pair of files here is one case.

``python tests/golden/test_golden.py`` writes the outputs anew; read the difference before
committing it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.config.loader import load
from gateway.config.resolved import GatewayConfig
from gateway.policy.model import KINDS, Facts, Route, Source
from gateway.policy.resolve import resolve

HERE = Path(__file__).parent
CASES = ("minimal", "guide", "everything")
ENVIRON = {"TEAM_KEY": "secret-of-the-team", "ANTHROPIC_API_KEY": "a", "SEALS": "s" * 32}


def rendered(case: str) -> str:
    config = load(HERE / f"{case}.yaml", ENVIRON, dotenv_folders=())
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    del fields["policy"]
    text = json.dumps(plain({**fields, "routes": routes(config)}), indent=1, ensure_ascii=False)
    return text.replace(str(HERE), "HERE") + "\n"


def routes(config: GatewayConfig) -> dict[str, Any]:
    """What policy makes of every server and every tool with an entry."""
    asked = [(server.name, None) for server in config.servers]
    asked += [(entry.server or "files", entry.exposed) for entry in config.tools]
    found: dict[str, Any] = {}
    for server, tool in asked:
        for kind in KINDS:
            route = resolve(config.policy, Facts(kind, server, tool=tool))
            found[f"{kind} of {tool or server}"] = (
                described(route) if isinstance(route, Route) else route.reason
            )
    return found


def described(route: Route) -> dict[str, Any]:
    places = dict(route.origins)
    limits = {name: f"{getattr(route, name)} ({place})" for name, place in places.items()}
    return {"strategy": route.strategy.value, "level": route.level, "path": route.path, **limits}


def plain(value: Any) -> Any:
    if isinstance(value, Source | Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("case", CASES)
def test_a_file_resolves_to_what_is_recorded(case: str):
    assert rendered(case) == (HERE / f"{case}.json").read_text()


if __name__ == "__main__":
    for name in CASES:
        (HERE / f"{name}.json").write_text(rendered(name))
