"""A folder to write configuration into, and loading that sees nothing of this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config.loader import load
from gateway.config.resolved import GatewayConfig
from gateway.errors import ConfigurationError, Problem


class Folder:
    """Files by name; `load` reads `gateway.yaml`, and errors come back as a list."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def load(self, text: str | None = None, **environ: str) -> GatewayConfig:
        if text is not None:
            self.write("gateway.yaml", text)
        return load(Path("gateway.yaml"), environ)

    def problems(self, text: str | None = None, **environ: str) -> list[Problem]:
        with pytest.raises(ConfigurationError) as raised:
            self.load(text, **environ)
        return list(raised.value.problems)

    def problem(self, text: str | None = None, **environ: str) -> Problem:
        (only,) = self.problems(text, **environ)
        return only


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path)


Load = Callable[..., GatewayConfig]
