"""The LLM leg: the gateway's own model answers a sampling request, or fills in a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NoReturn

import structlog
from mcp_types import CreateMessageRequestParams
from pydantic import ValidationError

from gateway import codes
from gateway.answers.accounts import Unmetered, account_of
from gateway.answers.cache import AnswerCache
from gateway.answers.completions import leg_ended_by
from gateway.answers.elicitation_llm import FormFiller
from gateway.answers.model import Answer, Deferred, InputRequest, LegEnded, SourceName
from gateway.answers.plainly import plainly_valid
from gateway.answers.techniques import sample
from gateway.calls.alarms import Alarms
from gateway.calls.deadlines import Deadline
from gateway.config.resolved import CacheRules
from gateway.errors import ProviderError
from gateway.llm.port import Llm, Meter, Prompt
from gateway.policy.model import Kind, Outcome, Route, Strategy

Json = dict[str, Any]
_log: Any = structlog.get_logger("backchannel.answers")

_GRACE_SECONDS: Final = 1.0
"""The chain ends by its own clock and says what it tried; this long after, it is cut off."""


class LlmAnswerer:
    """Answers with the provider chain of each kind.

    `max_tokens` is the most that one question may ask of a model. `includeContext` is
    ignored: a prompt holds what the asking server itself sent, and nothing else.
    """

    source: SourceName = "llm"

    def __init__(
        self,
        llms: Mapping[Kind, Llm],
        forms: FormFiller,
        *,
        max_tokens: int,
        meter: Meter | None = None,
        cache: AnswerCache | None = None,
    ) -> None:
        self._llms = llms
        self._forms = forms
        self._max_tokens = max_tokens
        self._meter = meter or Unmetered()
        self._cache = cache or AnswerCache(CacheRules(enabled=False))
        self._alarms: dict[float, Alarms] = {}

    async def answer(self, request: InputRequest, route: Route) -> Answer | Deferred:
        """Answer within `route.llm_timeout`; see `Answerer.answer`."""
        if route.kind == "elicitation":
            self._forms.refuse_unfit(request)
        llm = self._llms.get(route.kind)
        if llm is None or not llm.available:
            reason = f"no LLM provider is configured ({route.kind}.llm_config)"
            raise LegEnded(Outcome.UNAVAILABLE, reason, code=codes.INVALID_CONFIG)
        llm = self._meter.charged(llm, account_of(request, route))
        try:
            with self._limit(route.llm_timeout + _GRACE_SECONDS):
                if route.kind == "elicitation":
                    return await self._forms.fill(request, llm, route)
                return await self._sample(request, llm, route)
        except TimeoutError:
            reason = f"the LLM did not answer within {route.llm_timeout:g} s"
            raise LegEnded(Outcome.TIMED_OUT, reason, code=codes.TIMEOUT) from None
        except ProviderError as error:
            raise leg_ended_by(error) from error

    def _limit(self, seconds: float) -> Deadline:
        alarms = self._alarms.get(seconds)
        if alarms is None:
            alarms = self._alarms[seconds] = Alarms(seconds)
        return Deadline(seconds, seconds, alarms)

    async def _sample(self, request: InputRequest, llm: Llm, route: Route) -> Answer:
        prompt = self._prompt(request, route)

        async def ask() -> Answer:
            return await sample(llm, prompt, route, tokens=self._max_tokens)

        if not self._cache.enabled:
            return await ask()
        key = self._cache.key(request, route, prompt, partial(llm.plan, estimated=False))
        return await self._cache.answer(key, ask)

    def _prompt(self, request: InputRequest, route: Route) -> Prompt:
        params = request.params
        # Required by the protocol, forgotten by some servers: the bound itself will do.
        checked = _checked({"maxTokens": self._max_tokens, **params})
        if checked.max_tokens > self._max_tokens:
            _log.info(
                "max_tokens_capped",
                server=request.server,
                asked=checked.max_tokens,
                limit=self._max_tokens,
                setting="limits.max_tokens_per_question",
            )
        return Prompt(
            messages=tuple(params["messages"]),
            max_tokens=min(checked.max_tokens, self._max_tokens),
            system=checked.system_prompt,
            temperature=checked.temperature,
            stop_sequences=tuple(checked.stop_sequences or ()),
            model_preferences=params.get("modelPreferences"),
            tools=tuple(params.get("tools") or ()),
            tool_choice=params.get("toolChoice"),
            # Only where two answers are weighed does anybody look at how sure the model was of its own.
            logprobs=route.strategy is Strategy.HYBRID,
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is used of parameters that are plainly valid, named as the schema's model names it."""

    max_tokens: int
    system_prompt: str | None
    temperature: float | None
    stop_sequences: Sequence[str] | None = None


def _checked(params: Json) -> CreateMessageRequestParams | _Asked:
    if plainly_valid(params) and params["maxTokens"] >= 1:
        temperature = params.get("temperature")
        warmth = None if temperature is None else float(temperature)
        return _Asked(params["maxTokens"], params.get("systemPrompt"), warmth)
    try:
        checked = CreateMessageRequestParams.model_validate(params)
    except ValidationError as error:
        # Place and rule only: the library's own text quotes what the server sent.
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        _invalid(f"the server's request is not usable: {place}: {first['msg']}")
    if checked.max_tokens < 1:
        _invalid("the server's request is not usable: maxTokens must be at least 1")
    return checked


def _invalid(reason: str) -> NoReturn:
    raise LegEnded(Outcome.FAILED, reason, code=codes.INVALID_REQUEST)
