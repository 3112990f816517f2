"""What is wrong is said with file, line, path and fix, all of it at once."""

from __future__ import annotations

import pytest

SERVERS = "external_mcp:\n  config_file: servers.yaml\n"

BROKEN = {
    "an unknown key": (
        {"gateway.yaml": "sampling:\n  enabled: true\n  default_sampling_stratgy: client_first\n"},
        "gateway.yaml:3: sampling.default_sampling_stratgy: unknown key 'default_sampling_stratgy'",
        "did you mean 'default_sampling_strategy'?",
    ),
    "a strategy nobody knows": (
        {"gateway.yaml": "elicitation:\n  default_elicitation_strategy: client_forward\n"},
        "gateway.yaml:2: elicitation.default_elicitation_strategy: 'client_forward' is not a strategy",
        "did you mean 'client_forwarded'?",
    ),
    "a strategy that the configuration itself turns off": (
        {
            "gateway.yaml": "elicitation:\n  enable_hybrid_elicitation: false\nexternal_mcp:\n"
            "  external_routing:\n    elicitation:\n      default_strategy: hybrid\n"
        },
        "gateway.yaml:6: external_mcp.external_routing.elicitation.default_strategy: "
        "'hybrid' is turned off for elicitation by gateway.yaml:2 elicitation.enable_hybrid_elicitation",
        "set that to true, or use another strategy here",
    ),
    "a WebSocket endpoint": (
        {
            "gateway.yaml": "external_mcp:\n  servers:\n    - name: one\n"
            "      endpoint: ws://localhost:9000/mcp\n"
        },
        "gateway.yaml:4: external_mcp.servers[0].endpoint: the WebSocket transport (ws://) is not supported",
        "use a `command` (stdio), or an http:// or https:// `url` with type http or sse",
    ),
    "a key variable that is not set": (
        {
            "gateway.yaml": "sampling:\n  llm_config:\n    provider: openai\n    model: m\n"
            "    api_key_env: TEAM_KEY\n"
        },
        "gateway.yaml:5: sampling.llm_config.api_key_env: provider openai has no API key: "
        "the variable TEAM_KEY is not set",
        "set TEAM_KEY in the environment or in .env",
    ),
    "a servers file that does not exist": (
        {"gateway.yaml": "external_mcp:\n  config_file: ./servers.json\n"},
        "gateway.yaml:2: external_mcp.config_file: there is no file servers.json",
        "create it, or correct `config_file` (relative to the file that names it)",
    ),
    "an unknown key in a tab-indented JSON servers file": (
        {
            "gateway.yaml": "external_mcp:\n  config_file: s.json\n",
            "s.json": '{\n\t"mcpServers": {\n\t\t"a": {\n\t\t\t"command": "x",\n\t\t\t"comand_args": []\n'
            "\t\t}\n\t}\n}",
        },
        "s.json:5: mcpServers.a.comand_args: unknown key 'comand_args'",
        "did you mean 'command'?",
    ),
    "a server that is defined twice": (
        {
            "gateway.yaml": "external_mcp:\n  config_file: servers.yaml\n  servers:\n    - name: files\n"
            "      command: x\n",
            "servers.yaml": "mcpServers:\n  files:\n    url: http://localhost:1/mcp\n",
        },
        "servers.yaml:2: mcpServers.files: the server 'files' is already defined "
        "(gateway.yaml:4 external_mcp.servers[0])",
        "rename or remove one of the two",
    ),
    "a variable without a value": (
        {
            "gateway.yaml": SERVERS,
            "servers.yaml": "mcpServers:\n  a:\n    url: https://a.example/mcp\n    headers:\n"
            "      Authorization: Bearer ${A_TOKEN}\n",
        },
        "servers.yaml:5: mcpServers.a.headers.Authorization: the variable A_TOKEN is not set",
        "set A_TOKEN in the environment or in .env, or write ${A_TOKEN:-default}",
    ),
    "a capability file that is not YAML": (
        {"gateway.yaml": "", "capabilities/deep/er/t.yaml": "tools:\n  - name: [x\n"},
        "capabilities/deep/er/t.yaml:3: is not valid YAML: expected ',' or ']', but got '<stream end>'",
        "correct the file",
    ),
    "a value of the wrong type": (
        {"gateway.yaml": "http:\n  port: many\n"},
        "gateway.yaml:2: http.port: 'many' should be a valid integer, unable to parse string as an integer",
        "write a whole number",
    ),
    "a bind beyond loopback without authentication": (
        {"gateway.yaml": "http:\n  host: 0.0.0.0\n"},
        "gateway.yaml:2: http.host: '0.0.0.0' can be reached by other machines, "
        "and there is no authentication",
        "add an `auth` block, listen on 127.0.0.1, or set http.insecure: true (--insecure)",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_configuration_names_file_line_path_and_fix(folder, what: str):
    files, message, fix = BROKEN[what]
    for name, text in files.items():
        folder.write(name, text)
    assert str(folder.problem()) == f"{message}\n    fix: {fix}"


def test_problems_of_all_files_are_reported_together(folder):
    folder.write("servers.yaml", "mcpServers:\n  a:\n    command: x\n    urll: y\n  b: {}\n")
    folder.write("capabilities/t.yaml", "tools:\n  - nam: x\n")
    problems = folder.problems(SERVERS + "sampling:\n  enabled: perhaps\n", BACKCHANNEL_HTTP__PRT="1")
    assert sorted((p.file, p.path) for p in problems) == [
        ("$BACKCHANNEL_HTTP__PRT", "http.prt"),
        ("capabilities/t.yaml", "tools[0]"),
        ("capabilities/t.yaml", "tools[0].nam"),
        ("gateway.yaml", "sampling.enabled"),
        ("servers.yaml", "mcpServers.a.urll"),
        ("servers.yaml", "mcpServers.b"),
    ]
    assert all(problem.fix for problem in problems)


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("sampling:\n  llm_config: {model: m, provider: opnai}\n", "sampling.llm_config.provider", "opnai"),
        ("sampling:\n  llm_config: {provider: ollama}\n", "sampling.llm_config", "'model' is missing"),
        (
            "sampling:\n  llm_config: {provider: local, base_url: http://x}\n",
            "sampling.llm_config.base_url",
            "no meaning for provider local",
        ),
        (
            "sampling:\n  llm_config: {provider: local, model_path: no.gguf}\n",
            "sampling.llm_config.model_path",
            "there is no file",
        ),
        (
            "sampling:\n  llm_config: {provider: anthropic, model: m, base_url: http://x}\n",
            "sampling.llm_config",
            "provider anthropic has no API key",
        ),
        (
            "sampling:\n  llm_config: {provider: ollama, model: m}\n  llm_configs: [{provider: local}]\n",
            "sampling.llm_configs",
            "stands beside `llm_config`",
        ),
        ("auth: {}\n", "auth", "has no keys"),
        ("auth:\n  keys: [{principal: a}]\n", "auth.keys[0]", "exactly one of"),
        ("auth:\n  keys: [{principal: a, sha256: abc}]\n", "auth.keys[0].sha256", "should match pattern"),
        ("auth: {type: oauth}\n", "auth.type", "'oauth' is not one of api_key"),
        ("capabilities: {paths: [nowhere]}\n", "capabilities.paths[0]", "no file or folder"),
        ("sampling: [a]\n", "sampling", "should be a mapping"),
        ("elicitation: {max_schema_complexity: Simpel}\n", "elicitation.max_schema_complexity", "Simpel"),
        ("http: {keepalive_seconds: 0}\n", "http.keepalive_seconds", "greater than 0"),
        ("smart_discovery: {proxy_timeout_secs: .nan}\n", "smart_discovery.proxy_timeout_secs", "nan"),
    ],
)
def test_each_setting_that_cannot_work_is_refused(folder, text, path, words):
    problem = folder.problem(text)
    assert problem.path == path
    assert words in problem.message
    assert problem.fix
    assert problem.line


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("{}", "neither a `command` nor a `url`"),
        ("{command: x, url: 'http://a/'}", "both a `command` and a `url`"),
        ("{url: 'http://a/', endpoint: 'http://b/'}", "mean the same"),
        ("{command: x, type: http}", "does not go with a `command`"),
        ("{url: 'http://a/', type: stdio}", "does not go with a `url`"),
        ("{url: 'http://a/', type: websocket}", "the WebSocket transport is not supported"),
        ("{url: 'http://a/', type: htttp}", "is not a transport"),
        ("{url: 'ftp://a/'}", "is not an http:// or https:// address"),
        ("{url: 'http:///x'}", "names no host"),
        ("{url: 'http://a:99999/'}", "is not an address"),
        ("{url: 'http://user:pw@a/'}", "holds credentials"),
        ("{url: 'http://a/', env: {A: b}}", "no meaning for a server of type http"),
        ("{command: x, headers: {A: b}}", "no meaning for a server of type stdio"),
        ('{url: "http://a/", headers: {A: "b\\r\\nC: d"}}', "is not a usable header"),
        (
            '{url: "http://a/", headers: {Transfer-Encoding: chunked}}',
            "is a header of the gateway's own",
        ),
        ("{command: x, prefix: 'a b'}", "cannot be part of a tool's name"),
        ("{command: x, max_lanes: 0}", "greater than or equal to 1"),
        ("{command: x, isolation: shred}", "not one of session, shared, call"),
    ],
)
def test_a_server_that_cannot_work_is_refused(folder, server, words):
    folder.write("servers.yaml", f"mcpServers:\n  s: {server}\n")
    problem = folder.problem(SERVERS)
    assert words in problem.message
    assert (problem.file, problem.line) == ("servers.yaml", 2)
    assert problem.path.startswith("mcpServers.s")


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("sampling:\n  llm_config: {provider: openai, model: m, api_key_env: sk-S3CRET}\n", {}),
        ("sampling:\n  llm_config: {provider: openai, model: m, api_key: S3CRET}\n", {}),
        ("auth:\n  keys: [{principal: a, sha256: S3CRET}]\n", {}),
        ("external_mcp:\n  servers: [{name: a, url: 'ws://u:S3CRET@h/'}]\n", {}),
        ("external_mcp:\n  servers: [{name: a, command: b, env: {A: [S3CRET]}}]\n", {}),
        ("external_mcp:\n  servers:\n    - {name: a, command: b, env: {A: S3CRET, A: S3CRET}}\n", {}),
        ("state_keys_env: KEYS\n", {"KEYS": "S3CRET"}),
    ],
)
def test_a_message_never_quotes_what_may_be_a_secret(folder, text, environ):
    problems = folder.problems(text, **environ)
    assert problems
    assert "S3CRET" not in "".join(map(str, problems))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sampling: {}\nsampling: {}\n", "the key 'sampling' is written twice"),
        ("- a\n", "holds a list where a mapping belongs"),
        ("a: &a\n  b: *a\n", "an alias that contains itself"),
        ("sampling:\n\tenabled: true\n", "is not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_read_as_a_mapping_says_why(folder, text, words):
    problem = folder.problem(text)
    assert words in problem.message
    assert problem.line


def test_a_missing_or_binary_file_is_a_problem_and_no_crash(folder):
    assert "cannot be read" in folder.problem().message
    (folder.path / "gateway.yaml").write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8" in folder.problem().message


def test_what_is_lacking_only_for_a_misspelling_is_not_reported_twice(folder):
    text = "external_mcp:\n  servers: [{name: a, urll: 'http://a/'}]\n"
    assert folder.problem(text).fix == "did you mean 'url'?"
