"""What servers may show and which extensions may pass: as written, and as the gateway uses it."""

from __future__ import annotations

import pytest

from gateway.config.resolved import NEVER_PASSED, Extensions

SERVER = "external_mcp:\n  servers:\n    - {{name: a, command: x, {}}}\n"
UI = "io.modelcontextprotocol/ui"


def test_patterns_are_kept_as_written_and_no_list_is_not_an_empty_one(folder) -> None:
    (server,) = folder.load(SERVER.format("allow: ['read_*', x?], deny: ['*_all']")).servers
    assert (server.allow, server.deny) == (("read_*", "x?"), ("*_all",))
    (server,) = folder.load(SERVER.format("enabled: true")).servers
    assert (server.allow, server.deny) == (None, ())


def test_an_allow_list_that_hides_everything_is_warned_of(folder) -> None:
    config = folder.load(SERVER.format("allow: []"))
    assert config.servers[0].allow == ()
    (warning,) = [line for line in config.warnings if "allow" in line]
    assert "gateway.yaml:3" in warning
    assert "an empty list hides every tool" in warning


@pytest.mark.parametrize("identifier", list(NEVER_PASSED))
def test_what_the_gateway_cannot_carry_is_no_setting(folder, identifier) -> None:
    problem = folder.problem(f"extensions:\n  {identifier}: allow\n")
    assert (problem.line, problem.fix) == (2, "remove it")
    assert NEVER_PASSED[identifier] in problem.message
    assert folder.problem(SERVER.format(f"extensions: {{{identifier}: allow}}")).line == 3
    folder.load(f"extensions:\n  {identifier}: deny\n")
    assert not Extensions(others=True).allows(identifier)


def test_an_extension_is_allowed_or_denied_and_nothing_else(folder) -> None:
    problem = folder.problem("extensions: {x/y: alow}\n")
    assert problem.path == "extensions.x/y"
    assert problem.fix == "did you mean 'allow'?"


def test_without_settings_what_both_sides_name_passes_and_apps_are_declared_to_every_server(folder) -> None:
    (server,) = folder.load(SERVER.format("enabled: true")).servers
    assert server.extensions.allows("com.example/any")
    assert not server.extensions.declares("com.example/any")
    assert server.extensions.declares(UI)
