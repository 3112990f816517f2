"""Every strategy this gateway executes, by the name configuration gives it."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.answers.strategies.client_first import ClientFirst
from gateway.answers.strategies.client_only import ClientOnly
from gateway.answers.strategies.hybrid import Hybrid
from gateway.answers.strategies.llm_first import LlmFirst
from gateway.answers.strategies.llm_only import LlmOnly
from gateway.answers.strategies.parallel import Parallel
from gateway.answers.strategies.port import StrategyRun
from gateway.policy.model import Strategy

STRATEGIES: Mapping[Strategy, StrategyRun] = {
    Strategy.LLM: LlmOnly(),
    Strategy.CLIENT: ClientOnly(),
    Strategy.LLM_FIRST: LlmFirst(),
    Strategy.CLIENT_FIRST: ClientFirst(),
    Strategy.PARALLEL: Parallel(),
    Strategy.HYBRID: Hybrid(),
}
"""Configuration that names a strategy which is not here is refused at start."""
