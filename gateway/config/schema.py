"""The JSON Schemas of the configuration files, for editors, and the tables of the reference.

``python -m gateway.config.schema`` writes both; a test fails while they are out of date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from gateway.capabilities.raw import RawCapabilityFile
from gateway.config.raw import RawGateway
from gateway.config.raw_conditions import RawCase
from gateway.config.raw_servers import RawServersFile
from gateway.config.raw_techniques import RawTechnique
from gateway.config.reference import fill, tables

SCHEMAS: dict[str, type[BaseModel]] = {
    "config/schema.json": RawGateway,
    "config/servers.schema.json": RawServersFile,
    "config/capability.schema.json": RawCapabilityFile,
}
REFERENCE = "docs/configuration.md"

_VARIABLE = {"type": "string", "pattern": r"\$\{"}


def generated(root: Path) -> dict[Path, str]:
    """Return every generated file under `root` with the content it should have."""
    files = {
        root / name: json.dumps(schema(model), indent=2, ensure_ascii=False) + "\n"
        for name, model in SCHEMAS.items()
    }
    reference = root / REFERENCE
    blocks = {name.split("/")[1].split(".")[0]: tables(schema(model)) for name, model in SCHEMAS.items()}
    blocks |= {"cases": tables(schema(RawCase)), "techniques": tables(schema(RawTechnique))}
    files[reference] = fill(reference.read_text(encoding="utf-8"), blocks)
    return files


def schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of one kind of file.

    Wherever something other than free text belongs, ``${VAR}`` may stand as well.
    """
    document = model.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_with_variables(document)}


def _with_variables(node: dict[str, Any]) -> dict[str, Any]:
    """Rewrite one schema and those inside it; titles, which only repeat names, are left out."""
    if "enum" in node or node.get("type") in ("integer", "number", "boolean"):
        outer = {name: node[name] for name in ("description", "default") if name in node}
        inner = {name: value for name, value in node.items() if name not in (*outer, "title")}
        return {**outer, "anyOf": [inner, _VARIABLE]}
    # A variable may stand for either of several shapes, so that more than one can fit.
    return {
        "anyOf" if name == "oneOf" else name: _inside(name, value)
        for name, value in node.items()
        if name != "title"
    }


def _inside(name: str, value: Any) -> Any:
    if name in ("properties", "$defs"):
        return {key: _with_variables(schema) for key, schema in value.items()}
    if name in ("anyOf", "oneOf"):
        return [_with_variables(schema) for schema in value]
    if name in ("items", "additionalProperties") and isinstance(value, dict):
        return _with_variables(cast("dict[str, Any]", value))
    return value


def main() -> None:
    """Write all generated files below the working directory, or the folder given."""
    for path, text in generated(Path(sys.argv[1] if len(sys.argv) > 1 else ".")).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
