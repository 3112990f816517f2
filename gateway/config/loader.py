"""From files and environment to a `GatewayConfig`, or to all that is wrong with them at once.

The way of a value: the file, then ``${VAR}`` in it, then the older ``MCP_*`` names, then
``BACKCHANNEL_*``, then the command line; the last one that speaks wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from gateway.capabilities.loader import find_files, load_entries
from gateway.config.budgets import build_costs, check_prices
from gateway.config.checks import check_effects, check_exposure, check_room
from gateway.config.environment import expand, with_dotenv
from gateway.config.levels import build_policy
from gateway.config.overrides import PREFIX, apply_mcp_variables, apply_overrides, put
from gateway.config.providers import build_keys, build_llms, build_state_keys
from gateway.config.raw import RawExternalMcp, RawGateway
from gateway.config.raw_servers import RawServersFile
from gateway.config.report import Report
from gateway.config.resolved import (
    ApiKey,
    CacheRules,
    ElicitationByLlm,
    GatewayConfig,
    Http,
    Limits,
    LlmConfig,
    Logging,
)
from gateway.config.servers import (
    DEFAULT_FILES,
    Entry,
    beside,
    build_servers,
    check_extensions,
    filed,
    listed,
)
from gateway.config.validate import keys_at, validate
from gateway.config.yaml_source import Document, Key, display, read
from gateway.errors import ConfigurationError, Problem
from gateway.policy.model import Kind

_SERVERS_PREFIX = f"{PREFIX}MCPSERVERS__"
COMMAND_LINE = "command line"


def load(
    path: Path,
    environ: Mapping[str, str],
    *,
    overrides: Mapping[str, object] | None = None,
    dotenv_folders: Sequence[Path] | None = None,
) -> GatewayConfig:
    """Read the configuration at `path` and every file it names.

    `overrides` are settings of the command line by dotted key (``http.port``). `.env` files
    are read from `dotenv_folders`, by default the working directory and the file's own folder.

    Raises:
        ConfigurationError: with every problem of every file.
    """
    folders = (Path(), path.parent) if dotenv_folders is None else dotenv_folders
    loading = _Loading(with_dotenv(environ, folders))
    config = loading.run(path, overrides or {})
    problems = loading.report.all_problems(loading.used)
    if problems or config is None:
        raise ConfigurationError(problems)
    return config


@dataclass(slots=True)
class _Loading:
    environ: Mapping[str, str]
    report: Report = field(default_factory=Report)
    used: set[str] = field(default_factory=set[str])

    def run(self, path: Path, overrides: Mapping[str, object]) -> GatewayConfig | None:
        document = self.read(path)
        if document is None:
            return None
        self.override(document, overrides)
        raw, problems = validate(RawGateway, document)
        self.report.problems.extend(problems)
        if raw is None:
            return None
        entries = list(self.entries(raw.external_mcp, document))
        check_extensions(raw.extensions, document, (), self.report)
        servers, own = build_servers(entries, raw.extensions, self.report)
        files = list(self.capability_documents(raw, document, path))
        known = [entry.name for entry in entries]
        tools = load_entries(files, servers, known if raw.external_mcp.enabled else None, self.report)
        enabled = raw.external_mcp.enabled
        if not enabled:
            servers, own, tools = (), (), ()
        policy = build_policy(raw, document, servers, known if enabled else None, own, tools, self.report)
        sampling_llm, elicitation_llm = build_llms(raw, document, self.environ, self.report)
        llms: dict[Kind, LlmConfig] = {"sampling": sampling_llm, "elicitation": elicitation_llm}
        check_effects(raw, document, policy, servers, llms, self.report)
        keys = build_keys(raw.auth, document, self.environ, self.report)
        costs = build_costs(raw, document, servers, tools, keys, self.report)
        check_prices(costs, llms.values(), self.report)
        limits = Limits(**raw.limits.model_dump())
        check_room(servers, limits, self.report)
        return GatewayConfig(
            file=document.file,
            policy=policy,
            servers=servers,
            http=self.http(raw, keys, document),
            api_keys=keys,
            sampling_llm=sampling_llm,
            elicitation_llm=elicitation_llm,
            elicitation_by_llm=ElicitationByLlm(
                raw.elicitation.max_schema_complexity, raw.elicitation.max_repairs
            ),
            sampling_cache=CacheRules(**raw.sampling.cache.model_dump()),
            costs=costs,
            limits=limits,
            logging=Logging(raw.logging.level, raw.logging.format),
            decisions_kept=raw.decisions.keep,
            label_questions=raw.label_questions,
            state_keys=build_state_keys(raw.state_keys_env, document, self.environ, self.report),
            warnings=tuple(self.report.warnings),
            notes=tuple(self.report.notes),
            tools=tools,
        )

    def read(self, path: Path) -> Document | None:
        document = read(path)
        if isinstance(document, Problem):
            self.report.problems.append(document)
            return None
        problems, used = expand(document, self.environ)
        self.report.unread(problems)
        self.used |= used
        return document

    def override(self, document: Document, overrides: Mapping[str, object]) -> None:
        self.report.warnings.extend(apply_mcp_variables(document, self.environ))
        self.used.update(_named_variables(document.data))
        own = {name: text for name, text in self.environ.items() if not name.startswith(_SERVERS_PREFIX)}
        self.report.problems.extend(
            apply_overrides(document, own, lambda key: keys_at(RawGateway, key), self.used)
        )
        for name, value in overrides.items():
            key: Key = tuple(name.split("."))
            put(document.data, key, value)
            document.origins[key] = COMMAND_LINE

    def entries(self, external: RawExternalMcp, document: Document) -> Iterator[Entry]:
        yield from listed(external, document)
        if not external.enabled:
            return
        path = self.servers_file(external, document)
        servers = None if path is None else self.read(path)
        if servers is None:
            return
        named = {name: text for name, text in self.environ.items() if name.startswith(_SERVERS_PREFIX)}
        self.report.problems.extend(
            apply_overrides(servers, named, lambda key: keys_at(RawServersFile, key), self.used)
        )
        raw, problems = validate(RawServersFile, servers)
        self.report.problems.extend(problems)
        if raw is not None:
            yield from filed(raw, servers)

    def servers_file(self, external: RawExternalMcp, document: Document) -> Path | None:
        """Return the servers file as a person would write it, None if there is none."""
        folder = Path(document.file).parent
        key: Key = ("external_mcp", "config_file")
        if external.config_file is not None:
            path = Path(display(folder / Path(external.config_file).expanduser()))
            if path.is_file():
                return path
            fix = "create it, or correct `config_file` (relative to the file that names it)"
            self.report.problem(document, key, f"there is no file {path}", fix)
            return None
        found = [folder / name for name in DEFAULT_FILES if (folder / name).is_file()]
        if len(found) > 1:
            ignored = ", ".join(str(path) for path in found[1:])
            self.report.warning(
                document, key, f"{found[0]} is read, and {ignored} ignored", "name one of them"
            )
        return found[0] if found else None

    def capability_documents(self, raw: RawGateway, document: Document, path: Path) -> Iterator[Document]:
        for file in self.capability_files(raw, document, path):
            parsed = self.read(Path(display(file)))
            if parsed is not None:
                yield parsed

    def capability_files(self, raw: RawGateway, document: Document, path: Path) -> Iterator[Path]:
        folder = Path(document.file).parent
        if raw.capabilities.paths is None:
            default = folder / "capabilities"
            if not default.is_dir() and path.absolute().parent.name == "config":
                default = folder / ".." / "capabilities"
            if default.is_dir():
                yield from find_files(default)
            return
        for index, name in enumerate(raw.capabilities.paths):
            found = folder / Path(name).expanduser()
            if found.is_dir():
                yield from find_files(found)
            elif found.is_file():
                yield found
            else:
                message = f"there is no file or folder {beside(document, name)}"
                key: Key = ("capabilities", "paths", index)
                self.report.problem(document, key, message, "create it, or correct the path")

    def http(self, raw: RawGateway, keys: tuple[ApiKey, ...], document: Document) -> Http:
        written = raw.http
        http = Http(
            host=written.host,
            port=written.port,
            allowed_hosts=tuple(written.allowed_hosts),
            allowed_origins=tuple(written.allowed_origins),
            insecure=written.insecure,
            keepalive_seconds=written.keepalive_seconds,
            workers=written.workers,
        )
        if http.workers > 1:
            self.report.note(document, ("http", "workers"), _EACH_WORKER.format(http.workers))
        # A broken `auth` block is reported as such; that nothing protects the bind would follow from it.
        if "auth" not in document.data:
            check_exposure(http, keys, document, self.report)
        return http


_EACH_WORKER = (
    "each of the {} workers has its own connections to the servers, answer cache and circuits, and counts "
    "limits, lanes and max_concurrent for itself, so that all together may reach that many times each; "
    "budgets are shared"
)


def _named_variables(value: Any, name: str = "") -> Iterator[str]:
    """Yield what the keys that end in ``_env`` name: such variables are secrets, not overrides."""
    if isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield from _named_variables(item, key)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _named_variables(item)
    elif isinstance(value, str) and name.endswith("_env"):
        yield value
