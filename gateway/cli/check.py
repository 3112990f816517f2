"""`backchannel check`: everything that can be known without starting anything."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import DEFAULT_CONFIG, ConfigOption, counted, environment, fail, warn
from gateway.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.resolved import GatewayConfig, ProviderConfig


def check(
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")] = False,
) -> None:
    """Validate the configuration and every file it names; exit status 1 if anything is wrong."""
    loaded, problems = _examine(config)
    if as_json:
        _print_json(loaded, problems)
    elif loaded is not None:
        warn(loaded)
        for note in loaded.notes:
            print(f"note: {note}", file=sys.stderr)
    if as_json and problems:
        raise typer.Exit(1)
    if problems:
        fail(ConfigurationError(problems))
    if loaded is not None and not as_json:
        print(f"{config}: {_summary(loaded)}")


def _examine(path: Path) -> tuple[GatewayConfig | None, Sequence[Problem]]:
    """Return the configuration if it can be read, and all that is wrong with it."""
    from gateway.config.loader import load
    from gateway.llm.registry import provider_problems

    try:
        loaded = load(path, environment())
    except ConfigurationError as error:
        return None, error.problems
    return loaded, [problem for one in _providers(loaded) for problem in provider_problems(one)]


def _providers(config: GatewayConfig) -> list[ProviderConfig]:
    """Return each configured provider once, also if both kinds use it."""
    chains = (config.sampling_llm, config.elicitation_llm)
    return list({provider.source: provider for chain in chains for provider in chain.providers}.values())


def _summary(config: GatewayConfig) -> str:
    parts = (
        counted(len(config.servers), "server"),
        counted(len(_providers(config)), "LLM provider"),
        counted(len(config.tools), "capability entry", "capability entries"),
        counted(len(config.warnings), "warning"),
    )
    return f"no problems. {', '.join(parts)}"


def _print_json(config: GatewayConfig | None, problems: Sequence[Problem]) -> None:
    report = {
        "ok": not problems,
        "problems": [dataclasses.asdict(problem) for problem in problems],
        "warnings": config.warnings if config else (),
        "notes": config.notes if config else (),
    }
    print(json.dumps(report, indent=2, ensure_ascii=False))
