"""What every command does: find the configuration, load it, and fail in words."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gateway.errors import BackchannelError, ConfigurationError

if TYPE_CHECKING:
    from gateway.config.resolved import GatewayConfig

DEFAULT_CONFIG = Path("config/gateway.yaml")

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="BACKCHANNEL_CONFIG", help="The gateway's YAML file."),
]


def environment() -> dict[str, str]:
    """Return the environment that configuration is expanded from.

    `BACKCHANNEL_PYTHON` is this interpreter unless set, so that servers written in Python
    run where their packages are.
    """
    return {"BACKCHANNEL_PYTHON": sys.executable, **os.environ}


def load_config(path: Path, overrides: Mapping[str, object] | None = None) -> GatewayConfig:
    """Load the configuration or end the program with every problem of it."""
    from gateway.config.loader import load

    try:
        return load(path, environment(), overrides=overrides)
    except ConfigurationError as error:
        fail(error)


def fail(error: BackchannelError | str) -> NoReturn:
    """Print what went wrong, and nothing else, and end with status 1."""
    tell(error)
    raise typer.Exit(1)


def tell(error: BackchannelError | str) -> None:
    """Print what went wrong, and nothing else."""
    print(words(error), file=sys.stderr)


def words(error: BackchannelError | str) -> str:
    """Return what is said of something that went wrong."""
    if isinstance(error, ConfigurationError):
        count = f"{counted(len(error.problems), 'problem')} in the configuration"
        return "\n".join([*map(str, error.problems), count])
    return f"backchannel: {error}"


def warn(config: GatewayConfig) -> None:
    """Print what is odd in a configuration that can be used all the same."""
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def counted(number: int, what: str, many: str | None = None) -> str:
    """Return a number with its noun: ``1 server``, ``2 servers``."""
    return f"{number} {what if number == 1 else many or f'{what}s'}"
