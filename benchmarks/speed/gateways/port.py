"""What a gateway of the benchmark is: how it is installed, what it can play, how it is started."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.speed.processes import Process

Era = Literal["handshake", "modern"]
Transport = Literal["http", "stdio"]


class NotInstalled(Exception):
    """A gateway, or what it needs, is not on this machine; says what would put it there."""


@dataclass(frozen=True)
class Behind:
    """What stands behind a gateway, and the era of the clients before it.

    `tools` is how many the server lists (0: those with a name of their own). `servers`, `config` (merged
    into the YAML), `server` (into its entries of servers) and `options` (of the command line) are for
    Backchannel alone.
    """

    era: Era
    transport: Transport = "http"
    tools: int = 0
    servers: int = 1
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    server: Mapping[str, Any] = field(default_factory=dict[str, Any])
    options: tuple[str, ...] = ()

    @property
    def special(self) -> bool:
        """Whether it asks for what only Backchannel has."""
        return self.servers > 1 or bool(self.config or self.server or self.options)


@dataclass(frozen=True)
class Site:
    """Where a gateway is started: its port, an empty folder of its own, and what is behind it.

    `stdio` is the command of the server over stdio, `stdio_env` what that wants in its environment;
    `start` starts a process under the benchmark's pinning and remembers it.
    """

    port: int
    folder: Path
    upstream: str
    upstream_port: int
    stdio: Sequence[str]
    stdio_env: Mapping[str, str]
    start: Callable[..., Process]


@dataclass(frozen=True)
class Launched:
    """A started gateway: the endpoint, headers every request needs, and its process (none if direct)."""

    url: str
    process: Process | None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Gateway(ABC):
    """One column of the comparison. `name` is what the table calls it, `about` one line of it."""

    name: str
    about: str
    python: bool = False
    """Whether it is part of this repository's own environment."""

    def install(self) -> None:
        """Put it on this machine; does nothing when it is there. Raises NotInstalled."""
        return

    @abstractmethod
    def version(self) -> str:
        """Its version. Raises NotInstalled."""

    def cannot(self, behind: Behind) -> str | None:
        """Why it cannot be measured before this, or None."""
        return None

    @abstractmethod
    async def launch(self, behind: Behind, site: Site) -> Launched:
        """Start it; it need not be ready, that is waited for by calling it. Raises DidNotStart."""
