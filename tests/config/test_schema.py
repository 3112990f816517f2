"""The generated files are current, and agree with what the loader accepts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jsonschema
import pytest

from gateway.capabilities.raw import RawCapabilityFile
from gateway.config.loader import load
from gateway.config.raw import RawGateway, RawHttp, RawLimits
from gateway.config.raw_servers import RawServersFile
from gateway.config.resolved import Http, Limits
from gateway.config.schema import generated, schema
from gateway.config.validate import keys_at
from gateway.config.yaml_source import Document, read

ROOT = Path(__file__).parents[2]
NAMED = "# yaml-language-server: $schema="

SHIPPED = [
    ("config/gateway.yaml", RawGateway),
    ("config/external_mcp_servers.yaml", RawServersFile),
    ("capabilities/examples/ask.yaml", RawCapabilityFile),
    ("tests/golden/guide.yaml", RawGateway),
    ("tests/golden/everything.yaml", RawGateway),
    ("tests/golden/guide_servers.json", RawServersFile),
    ("tests/golden/guide_tools/deep/tools.yaml", RawCapabilityFile),
]


@pytest.mark.parametrize("path", generated(ROOT), ids=lambda path: path.name)
def test_what_is_generated_is_current(path: Path):
    assert path.read_text() == generated(ROOT)[path], "run: python -m gateway.config.schema"


@pytest.mark.parametrize(("name", "model"), SHIPPED)
def test_editors_find_nothing_wrong_with_files_that_load(name, model):
    document = read(ROOT / name)
    assert isinstance(document, Document)
    jsonschema.validate(document.data, schema(model))


@pytest.mark.parametrize("name", [name for name, _ in SHIPPED[:3]])
def test_a_shipped_file_names_its_schema(name):
    first = (ROOT / name).read_text().splitlines()[0]
    assert first.startswith(NAMED)
    assert ((ROOT / name).parent / first.removeprefix(NAMED)).is_file()


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        ({"sampling": {"default_sampling_strategy": "paralel"}}, "unknown strategy"),
        ({"samplng": {}}, "unknown key"),
        ({"http": {"port": "many"}}, "wrong type"),
    ],
)
def test_editors_mark_what_the_loader_refuses(document, wrong):
    assert list(jsonschema.Draft202012Validator(schema(RawGateway)).iter_errors(document)), wrong


def test_a_variable_may_stand_where_a_number_belongs():
    jsonschema.validate({"http": {"port": "${PORT}", "insecure": "${I:-false}"}}, schema(RawGateway))


def test_every_limit_can_be_configured():
    for raw, resolved in ((RawLimits, Limits), (RawHttp, Http)):
        assert set(raw.model_fields) == {field.name for field in dataclasses.fields(resolved)}


def test_the_shipped_configuration_loads_without_a_warning():
    config = load(ROOT / "config" / "gateway.yaml", {}, dotenv_folders=())
    assert [server.name for server in config.servers] == ["ask"]
    assert config.servers[0].cwd == ROOT
    assert [provider.provider for provider in config.sampling_llm.providers] == ["local"]
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        (("http", "port"), None),
        (("external_mcp", "external_routing", "sampling", "server_strategies"), []),
        (("external_mcp", "servers", 0, "env"), []),
        (("external_mcp", "servers", 0, "env", "A"), None),
        (("decisions",), ["keep"]),
        (("auth", "keys", 1), ["principal", "key_env", "sha256"]),
        (("nowhere", "at", "all"), None),
    ],
)
def test_known_keys_are_looked_up_by_place(key, keys):
    assert keys_at(RawGateway, key) == keys
