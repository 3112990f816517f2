"""Reads a package's source and says where it breaks the rules of its architecture.

Every check takes modules and returns sentences, one a breach, so that a test can show a check
at work on a module made to break it.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
BROAD = frozenset({"Exception", "BaseException", "ExceptionGroup", "BaseExceptionGroup"})
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """A module by its dotted name, and its source."""

    name: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def area(self) -> str:
        """What the dependency table calls it: its package, its name in the root, or `config.resolved`."""
        parts = self.name.split(".")[1:]
        if parts[:2] == ["config", "resolved"]:
            return "config.resolved"
        return parts[0] if parts else ""

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield the line and the dotted name of every import, names from a package as its modules."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.module is not None, f"{self.name}: imports are absolute"
                assert not node.level, f"{self.name}: imports are absolute"
                yield node.lineno, node.module
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def modules(package: Path) -> list[Module]:
    """Read every module below a package's folder."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path.read_text(encoding="utf-8")))
    return found


def wrong_imports(
    found: Iterable[Module], allowed: Mapping[str, Collection[str]], package: str = "gateway"
) -> list[str]:
    """Imports that `allowed` does not have: for each area, the areas or single modules it may use."""
    breaches = []
    for module in found:
        may = {module.area, *allowed.get(module.area, ())}
        for line, name in module.imports():
            if name.startswith(f"{package}.") and not _is_allowed(name.removeprefix(f"{package}."), may):
                breaches.append(f"{module.name}:{line} imports {name}; {module.area} may use {sorted(may)}")
    return _one_a_line(breaches)


def _is_allowed(name: str, may: Collection[str]) -> bool:
    if name == "__version__":
        return True
    area = "config.resolved" if name.startswith("config.resolved") else name.split(".")[0]
    return area in may or any(name == one or name.startswith(f"{one}.") for one in may if "." in one)


def _one_a_line(breaches: Iterable[str]) -> list[str]:
    """Keep the first breach of each line: `from a import b, c` is one."""
    first: dict[str, str] = {}
    for breach in breaches:
        first.setdefault(breach.split(" ")[0], breach)
    return list(first.values())


def foreign_imports(found: Iterable[Module], root: str, areas: Collection[str]) -> list[str]:
    """Imports of a third-party package outside the areas that may."""
    return [
        f"{module.name}:{line} imports {name}; only {sorted(areas)} may"
        for module in found
        if module.area not in areas
        for line, name in module.imports()
        if name == root or name.startswith(f"{root}.")
    ]


def concrete_names(found: Iterable[Module], homes: Mapping[str, Collection[str]]) -> list[str]:
    """Imports of an implementation by a module that is not one of its `homes`."""
    return _one_a_line(
        f"{module.name}:{line} imports {implementation}; only {sorted(users)} may"
        for module in found
        for line, name in module.imports()
        for implementation, users in homes.items()
        if (name == implementation or name.startswith(f"{implementation}.")) and module.name not in users
    )


def cycles(found: Sequence[Module]) -> list[str]:
    """Circles of modules that import each other."""
    names = {module.name for module in found}
    edges = {module.name: {name for _, name in module.imports() if name in names} for module in found}
    done: set[str] = set()
    circles: list[str] = []

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            circles.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for target in sorted(edges[name] - {name}):
                visit(target, [*path, name])
            done.add(name)

    for name in sorted(edges):
        visit(name, [])
    return circles


def too_long(found: Iterable[Module]) -> list[str]:
    """Files and functions over their caps."""
    breaches = []
    for module in found:
        lines = len(module.source.splitlines())
        if lines > MAX_FILE_LINES:
            breaches.append(f"{module.name} has {lines} lines; {MAX_FILE_LINES} are allowed")
        for name, function in functions(module.tree):
            length = (function.end_lineno or function.lineno) - function.lineno + 1
            if length > MAX_FUNCTION_LINES:
                breaches.append(f"{module.name}.{name} has {length} lines; {MAX_FUNCTION_LINES} are allowed")
    return breaches


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Yield every function with its qualified name, inner ones too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield f"{prefix}{node.name}", node
            yield from functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")
        else:
            yield from functions(node, prefix)


def broad_handlers(found: Iterable[Module], boundaries: Collection[str]) -> list[str]:
    """Bare and broad `except`s that do not re-raise, outside the named task boundaries."""
    return [
        f"{module.name}.{name}:{handler.lineno} catches everything and goes on"
        for module, name, handler in _swallowing(found)
        if f"{module.name}.{name}" not in boundaries
    ]


def idle_boundaries(found: Iterable[Module], boundaries: Collection[str]) -> list[str]:
    """Task boundaries that are named but catch nothing broad any more."""
    used = {f"{module.name}.{name}" for module, name, _ in _swallowing(found)}
    return sorted(set(boundaries) - used)


def _swallowing(found: Iterable[Module]) -> Iterator[tuple[Module, str, ast.ExceptHandler]]:
    for module in found:
        owners = [(name, function) for name, function in functions(module.tree)]
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not _reraises(node):
                around = [name for name, function in owners if _holds(function, node)]
                yield module, around[-1] if around else "", node


def _is_broad(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(name, ast.Name) and name.id in BROAD for name in caught)


def _reraises(handler: ast.ExceptHandler) -> bool:
    return isinstance(handler.body[-1], ast.Raise)


def _holds(function: Function, node: ast.ExceptHandler) -> bool:
    return function.lineno <= node.lineno <= (function.end_lineno or function.lineno)


def prints(found: Iterable[Module], areas: Collection[str]) -> list[str]:
    """Calls of `print` outside the areas that talk to a terminal."""
    return [
        f"{module.name}:{node.lineno} prints; log it, or return it"
        for module in found
        if module.area not in areas
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
