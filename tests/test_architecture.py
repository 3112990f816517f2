"""The architecture, held: who may import whom, how long things may get, what may catch everything."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import architecture
from tests.support.architecture import Module

ROOT = Path(__file__).resolve().parents[1]
GATEWAY = architecture.modules(ROOT / "gateway")

POLICY = frozenset({"errors", "codes", "policy"})
CONFIG = POLICY | {"config.resolved", "capabilities.descriptor"}
ANSWERS = CONFIG | {"answers", "calls"}

ALLOWED: Mapping[str, frozenset[str]] = {
    "": frozenset(),
    "errors": frozenset(),
    "codes": frozenset(),
    "wire": frozenset({"errors"}),
    "policy": POLICY,
    "config.resolved": POLICY | {"capabilities.descriptor"},
    "config": CONFIG | {"capabilities"},
    "capabilities": CONFIG | {"config"},
    # Answers and calls use each other's models; that no circle of modules comes of it is a test below.
    "answers": ANSWERS | {"llm.port"},
    "calls": ANSWERS,
    "security": CONFIG,
    "observability": CONFIG | {"answers.model", "codes"},
    # Providers are spoken to in HTTP and JSON, as servers are.
    "llm": CONFIG | {"upstream.http_pool", "upstream.response", "wire.jsonrpc"},
    "store": ANSWERS,
    "upstream": CONFIG | {"calls", "wire"},
    "downstream": CONFIG | {"calls", "wire", "security"},
    # Siblings are spoken to in HTTP, as servers are.
    "workers": CONFIG | {"downstream", "wire", "upstream.http1", "upstream.response"},
}
"""What each part may import, besides itself. `app` may use everything but `cli`, and `cli` everything."""

EVERYTHING = frozenset(module.area for module in GATEWAY)

HOMES = {
    **{
        f"gateway.answers.strategies.{name}": {"gateway.answers.strategies.registry"}
        for name in ("llm_only", "client_only", "llm_first", "client_first")
    },
    **{
        f"gateway.llm.{name}": {"gateway.llm.registry"} for name in ("openai", "anthropic", "ollama", "local")
    },
    **{
        f"gateway.upstream.{name}": {"gateway.upstream.dial"}
        for name in ("stdio", "sse", "streamable_http_handshake", "streamable_http_modern")
    },
}
"""Implementations, and the registries that alone may name them. The composition root may name registries."""

BOUNDARIES = frozenset(
    {
        "gateway.upstream.supervisor.Supervisor.run",
        "gateway.upstream.conversation.Conversation._deliver",
        "gateway.downstream.work.InFlight.answer",
        "gateway.downstream.cycle.Cycle.run",
    }
)
"""Task boundaries: what goes wrong in the task ends there, logged, so that nothing else ends with it."""

UNMIRRORED = {"support", "contracts", "golden", "interop", "e2e", "benchmarks"}
"""Folders of tests that belong to no package."""


def allowed() -> Mapping[str, frozenset[str]]:
    return {**ALLOWED, "app": EVERYTHING - {"cli"}, "cli": EVERYTHING}


def test_imports_point_one_way() -> None:
    unknown = EVERYTHING - set(allowed())
    assert not unknown, f"say in ALLOWED what these may import: {sorted(unknown)}"
    assert architecture.wrong_imports(GATEWAY, allowed()) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert architecture.cycles(GATEWAY) == []


@pytest.mark.parametrize("sdk", ["mcp", "mcp_types"])
def test_the_sdk_stays_at_the_edges(sdk: str) -> None:
    assert architecture.foreign_imports(GATEWAY, sdk, {"upstream", "downstream", "answers", "cli"}) == []


def test_policy_does_no_io() -> None:
    for package in ("asyncio", "httpx2", "pathlib", "socket", "time", "os", "starlette", "pydantic"):
        assert architecture.foreign_imports(_of("policy"), package, set()) == []


def test_only_registries_name_implementations() -> None:
    missing = set(HOMES) - {module.name for module in GATEWAY}
    assert not missing, f"HOMES names modules that do not exist: {sorted(missing)}"
    assert architecture.concrete_names(GATEWAY, HOMES) == []


def test_files_and_functions_stay_short() -> None:
    assert architecture.too_long(GATEWAY) == []
    tests = [module for folder in ("tests", "examples") for module in architecture.modules(ROOT / folder)]
    assert architecture.too_long(tests) == []


def test_functions_stay_simple() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert settings["mccabe"]["max-complexity"] == 10
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--ignore-noqa", "--select", "C901"]
    checked = subprocess.run([*command, "gateway"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_only_task_boundaries_catch_everything() -> None:
    assert architecture.broad_handlers(GATEWAY, BOUNDARIES) == []
    assert architecture.idle_boundaries(GATEWAY, BOUNDARIES) == []


def test_only_the_command_line_prints() -> None:
    assert architecture.prints(GATEWAY, {"cli"}) == []


def test_tests_mirror_the_packages() -> None:
    packages = {path.parent.name for path in ROOT.glob("gateway/*/__init__.py")}
    folders = {path.parent.name for path in ROOT.glob("tests/*/test_*.py")} - UNMIRRORED
    assert folders == packages


BREACHES = {
    "import gateway.downstream.session": "imports gateway.downstream.session",
    "from gateway.llm.openai import OpenAi": "imports gateway.llm.openai",
    "from gateway import cli": "imports gateway.cli",
    "import mcp.types": "imports mcp.types",
    "print('hello')": "prints",
    "try:\n    work()\nexcept Exception:\n    pass": "catches everything",
    "try:\n    work()\nexcept:\n    log()": "catches everything",
    "try:\n    work()\nexcept (ValueError, BaseException) as e:\n    log(e)": "catches everything",
    "def long():\n" + "    work()\n" * 60: "has 61 lines",
    "work()\n" * 401: "has 401 lines",
}


@pytest.mark.parametrize(("source", "said"), BREACHES.items(), ids=BREACHES.values())
def test_the_checks_find_what_they_are_for(source: str, said: str) -> None:
    module = Module("gateway.policy.bad", source)
    found = [
        *architecture.wrong_imports([module], {**allowed(), "downstream": frozenset(), "cli": frozenset()}),
        *architecture.foreign_imports([module], "mcp", {"upstream"}),
        *architecture.prints([module], {"cli"}),
        *architecture.broad_handlers([module], BOUNDARIES),
        *architecture.too_long([module]),
    ]
    assert len(found) == 1, found
    assert "gateway.policy.bad" in found[0]
    assert said in found[0]


def test_the_checks_leave_what_is_right_alone() -> None:
    source = (
        "from gateway.errors import Problem\ntry:\n    work()\nexcept BaseException:\n    undo()\n    raise\n"
    )
    module = Module("gateway.policy.good", source)
    assert architecture.wrong_imports([module], allowed()) == []
    assert architecture.broad_handlers([module], set()) == []


def test_the_checks_find_circles_implementations_and_idle_boundaries() -> None:
    first = Module("gateway.llm.first", "from gateway.llm import second")
    second = Module("gateway.llm.second", "import gateway.llm.first")
    assert architecture.cycles([first, second]) == [
        "gateway.llm.first -> gateway.llm.second -> gateway.llm.first"
    ]
    caller = Module("gateway.answers.caller", "from gateway.llm.openai import OpenAi")
    (breach,) = architecture.concrete_names([caller], HOMES)
    assert "gateway.answers.caller:1 imports gateway.llm.openai" in breach
    assert architecture.idle_boundaries([caller], {"gateway.gone.run"}) == ["gateway.gone.run"]


def _of(area: str) -> list[Module]:
    return [module for module in GATEWAY if module.area == area]
