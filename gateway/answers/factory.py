"""From configuration to a broker."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.answers.bounds import BrokerLimits, ServerBounds
from gateway.answers.broker import Broker
from gateway.answers.client import ClientAnswerer
from gateway.answers.combine import Combiner
from gateway.answers.elicitation_llm import FormFiller
from gateway.answers.legs import Parties
from gateway.answers.llm import LlmAnswerer
from gateway.answers.model import Answerer, Recorder, SourceName
from gateway.answers.racing import Racing
from gateway.config.resolved import GatewayConfig
from gateway.llm.port import Llm
from gateway.policy.model import Kind


def build_broker(config: GatewayConfig, llms: Mapping[Kind, Llm], log: Recorder) -> Broker:
    """Put a broker together. A kind without an entry in `llms` has no LLM leg."""
    max_tokens = config.limits.max_tokens_per_question
    forms = FormFiller(config.elicitation_by_llm, max_tokens=max_tokens)
    answerers: dict[SourceName, Answerer] = {
        "client": ClientAnswerer(label_questions=config.label_questions),
        "llm": LlmAnswerer(llms, forms, max_tokens=max_tokens),
    }
    servers = {
        server.name: ServerBounds(server.max_questions, server.max_concurrent_questions)
        for server in config.servers
    }
    parties = Parties(answerers, Combiner(llms), Racing(seconds=config.limits.max_call_seconds))
    return Broker(config.policy, parties, BrokerLimits(servers), log)
