"""What may be spent: the budgets of every level, checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gateway.capabilities.descriptor import ToolEntry
from gateway.config.nearest import suggest
from gateway.config.raw import RawGateway
from gateway.config.raw_llm import RawBudget
from gateway.config.report import Report
from gateway.config.resolved import ApiKey, Costs, LlmConfig, ServerConfig
from gateway.config.yaml_source import Document, Key
from gateway.policy.budgets import BudgetRule, Budgets
from gateway.policy.model import KINDS, Kind


def budget_rule(document: Document, key: Key, raw: RawBudget | None, report: Report) -> BudgetRule | None:
    """Return the budget at a place, None where there is none."""
    if raw is None:
        return None
    if raw.usd_per_day is None and raw.tokens_per_day is None:
        report.lack(document, key, "limits nothing", "add `usd_per_day` or `tokens_per_day`")
        return None
    return BudgetRule(raw.usd_per_day, raw.tokens_per_day, raw.on_exceeded == "hard", document.source(*key))


def build_costs(
    raw: RawGateway,
    document: Document,
    servers: Iterable[ServerConfig],
    tools: Iterable[ToolEntry],
    keys: Sequence[ApiKey],
    report: Report,
) -> Costs:
    """Collect the budgets of every level."""
    kinds: dict[Kind, BudgetRule] = {}
    for kind in KINDS:
        block = raw.sampling if kind == "sampling" else raw.elicitation
        if (rule := budget_rule(document, (kind, "budget"), block.budget, report)) is not None:
            kinds[kind] = rule
    smart = raw.smart_discovery
    at: Key = ("smart_discovery", "budget")
    discovery = budget_rule(document, at, smart.budget, report) if smart and smart.enabled else None
    budgets = Budgets(
        tools={tool.exposed: tool.budget for tool in tools if tool.budget is not None},
        servers={server.name: server.budget for server in servers if server.budget is not None},
        kinds=kinds,
        smart_discovery=discovery,
        each_principal=budget_rule(document, ("costs", "each_principal"), raw.costs.each_principal, report),
        principals=_principals(raw, document, keys, report),
    )
    return Costs(budgets, raw.costs.keep_days, raw.costs.max_rows)


def _principals(
    raw: RawGateway, document: Document, keys: Sequence[ApiKey], report: Report
) -> dict[str, BudgetRule]:
    known = {key.principal for key in keys}
    rules: dict[str, BudgetRule] = {}
    for name, budget in raw.costs.principals.items():
        key: Key = ("costs", "principals", name)
        if name not in known:
            report.warning(document, key, f"nobody called '{name}' has an API key", suggest(name, known))
        if (rule := budget_rule(document, key, budget, report)) is not None:
            rules[name] = rule
    return rules


def check_prices(costs: Costs, llms: Iterable[LlmConfig], report: Report) -> None:
    """Warn of budgets in money where a model has no price, and of any where there is no LLM."""
    chains = list(llms)
    unpriced = sorted({name for llm in chains for name in _unpriced(llm)})
    for rule in _rules(costs.budgets):
        if not any(llm.providers for llm in chains):
            report.warning_at(rule.source, "has no effect: no LLM is configured")
        elif rule.usd is not None and unpriced:
            message = f"cannot count what {', '.join(unpriced)} costs: `models` has no price for it"
            report.warning_at(rule.source, message, "add the prices, or use `tokens_per_day`")


def _unpriced(llm: LlmConfig) -> Iterator[str]:
    for provider in llm.providers:
        for name in provider.offers:
            priced = any(
                model.input_price is not None for model in llm.models if model.is_of(provider.provider, name)
            )
            if not priced and provider.provider != "local":
                yield f"'{name}'"


def _rules(budgets: Budgets) -> Iterator[BudgetRule]:
    for rules in (budgets.tools, budgets.servers, budgets.kinds, budgets.principals):
        yield from rules.values()
    yield from (rule for rule in (budgets.smart_discovery, budgets.each_principal) if rule is not None)
