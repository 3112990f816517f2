"""From files and environment to what the gateway uses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from gateway.config.loader import load
from gateway.policy.model import Facts, Strategy
from gateway.policy.resolve import resolve

LLM = "sampling:\n  llm_config: {provider: ollama, model: m}\n"


class TestVariables:
    def test_expand_from_the_environment_and_from_defaults(self, folder):
        config = folder.load(
            "external_mcp:\n  servers:\n"
            "    - {name: a, command: '${CMD:-run}', args: ['${A}-${B:-x}', '$${A}', '${EMPTY:-d}']}\n"
            "http: {port: '${PORT}'}\n",
            A="1",
            EMPTY="",
            PORT="9000",
        )
        assert config.servers[0].command == "run"
        assert config.servers[0].args == ("1-x", "${A}", "d")
        assert config.http.port == 9000

    def test_come_from_dotenv_beneath_the_environment(self, folder):
        folder.write(".env", "A=from-dotenv\nB=from-dotenv\n")
        config = folder.load(
            "external_mcp:\n  servers: [{name: a, command: x, args: ['${A}', '${B}']}]\n", B="real"
        )
        assert config.servers[0].args == ("from-dotenv", "real")

    def test_that_hold_yaml_stay_text(self, folder):
        config = folder.load("external_mcp:\n  servers: [{name: a, command: '${A}'}]\n", A="b: [c")
        assert config.servers[0].command == "b: [c"

    def test_must_be_names(self, folder):
        assert "does not name a variable" in folder.problem("state_keys_env: '${a b}'\n").message
        assert "not expanded" in folder.problem("state_keys_env: '${A:-${B}}'\n", A="x").message


class TestOverrides:
    def test_replace_any_key_and_become_its_source(self, folder):
        config = folder.load(
            "sampling:\n  default_sampling_strategy: client_forwarded\n",
            BACKCHANNEL_SAMPLING__DEFAULT_SAMPLING_STRATEGY="client_first",
            BACKCHANNEL_LIMITS__MAX_SESSIONS="7",
        )
        route = resolve(config.policy, Facts("sampling", "s"))
        assert route.strategy is Strategy.CLIENT_FIRST
        assert route.path == (
            "$BACKCHANNEL_SAMPLING__DEFAULT_SAMPLING_STRATEGY sampling.default_sampling_strategy"
        )
        assert config.limits.max_sessions == 7

    def test_reach_lists_free_names_and_the_servers_file(self, folder):
        folder.write("external_mcp_servers.yaml", "mcpServers:\n  My-Server: {command: x}\n")
        config = folder.load(
            "external_mcp:\n  servers: [{name: a, command: x}]\n  external_routing:\n    sampling:\n"
            "      server_strategies: {My-Server: client_first}\n",
            BACKCHANNEL_EXTERNAL_MCP__SERVERS__0__COMMAND="y",
            BACKCHANNEL_EXTERNAL_MCP__EXTERNAL_ROUTING__SAMPLING__SERVER_STRATEGIES__MY_SERVER="client_forwarded",
            BACKCHANNEL_MCPSERVERS__MY_SERVER__ARGS="[1, two]",
        )
        assert [(s.name, s.command, s.args) for s in config.servers] == [
            ("a", "y", ()),
            ("My-Server", "x", ("1", "two")),
        ]
        assert resolve(config.policy, Facts("sampling", "My-Server")).strategy is Strategy.CLIENT

    @pytest.mark.parametrize(
        ("name", "value", "path", "fix"),
        [
            ("BACKCHANNEL_SAMPLNG__ENABLED", "true", "samplng", "did you mean 'sampling'?"),
            ("BACKCHANNEL_HTTP__PORT", "many", "http.port", "write a whole number"),
            ("BACKCHANNEL_HTTP__PORT", "[", "", "quote it, or correct it"),
            ("BACKCHANNEL_HTTP__PORT__X", "1", "http.port.x", "remove it"),
            ("BACKCHANNEL_EXTERNAL_MCP__SERVERS__3__URL", "x", "external_mcp.servers.3", ""),
        ],
    )
    def test_that_fit_nothing_are_errors_naming_the_variable(self, folder, name, value, path, fix):
        folder.write("gateway.yaml", "external_mcp:\n  servers: [{name: a, command: x}]\n")
        problem = folder.problem(**{name: value})
        assert (problem.file, problem.path) == (f"${name}", path)
        assert fix in problem.fix

    def test_leave_alone_what_the_configuration_itself_uses(self, folder):
        folder.write("external_mcp_servers.yaml", "mcpServers:\n  a: {command: '${BACKCHANNEL_CMD}'}\n")
        config = folder.load(
            "auth:\n  keys: [{principal: ann, key_env: BACKCHANNEL_ANN}]\n",
            BACKCHANNEL_ANN="k",
            BACKCHANNEL_CMD="run",
            BACKCHANNEL_CONFIG="gateway.yaml",
            BACKCHANNEL_PYTHON="python",
        )
        assert config.servers[0].command == "run"

    def test_of_the_command_line_come_last(self, folder):
        folder.write("gateway.yaml", "http: {port: 1, host: 0.0.0.0}\n")
        config = load(
            Path("gateway.yaml"),
            {"BACKCHANNEL_HTTP__PORT": "2"},
            overrides={"http.port": 3, "http.insecure": True},
        )
        assert (config.http.port, config.http.insecure) == (3, True)


class TestTheOlderNames:
    def test_set_the_keys_they_have_a_meaning_for(self, folder):
        config = folder.load(
            LLM + "  max_retry_attempts: 1\n"
            "external_mcp: {external_routing: {sampling: {max_retry_attempts: 9}}}\n",
            MCP_TEMPERATURE="0.1",
            MCP_MAX_TOKENS="99",
            MCP_REQUEST_TIMEOUT="5",
            MCP_MAX_RETRIES="4",
        )
        (provider,) = config.sampling_llm.providers
        assert (provider.temperature, provider.max_tokens, provider.timeout) == (0.1, 99, 5.0)
        assert resolve(config.policy, Facts("sampling", "s")).max_attempts == 5
        assert resolve(config.policy, Facts("elicitation", "s")).max_attempts == 5
        assert config.warnings == ()

    def test_are_warned_about_by_name_where_they_have_none(self, folder):
        config = folder.load("", MCP_PREFER_SPEED="true", MCP_MAX_TOKENS="5", MCP_SOMETHING_ELSE="1")
        assert config.warnings == (
            "$MCP_MAX_TOKENS has no effect: no llm_config is configured",
            "$MCP_PREFER_SPEED has no effect in this gateway; unset it",
        )

    def test_with_a_bad_value_are_errors_naming_the_variable(self, folder):
        problem = folder.problem(LLM, MCP_MAX_TOKENS="many")
        assert (problem.file, problem.path) == ("$MCP_MAX_TOKENS", "sampling.llm_config.max_tokens")


class TestServers:
    def test_of_both_places_are_merged_with_defaults_by_transport(self, folder):
        folder.write(
            "sub/claude.json",
            json.dumps(
                {
                    "mcpServers": {
                        "my files": {"command": "npx", "args": ["-y", "x"], "env": {"A": "1"}, "cwd": "."},
                        "web": {"type": "streamable-http", "url": "https://w.example/mcp"},
                        "old": {"type": "sse", "url": "http://o.example/sse", "headers": {"X": "y"}},
                    }
                }
            ),
        )
        config = folder.load(
            "external_mcp:\n  config_file: sub/claude.json\n  servers:\n"
            "    - {name: here, endpoint: 'http://localhost:1/mcp', prefix: none}\n"
        )
        assert [(s.name, s.transport, s.prefix, s.isolation) for s in config.servers] == [
            ("here", "http", "", "shared"),
            ("my files", "stdio", "my_files__", "session"),
            ("web", "http", "web__", "shared"),
            ("old", "sse", "old__", "session"),
        ]
        files = config.servers[1]
        assert files.cwd == folder.path / "sub"
        assert (files.args, dict(files.env)) == (("-y", "x"), {"A": "1"})

    def test_that_are_switched_off_are_left_out_and_still_known(self, folder):
        config = folder.load(
            "external_mcp:\n  servers: [{name: a, command: x, enabled: false}]\n"
            "  external_routing: {sampling: {server_strategies: {a: client_forwarded}}}\n"
        )
        assert config.servers == ()
        assert config.warnings == ()

    def test_do_not_exist_where_external_mcp_is_off(self, folder):
        config = folder.load("external_mcp: {enabled: false, servers: [{name: a, command: x}]}\n")
        assert config.servers == ()

    def test_take_numbers_where_a_process_needs_text(self, folder):
        config = folder.load(
            "external_mcp:\n  servers: [{name: a, command: x, args: [1, true], env: {P: 80}}]\n"
        )
        assert config.servers[0].args == ("1", "true")
        assert config.servers[0].env == {"P": "80"}

    def test_with_the_same_prefix_are_warned_about(self, folder):
        config = folder.load("external_mcp:\n  servers: [{name: a b, command: x}, {name: a_b, command: x}]\n")
        assert "the servers 'a b' and 'a_b' have the same prefix" in config.warnings[0]

    def test_that_could_take_all_calls_if_they_hang_are_warned_about(self, folder):
        servers = "external_mcp:\n  servers:\n    - {name: a, command: x, max_queued_calls: 50}\n"
        room = "limits: {max_calls: %d}\n"
        assert not folder.load(servers + room % 357).warnings
        (warning,) = folder.load(servers + room % 356).warnings
        assert "gateway.yaml:3: external_mcp.servers[0]: if it hangs, 356 calls can wait for it" in warning
        assert "lower them, or raise limits.max_calls" in warning


class TestLlms:
    def test_form_a_chain_and_serve_elicitation_too(self, folder):
        config = folder.load(
            "sampling:\n  llm_configs:\n    - {provider: openai, model: a}\n    - {provider: local}\n",
            OPENAI_API_KEY="k",
        )
        assert [(p.provider, p.model, p.api_key) for p in config.sampling_llm.providers] == [
            ("openai", "a", "k"),
            ("local", "smollm2-135m-instruct", None),
        ]
        assert config.elicitation_llm == config.sampling_llm
        assert "'k'" not in repr(config)

    def test_send_no_default_key_to_another_address(self, folder):
        config = folder.load(
            "sampling:\n  llm_config: {provider: openai, model: a, base_url: 'http://localhost:1/v1'}\n",
            OPENAI_API_KEY="k",
        )
        assert config.sampling_llm.providers[0].api_key is None

    def test_without_a_provider_are_none_and_warned_about(self, folder):
        config = folder.load("sampling:\n  llm_config: {timeout_seconds: 15}\n")
        assert config.sampling_llm.providers == ()
        assert "names no provider" in config.warnings[0]


class TestKeys:
    def test_of_clients_are_kept_as_hashes_only(self, folder):
        digest = hashlib.sha256(b"second").hexdigest()
        config = folder.load(
            f"auth:\n  keys:\n    - {{principal: ann, key_env: ANN}}\n"
            f"    - {{principal: ann, sha256: {digest.upper()}}}\n",
            ANN="first",
        )
        first = hashlib.sha256(b"first").hexdigest()
        assert [(k.principal, k.sha256) for k in config.api_keys] == [("ann", first), ("ann", digest)]

    def test_that_seal_come_from_one_variable_in_order(self, folder):
        config = folder.load("state_keys_env: K\n", K=f"{'a' * 32}, {'b' * 32}")
        assert config.state_keys == ("a" * 32, "b" * 32)

    def test_let_a_gateway_listen_beyond_loopback(self, folder):
        text = f"http: {{host: 0.0.0.0}}\nauth: {{keys: [{{principal: a, sha256: {'a' * 64}}}]}}\n"
        assert folder.load(text).http.host == "0.0.0.0"


class TestWarnings:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (
                "external_mcp:\n  servers: [{name: files, command: x}]\n"
                "  external_routing: {sampling: {server_strategies: {flies: client_first}}}\n",
                "no server is called 'flies'; fix: did you mean 'files'?",
            ),
            (
                LLM + "  default_sampling_strategy: magictunnel_first\n  fallback_to_magictunnel: true\n",
                "gateway.yaml:4: sampling.fallback_to_magictunnel: has no effect",
            ),
            (
                "elicitation: {default_elicitation_strategy: gateway_handled}\n",
                "gateway.yaml:1: elicitation.default_elicitation_strategy: 'magictunnel_handled' asks an LLM",
            ),
            ("elicitation: {enable_response_combination: false}\n", "has no effect: no level names 'hybrid'"),
            (
                "external_mcp:\n  servers: [{name: a, command: x, cwd: nowhere}]\n",
                "external_mcp.servers[0].cwd: there is no folder",
            ),
        ],
    )
    def test_name_the_place_of_what_does_nothing(self, folder, text, words):
        (warning,) = folder.load(text).warnings
        assert words in warning

    def test_stay_away_where_the_setting_works(self, folder):
        assert folder.load(LLM + "  fallback_to_magictunnel: false\n").warnings == ()


def test_an_empty_file_is_a_working_configuration(folder):
    config = folder.load("")
    assert (config.file, config.servers, config.warnings) == ("gateway.yaml", (), ())


def test_a_key_without_a_value_counts_as_absent(folder):
    config = folder.load("sampling:\n  llm_config:\nhttp:\n  port:\nsmart_discovery:\n")
    assert config.http.port == 8080


def test_merge_keys_and_anchors_are_read(folder):
    config = folder.load(
        "external_mcp:\n  servers:\n    - &a {name: a, command: x, max_lanes: 2}\n    - {<<: *a, name: b}\n"
    )
    assert [(s.name, s.max_lanes) for s in config.servers] == [("a", 2), ("b", 2)]
