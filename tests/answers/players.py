"""A client, a model and a server's question, scripted; and a broker between them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.answers.bounds import BrokerLimits
from gateway.answers.broker import Broker
from gateway.answers.client import ClientAnswerer
from gateway.answers.combine import Combiner
from gateway.answers.elicitation_llm import FormFiller
from gateway.answers.legs import Parties
from gateway.answers.llm import LlmAnswerer
from gateway.answers.model import Answerer, Decision, InputRequest, SourceName
from gateway.answers.racing import Racing
from gateway.calls.model import Call, Capability, Identity
from gateway.config.resolved import ElicitationByLlm
from gateway.llm.port import Attempt, Budget, Completion, Meter, Plan, Prompt, Usage
from gateway.observability.decisions import DecisionLog
from gateway.policy.model import Both, Kind, KindPolicy, Layer, Policy, Setting, Source, Strategy, Technique

Json = dict[str, Any]

EVERYTHING: frozenset[Capability] = frozenset(
    {"sampling", "sampling.tools", "sampling.context", "elicitation.form", "elicitation.url", "roots"}
)
METHOD = {"sampling": "sampling/createMessage", "elicitation": "elicitation/create"}
SCHEMA: Json = {
    "type": "object",
    "properties": {"date": {"type": "string", "format": "date"}, "seats": {"type": "integer", "minimum": 1}},
    "required": ["date", "seats"],
}
PARAMS: dict[str, Json] = {
    "sampling": {
        "messages": [{"role": "user", "content": {"type": "text", "text": "Say hello"}}],
        "maxTokens": 50,
    },
    "elicitation": {"message": "Which table?", "requestedSchema": SCHEMA},
}
SAMPLED: Json = {
    "role": "assistant",
    "content": {"type": "text", "text": "hello from the client"},
    "model": "client-model",
    "stopReason": "endTurn",
}
ACCEPTED: Json = {"action": "accept", "content": {"date": "2026-05-01", "seats": 2}}
CLIENT_ANSWER = {"sampling": SAMPLED, "elicitation": ACCEPTED}
LLM_TEXT = {"sampling": "hello from the model", "elicitation": '{"date": "2026-06-01", "seats": 4}'}


ALICE = Identity("key-1", "alice", "session-secret", "desk-app")


@dataclass
class FakeCaller:
    """A client that gives one reply, once `gate` opens: a result, an exception, or silence (None)."""

    reply: Json | Exception | None = None
    profile: frozenset[Capability] = EVERYTHING
    defers: bool = False
    identity: Identity = ALICE
    asked: list[tuple[str, Json]] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event | None = None
    withdrawn: bool = False

    async def ask(self, method: str, params: Json) -> Json:
        self.asked.append((method, params))
        self.reached.set()
        if self.reply is None or self.gate is not None:
            try:
                await (self.gate or asyncio.Event()).wait()
            except asyncio.CancelledError:
                self.withdrawn = True
                raise
        if isinstance(self.reply, Exception):
            raise self.reply
        assert self.reply is not None
        return self.reply

    async def park(self, method: str, params: Json, limit: float) -> Json:
        assert self.defers
        assert limit > 0
        return await self.ask(method, params)

    def notify(self, method: str, params: Json) -> None:
        raise AssertionError("no answer notifies a client")


@dataclass
class ScriptedLlm:
    """A model that gives its replies in turn, once `gate` opens: a text, an exception, or silence (None)."""

    replies: list[str | Exception | None]
    available: bool = True
    prompts: list[Prompt] = field(default_factory=list)
    budgets: list[Budget] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event | None = None
    aborted: bool = False

    def plan(self, prompt: Prompt, *, estimated: bool = True) -> Plan:
        return Plan(("local/tiny-model",))

    async def complete(self, prompt: Prompt, budget: Budget) -> Completion:
        self.prompts.append(prompt)
        self.budgets.append(budget)
        self.reached.set()
        reply = self.replies[min(len(self.prompts), len(self.replies)) - 1]
        if reply is None or self.gate is not None:
            try:
                await (self.gate or asyncio.Event()).wait()
            except asyncio.CancelledError:
                self.aborted = True
                raise
        if isinstance(reply, Exception):
            raise reply
        return Completion(
            {"type": "text", "text": reply},
            "tiny-model",
            "local",
            "endTurn",
            Usage(7, 3),
            (Attempt("local", "tiny-model", 0.2),),
        )

    async def aclose(self) -> None:
        raise AssertionError("a broker does not own its models")


def policy(
    strategy: Strategy,
    *,
    fallback: bool = True,
    enabled: bool = True,
    timeout: float = 20.0,
    client_timeout: float | None = None,
    unsolicited: bool = False,
    both: Both | None = None,
    technique: Technique | None = None,
    min_confidence: float | None = None,
) -> Policy:
    """Every kind routed by one organization default; `timeout` bounds each leg."""
    patience = timeout if client_timeout is None else client_timeout

    def of(kind: Kind) -> KindPolicy:
        path = f"{kind}.default_{kind}_strategy"
        source = Source("gateway.yaml", path, 12)
        return KindPolicy(
            enabled=Setting(enabled, Source("gateway.yaml", f"{kind}.enabled", 3)),
            organization=Layer(
                path,
                strategy=Setting(strategy, source),
                fallback_to_llm=Setting(fallback, source),
                client_timeout=Setting(patience, source),
                llm_timeout=Setting(timeout, source),
                max_attempts=Setting(2, source),
                technique=None if technique is None else Setting(technique, source),
                min_confidence=None if min_confidence is None else Setting(min_confidence, source),
            ),
            smart_discovery=Layer(f"smart_discovery.default_{kind}_strategy"),
            smart_discovery_enabled=False,
            external_default=Layer(f"external_mcp.external_routing.{kind}.default_strategy"),
            unsolicited_llm=unsolicited,
            both=both or Both(head_start=0.0),
        )

    return Policy(of("sampling"), of("elicitation"))


@dataclass
class Scene:
    """One broker with its client, its model and its log."""

    caller: FakeCaller
    llm: ScriptedLlm
    broker: Broker
    log: DecisionLog
    decisions: list[Decision]
    call: Call

    async def ask(self, kind: str, params: Json | None = None, **changes: Any) -> Any:
        """Put a question of a kind through the broker."""
        return await self.broker.answer(self.request(kind, params, **changes))

    def request(self, kind: str, params: Json | None = None, **changes: Any) -> InputRequest:
        method = METHOD.get(kind, kind)
        shown = PARAMS.get(kind, {}) if params is None else params
        fields: Json = {"server": "booking", "method": method, "params": shown, "call": self.call, **changes}
        return InputRequest(**fields)

    @property
    def decision(self) -> Decision:
        """The one decision made."""
        assert len(self.decisions) == 1
        return self.decisions[0]


def scene(
    strategy: Strategy = Strategy.CLIENT_FIRST,
    *,
    caller: FakeCaller | None = None,
    llm: ScriptedLlm | None = None,
    limits: BrokerLimits | None = None,
    settings: ElicitationByLlm | None = None,
    max_tokens: int = 1000,
    label: bool = True,
    policies: Policy | None = None,
    meter: Meter | None = None,
    **routing: Any,
) -> Scene:
    """Set up a broker as the factory does, around scripted players."""
    client = caller or FakeCaller()
    model = llm or ScriptedLlm(["unused"])
    kinds: Mapping[Kind, ScriptedLlm] = {"sampling": model, "elicitation": model}
    forms = FormFiller(settings or ElicitationByLlm(), max_tokens=max_tokens)
    log, decisions = DecisionLog(10), list[Decision]()

    class Kept:
        def record(self, decision: Decision) -> None:
            decisions.append(decision)
            log.record(decision)

    answerers: Mapping[SourceName, Answerer] = {
        "client": ClientAnswerer(label_questions=label),
        "llm": LlmAnswerer(kinds, forms, max_tokens=max_tokens),
    }
    parties = Parties(answerers, Combiner(kinds, meter), Racing())
    broker = Broker(policies or policy(strategy, **routing), parties, limits or BrokerLimits(), Kept())
    params: Json = {"name": "book", "arguments": {"city": "Ulm"}, "_meta": {"progressToken": "hidden"}}
    call = Call("tools/call", params, client, "booking", "booking__book")
    return Scene(client, model, broker, log, decisions, call)
