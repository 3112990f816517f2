"""What is shipped fits together: locks, image, set-up."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from gateway.config.loader import load

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ["run", "test", "ci", "model"]

NEEDS = {
    "run": [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["local"]],
    "test": PROJECT["dependency-groups"]["dev"],
    "ci": PROJECT["dependency-groups"]["ci"],
}


@pytest.mark.parametrize(("lock", "needs"), NEEDS.items(), ids=NEEDS)
def test_the_lock_holds_every_requirement(lock: str, needs: list[str]) -> None:
    locked = _locked(lock)
    for need in needs:
        name, least = _requirement(need)
        assert name in locked, f"{need} is not in requirements/{lock}.lock: run scripts/lock"
        assert _version(locked[name]) >= _version(least), f"{need}: run scripts/lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_hashes_and_names_no_host(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    assert "://" not in text
    entries = re.split(r"\n(?=[a-z])", text)[1:]
    assert entries
    for entry in entries:
        assert "--hash=sha256:" in entry, entry


def test_no_file_that_installs_names_a_host_to_install_from() -> None:
    places = ["scripts/*", ".ci/*", "Dockerfile", "tests/interop/package*.json", "pyproject.toml"]
    for file in [path for place in places for path in ROOT.glob(place)]:
        for word in ("index-url =", "--index", "/simple", "registry.", '"resolved"'):
            text = file.read_text()
            assert word not in text.replace("global.index-url", ""), f"{file.name} says {word}"


def test_the_image_gets_every_file_its_recipe_copies() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for path in " ".join(copied).split():
        assert path in allowed
        assert (ROOT / path).exists()


def test_the_composed_gateway_has_a_configuration_that_loads() -> None:
    config = load(ROOT / "deploy/compose/gateway.yaml", {"GATEWAY_API_KEY": "k" * 32}, dotenv_folders=())
    assert [server.name for server in config.servers] == ["ask"]
    assert config.api_keys
    assert "GATEWAY_API_KEY" in (ROOT / "docker-compose.yml").read_text()


def test_every_decision_is_in_the_index_and_every_link_leads_somewhere() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text()
    for decision in (ROOT / "docs/decisions").glob("[0-9]*.md"):
        assert f"]({decision.name})" in index, f"{decision.name} is not in docs/decisions/README.md"
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


@pytest.fixture
def only_old_python(tmp_path: Path) -> Path:
    """A folder for PATH that has what a shell needs, and a Python of another age."""
    folder = tmp_path / "old tools"
    folder.mkdir()
    for tool in ("bash", "env", "dirname", "cat", "rm", "cksum"):
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    old = folder / "python3"
    old.write_text('#!/usr/bin/env bash\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    return folder


def test_set_up_says_which_python_it_needs_and_which_it_found(tmp_path: Path, only_old_python: Path) -> None:
    project = tmp_path / "a project"
    shutil.copytree(ROOT / "scripts", project / "scripts")
    shutil.copytree(ROOT / "requirements", project / "requirements")
    shutil.copy(ROOT / "pyproject.toml", project)
    ran = subprocess.run(
        [project / "scripts" / "setup"],
        env={"PATH": str(only_old_python)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "Python 3.11 or newer is needed" in ran.stderr
    assert "python3 is Python 3.9.2" in ran.stderr
    assert not (project / ".venv").exists()


def _locked(lock: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", text, re.MULTILINE))


def _requirement(text: str) -> tuple[str, str]:
    """Split `name[extra]>=1.2,<3 ; marker` into its name, as a lock spells it, and its least version."""
    matched = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?(?:>=([0-9.]+))?", text)
    assert matched is not None, text
    return re.sub(r"[._-]+", "-", matched[1]).lower(), matched[2] or "0"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
