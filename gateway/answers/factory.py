"""From configuration to a broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.answers.accounts import Unmetered, account_of
from gateway.answers.bounds import BrokerLimits, ServerBounds
from gateway.answers.broker import Broker
from gateway.answers.cache import AnswerCache
from gateway.answers.client import ClientAnswerer
from gateway.answers.combine import Combiner
from gateway.answers.elicitation_llm import FormFiller
from gateway.answers.facts import Surroundings
from gateway.answers.legs import Parties
from gateway.answers.llm import LlmAnswerer
from gateway.answers.model import Answerer, Recorder, SourceName
from gateway.answers.racing import Racing
from gateway.config.resolved import GatewayConfig
from gateway.llm.port import Llm, Meter
from gateway.policy.model import Kind


def build_broker(
    config: GatewayConfig,
    llms: Mapping[Kind, Llm],
    log: Recorder,
    *,
    meter: Meter | None = None,
    cache: AnswerCache | None = None,
    queued: Callable[[Kind], int] = lambda _: 0,
) -> Broker:
    """Put a broker together. A kind without an entry in `llms` has no LLM leg.

    `queued` says how many requests wait for a place at the LLM of a kind.
    """
    counted = meter or Unmetered()
    max_tokens = config.limits.max_tokens_per_question
    forms = FormFiller(config.elicitation_by_llm, max_tokens=max_tokens)
    answerers: dict[SourceName, Answerer] = {
        "client": ClientAnswerer(label_questions=config.label_questions),
        "llm": LlmAnswerer(llms, forms, max_tokens=max_tokens, meter=counted, cache=cache),
    }
    servers = {
        server.name: ServerBounds(server.max_questions, server.max_concurrent_questions)
        for server in config.servers
    }
    limits = BrokerLimits(servers, max_question_depth=config.limits.max_question_depth)
    parties = Parties(answerers, Combiner(llms, counted), Racing(seconds=config.limits.max_call_seconds))
    around = Surroundings(spent=lambda request: counted.spent(account_of(request)), queued=queued)
    return Broker(config.policy, parties, limits, log, around=around)
