"""The catalogue of models, checked against itself and against what providers offer."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.config.nearest import suggest
from gateway.config.raw_llm import RawModel
from gateway.config.report import Report
from gateway.config.resolved import ModelConfig, ProviderConfig
from gateway.config.yaml_source import Document, Key


def build_models(
    raw: Iterable[RawModel], providers: Iterable[ProviderConfig], document: Document, report: Report
) -> tuple[ModelConfig, ...]:
    """Return the catalogue.

    Both a model that no provider offers and one that is offered but not in the catalogue are
    most often misspelt: a warning names the nearest name.
    """
    models: list[ModelConfig] = []
    chain = list(providers)
    offered = {(provider.provider, name) for provider in chain for name in provider.offers}
    for index, one in enumerate(raw):
        key: Key = ("models", index)
        model = _model(one, key, document, report)
        _check_unique(model, models, key, document, report)
        if not any(model.is_of(*offer) for offer in offered):
            message = f"no provider offers '{model.name}'"
            fix = suggest(model.name, sorted(name for _, name in offered)) if offered else ""
            report.warning(document, (*key, "name"), message, fix)
        models.append(model)
    for provider in chain if models else ():
        for name in provider.offers:
            if not any(model.is_of(provider.provider, name) for model in models):
                message = f"'{name}' is not in `models`: it has no price, and is chosen by its name alone"
                fix = suggest(name, sorted(model.name for model in models))
                report.warning_at(provider.source, message, fix)
    return tuple(models)


def _check_unique(
    model: ModelConfig, earlier: Iterable[ModelConfig], key: Key, document: Document, report: Report
) -> None:
    for other in earlier:
        overlap = model.provider == other.provider or None in (model.provider, other.provider)
        if other.name == model.name and overlap:
            message = f"the model '{model.name}' is already described ({other.source})"
            report.problem(document, key, message, "merge the two, or give each its `provider`")
            return


def _model(raw: RawModel, key: Key, document: Document, report: Report) -> ModelConfig:
    if (raw.input_usd_per_million is None) != (raw.output_usd_per_million is None):
        message = "has only one of its two prices"
        fix = "add `input_usd_per_million` and `output_usd_per_million`; 0 is a price"
        report.lack(document, key, message, fix)
    priced = raw.input_usd_per_million is not None and raw.output_usd_per_million is not None
    return ModelConfig(
        name=raw.name,
        source=document.source(*key),
        provider=raw.provider,
        aliases=tuple(raw.aliases),
        cost=raw.cost,
        speed=raw.speed,
        intelligence=raw.intelligence,
        context_window=raw.context_window,
        input_price=raw.input_usd_per_million if priced else None,
        output_price=raw.output_usd_per_million if priced else None,
    )
