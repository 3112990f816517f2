"""What the other gateways have in common: an environment of their own, and no special features of ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from benchmarks.speed import environments
from benchmarks.speed.gateways.port import Behind, Gateway, Site
from benchmarks.speed.processes import Process


class Other(Gateway):
    """A gateway from a registry. `requirement` is `name==version` for PyPI, `name@version` for npm."""

    registry: ClassVar[str]
    requirement: ClassVar[str]
    more: ClassVar[tuple[str, ...]] = ()
    """What else is installed beside it."""
    eras: ClassVar[tuple[str, ...]] = ("handshake",)
    lacks: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Transports behind it that it does not have, with the reason."""

    @property
    def environment(self) -> str:
        """The name of its folder."""
        return f"{self.registry}-{self.requirement.replace('==', '@').rpartition('@')[0]}".replace("/", "-")

    def install(self) -> None:
        """Install it unless it is there."""
        make = environments.from_pypi if self.registry == "pypi" else environments.from_npm
        make(self.environment, self.requirement, *self.more)

    def version(self) -> str:
        """The version that was installed."""
        environments.there(self.environment)
        return self.requirement.replace("==", "@").rpartition("@")[2]

    def cannot(self, behind: Behind) -> str | None:
        """Whether the era, what is behind, or a feature of ours is missing."""
        if behind.special:
            return "measured for the gateway alone"
        if behind.era not in self.eras:
            return "handshake only: does not speak 2026-07-28"
        return dict(self.lacks).get(behind.transport)

    def bin(self, command: str) -> Path:
        """The path of one of its commands."""
        folder = environments.there(self.environment)
        return (folder if self.registry == "pypi" else folder / "node_modules" / ".bin") / (
            f"bin/{command}" if self.registry == "pypi" else command
        )

    def run(
        self, site: Site, command: str, *arguments: object, env: Mapping[str, str] | None = None
    ) -> Process:
        """Start one of its commands in the site's folder, with the variables of the stdio server."""
        path = environments.node_path() if self.registry == "npm" else os.environ.get("PATH", "")
        everything = {**site.stdio_env, "PATH": path, **(env or {})}
        return site.start([self.bin(command), *arguments], everything, cwd=site.folder)
