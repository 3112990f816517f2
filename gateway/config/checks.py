"""Checks over the whole of a configuration: settings that do nothing, and unsafe binds."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from gateway.config.raw import RawGateway
from gateway.config.report import Report
from gateway.config.resolved import ApiKey, Http, Limits, LlmConfig, ServerConfig
from gateway.config.yaml_source import Document
from gateway.errors import Problem
from gateway.policy.model import KINDS, Facts, Kind, KindPolicy, Layer, Policy, Route, Setting, Strategy
from gateway.policy.outcomes import legs
from gateway.policy.resolve import possible


def check_exposure(http: Http, keys: tuple[ApiKey, ...], document: Document, report: Report) -> None:
    """Refuse to listen beyond loopback without authentication, unless `insecure` says so."""
    if keys or http.insecure or _is_loopback(http.host):
        return
    message = f"'{http.host}' can be reached by other machines, and there is no authentication"
    fix = "add an `auth` block, listen on 127.0.0.1, or set http.insecure: true (--insecure)"
    report.problem(document, ("http", "host"), message, fix)


def check_room(servers: Iterable[ServerConfig], limits: Limits, report: Report) -> None:
    """Warn of servers whose calls alone could be all that the gateway takes, if they hang."""
    for server in servers:
        most = server.max_concurrent_calls + 2 * server.max_queued_calls
        if most >= limits.max_calls:
            at = server.source
            message = (
                f"if it hangs, {most} calls can wait for it (max_concurrent_calls, twice max_queued_calls): "
                f"as many as the gateway takes (limits.max_calls: {limits.max_calls}); others' are refused"
            )
            report.warning_at(at, message, "lower them, or raise limits.max_calls")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_effects(
    raw: RawGateway,
    document: Document,
    policy: Policy,
    servers: Iterable[ServerConfig],
    llms: dict[Kind, LlmConfig],
    report: Report,
) -> None:
    """Warn about settings that do nothing, and about strategies whose LLM is not configured."""
    names = [server.name for server in servers] or ["any"]
    for kind in KINDS:
        routes = list(_routes(policy, kind, names))
        _check_fallback(policy, kind, routes, report)
        _check_llm_settings(policy.of(kind), kind, routes, report)
        if not llms[kind].providers:
            _check_llm(policy.of(kind), kind, routes, report)
    _check_hybrid(raw, document, policy.elicitation, report)


def _check_hybrid(raw: RawGateway, document: Document, policy: KindPolicy, report: Report) -> None:
    """Refuse `hybrid` where it is turned off, and warn of its settings where nothing uses it."""
    named = [setting for setting in _strategies(policy) if setting.value is Strategy.HYBRID]
    if not raw.elicitation.enable_hybrid_elicitation:
        off = document.source("elicitation", "enable_hybrid_elicitation")
        for setting in named:
            at = setting.source
            message = f"'hybrid' is turned off for elicitation by {off}"
            fix = "set that to true, or use another strategy here"
            report.problems.append(Problem(at.file, at.path, message, fix, at.line))
    elif not named:
        for name in ("enable_hybrid_elicitation", "enable_response_combination"):
            if name in raw.elicitation.model_fields_set:
                message = "has no effect: no level names 'hybrid' for elicitation"
                report.warning(document, ("elicitation", name), message)


def _routes(policy: Policy, kind: Kind, servers: list[str]) -> Iterator[Route]:
    """Yield the route of every server, and of every tool that has an entry of its own."""
    kind_policy = policy.of(kind)
    facts = [Facts(kind, server) for server in servers]
    for tool in kind_policy.tools:
        owners = kind_policy.tool_servers.get(tool) or servers
        facts += [Facts(kind, server, tool=tool) for server in owners]
    for fact in facts:
        yield from possible(policy, fact)


def _check_fallback(policy: Policy, kind: Kind, routes: list[Route], report: Report) -> None:
    if any(route.strategy is Strategy.CLIENT_FIRST for route in routes):
        return
    kind_policy = policy.of(kind)
    for layer in (kind_policy.external_default, kind_policy.organization):
        if layer.fallback_to_llm is not None:
            message = f"has no effect: it governs client_first alone, and nothing routes {kind} so"
            report.warning_at(layer.fallback_to_llm.source, message, "remove it, or use client_first")


def _check_llm(kind_policy: KindPolicy, kind: Kind, routes: list[Route], report: Report) -> None:
    needed = {
        route.path for route in routes if "llm" in legs(route.strategy, fallback_to_llm=route.fallback_to_llm)
    }
    for setting in _strategies(kind_policy):
        if str(setting.source) in needed:
            message = f"'{setting.value.value}' asks an LLM, and none is configured"
            report.warning_at(setting.source, message, f"add {kind}.llm_config, or use client_forwarded")


def _check_llm_settings(kind_policy: KindPolicy, kind: Kind, routes: list[Route], report: Report) -> None:
    """Warn of what is said about the LLM's answers where nothing asks it."""
    if any("llm" in legs(route.strategy, fallback_to_llm=route.fallback_to_llm) for route in routes):
        return
    for layer in _layers(kind_policy):
        for said in (layer.technique, layer.min_confidence):
            if said is not None:
                message = f"has no effect: no strategy asks the LLM for {kind}"
                report.warning_at(said.source, message, "remove it, or use a strategy that asks the LLM")


def _layers(policy: KindPolicy) -> Iterator[Layer]:
    for mapping in (policy.tools, policy.server_overrides, policy.servers):
        yield from mapping.values()
    yield from (policy.external_default, policy.organization, policy.smart_discovery)


def _strategies(policy: KindPolicy) -> Iterator[Setting[Strategy]]:
    for layer in _layers(policy):
        named = layer.strategy
        if named is None:
            continue
        value = named.value
        if isinstance(value, Strategy):
            yield Setting(value, named.source)
        else:
            yield from (Setting(case.use, case.source) for case in value)
