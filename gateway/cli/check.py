"""`backchannel check`: everything that can be known without starting anything."""

from __future__ import annotations

import sys

from gateway.cli.common import DEFAULT_CONFIG, ConfigOption, fail, load_config, warn
from gateway.errors import ConfigurationError


def check(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Validate the configuration and every file it names; exit status 1 if anything is wrong."""
    loaded = load_config(config)
    from gateway.llm.registry import provider_problems

    chains = (loaded.sampling_llm, loaded.elicitation_llm)
    providers = {provider.source: provider for chain in chains for provider in chain.providers}
    problems = [problem for provider in providers.values() for problem in provider_problems(provider)]
    if problems:
        warn(loaded)
        fail(ConfigurationError(problems))
    warn(loaded)
    for note in loaded.notes:
        print(f"note: {note}", file=sys.stderr)
    print(
        f"{config}: fine. {len(loaded.servers)} servers, {len(providers)} LLM providers, "
        f"{len(loaded.tools)} capability entries, {len(loaded.warnings)} warnings"
    )
