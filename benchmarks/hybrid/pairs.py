"""Two legs behind a gateway's broker: one is its client, the other its own LLM."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from benchmarks.hybrid.legs import Leg, text_of
from benchmarks.hybrid.questions import Question
from gateway.answers.broker import Broker
from gateway.answers.factory import build_broker
from gateway.answers.model import Decision, Deferred, InputRequest
from gateway.answers.stamp import KEY
from gateway.calls.model import Call, Identity, Profile
from gateway.config.loader import load
from gateway.config.resolved import GatewayConfig
from gateway.llm.chain import Chain
from gateway.llm.port import Budget, Completion, Plan, Prompt

Json = dict[str, Any]
Combine = Literal["best", "merge"]


@dataclass(frozen=True)
class Outcome:
    """What became of one question: who was right, and how sure the gateway was of each."""

    question: Question
    client: bool
    llm: bool
    combined: bool
    confidence: dict[str, float]
    chosen: str


class _Client:
    """The client: says what its leg said, without token probabilities, for which MCP has no place."""

    identity = Identity("benchmark")
    profile: Profile = frozenset({"sampling"})
    defers = False

    def __init__(self, completion: Completion) -> None:
        self._said = completion

    async def ask(self, method: str, params: Json) -> Json:  # noqa: ARG002
        said = self._said
        return {
            "role": "assistant",
            "content": said.content,
            "model": said.model,
            "stopReason": said.stop_reason,
        }

    async def park(self, method: str, params: Json, limit: float) -> Json:  # noqa: ARG002
        return await self.ask(method, params)

    def notify(self, method: str, params: Json) -> None:  # noqa: ARG002
        raise AssertionError("no answer notifies a client")


class _Llm:
    """The gateway's LLM: says what its leg said to a question, and composes with a real model."""

    available = True

    def __init__(self, leg: Leg, questions: Sequence[Question], model: Chain) -> None:
        self._said = {question.ask: leg.said[question.id] for question in questions}
        self._model = model

    def plan(self, prompt: Prompt) -> Plan:
        return self._model.plan(prompt)

    async def warm(self) -> None:
        await self._model.warm()

    async def aclose(self) -> None:
        """Leave the model to whoever built it."""

    async def complete(self, prompt: Prompt, budget: Budget) -> Completion:
        said = self._said.get(str(prompt.messages[-1]["content"]["text"]))
        return await self._model.complete(prompt, budget) if said is None else said


class _Unrecorded:
    def record(self, decision: Decision) -> None:
        """Keep nothing: the answer's own metadata says it all."""


def configured(combine: Combine) -> GatewayConfig:
    """Load a gateway's configuration with `hybrid` for sampling, and defaults for the rest."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "gateway.yaml"
        hybrid = {"default_sampling_strategy": "hybrid", "hybrid": {"combine": combine}}
        file.write_text(json.dumps({"sampling": hybrid}), encoding="utf-8")
        return load(file, {})


async def run(
    client: Leg, llm: Leg, questions: Sequence[Question], model: Chain, combine: Combine
) -> list[Outcome]:
    """Put every question to a broker, whose client and LLM answer as the two legs did."""
    broker = build_broker(configured(combine), {"sampling": _Llm(llm, questions, model)}, _Unrecorded())
    return [await _one(broker, client, llm, question) for question in questions]


async def _one(broker: Broker, client: Leg, llm: Leg, question: Question) -> Outcome:
    caller = _Client(client.said[question.id])
    call = Call("tools/call", {"name": "ask"}, caller, "benchmark", "ask")
    result = await broker.answer(InputRequest("benchmark", "sampling/createMessage", question.params(), call))
    if isinstance(result, Deferred):
        raise TypeError("a client that is asked at once cannot be deferred")
    stamp = result["_meta"][KEY]
    sides = {"client": stamp["proxy_metadata"], "llm": stamp["local_metadata"]}
    return Outcome(
        question,
        client=client.right(question),
        llm=llm.right(question),
        combined=question.is_right(text_of(Completion(result["content"], "", "", ""))),
        confidence={side: told["confidence"]["score"] for side, told in sides.items()},
        chosen=stamp["source"],
    )
