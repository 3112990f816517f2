"""What the environment adds to the files: `.env`, and ``${VAR}`` in every string."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from dotenv import dotenv_values

from gateway.config.yaml_source import Document, Key
from gateway.errors import Problem

_REFERENCE = re.compile(r"\$(\$?)\{([^}:]*)(?::-((?:[^}\\]|\\.)*))?\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def with_dotenv(environ: Mapping[str, str], folders: Iterable[Path]) -> dict[str, str]:
    """Return the environment with the `.env` files of `folders` beneath it; earlier ones win."""
    merged: dict[str, str] = {}
    for folder in reversed(list(folders)):
        values = dotenv_values(folder / ".env", interpolate=False)
        merged.update({name: value for name, value in values.items() if value is not None})
    return {**merged, **environ}


def expand(document: Document, environ: Mapping[str, str]) -> tuple[list[Problem], set[str]]:
    """Replace ``${VAR}`` and ``${VAR:-default}`` in every string of a document, in place.

    As in a shell, ``:-`` also covers a variable that is set but empty; ``$${VAR}`` stands
    for the text ``${VAR}``. Returns the problems and the names of all variables used.
    """
    expander = _Expander(document, environ)
    document.data = expander.value(document.data, ())
    return expander.problems, expander.used


class _Expander:
    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self.document = document
        self.environ = environ
        self.problems: list[Problem] = []
        self.used: set[str] = set()

    def value(self, value: Any, key: Key) -> Any:
        if isinstance(value, str):
            return _REFERENCE.sub(lambda match: self.reference(match, key), value)
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value).items()
            return {name: self.value(item, (*key, name)) for name, item in items}
        if isinstance(value, list):
            return [self.value(item, (*key, i)) for i, item in enumerate(cast("list[Any]", value))]
        return value

    def reference(self, match: re.Match[str], key: Key) -> str:
        escaped, name, default = match.groups()
        if escaped:
            return match[0][1:]
        if not _NAME.match(name):
            message = f"'{match[0]}' does not name a variable"
            self.problems.append(self.document.problem(key, message, "write ${NAME} or ${NAME:-default}"))
            return ""
        if default and "${" in default:
            message = f"the default of {name} holds another variable, which is not expanded"
            self.problems.append(self.document.problem(key, message, f"set {name}, or write a plain default"))
            return ""
        self.used.add(name)
        found = self.environ.get(name)
        if found or (found is not None and default is None):
            return found
        if default is not None:
            return default
        fix = f"set {name} in the environment or in .env, or write ${{{name}:-default}}"
        self.problems.append(self.document.problem(key, f"the variable {name} is not set", fix))
        return ""
