from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.config.resolved import ModelConfig
from gateway.llm.selection import Offer, estimated_tokens, select
from gateway.policy.model import Source
from tests.llm.dialects import IMAGE, prompt, user

HERE = Source("gateway.yaml", "models[0]")


def offer(provider: str, model: str, *, default: bool = True, **known: Any) -> Offer:
    return Offer(provider, model, ModelConfig(model, HERE, **known) if known else None, default)


OPUS = offer(
    "anthropic",
    "claude-opus",
    aliases=("gpt-4",),
    intelligence=1.0,
    speed=0.2,
    input_price=15.0,
    output_price=75.0,
)
HAIKU = offer("anthropic", "claude-haiku", default=False, intelligence=0.4, speed=0.9,
              input_price=0.25, output_price=1.25)  # fmt: skip
GPT = offer("openai", "gpt-4o", intelligence=0.8, speed=0.6, input_price=2.5, output_price=10.0)
LOCAL = offer("local", "smollm2", intelligence=0.1, speed=0.3, context_window=2048)
OFFERS = [OPUS, HAIKU, GPT, LOCAL]


def chosen(preferences: dict[str, Any] | None, offers: list[Offer] = OFFERS, **changes: Any) -> list[str]:
    asked = replace(prompt("Hi", max_tokens=100), model_preferences=preferences, **changes)
    return [offers[index].model for index in select(offers, asked).order]


def hints(*names: str) -> dict[str, Any]:
    return {"hints": [{"name": name} for name in names]}


@pytest.mark.parametrize(
    ("preferences", "order"),
    [
        # Nothing asked: the default model of each provider, as configured.
        (None, ["claude-opus", "gpt-4o", "smollm2"]),
        ({}, ["claude-opus", "gpt-4o", "smollm2"]),
        ({"costPriority": 0}, ["claude-opus", "gpt-4o", "smollm2"]),
        # A hint is a substring, whatever the case; it can choose a model that is no default.
        (hints("HAIKU"), ["claude-haiku", "claude-opus", "gpt-4o", "smollm2"]),
        (hints("claude"), ["claude-opus", "claude-haiku", "gpt-4o", "smollm2"]),
        # In order, as long as they match something.
        (hints("nobody", "smol", "gpt"), ["smollm2", "gpt-4o", "claude-opus"]),
        # The name before the alias of another vendor's model.
        (hints("gpt-4"), ["gpt-4o", "claude-opus", "smollm2"]),
        # Priorities are shares of their sum: it is their relation that counts.
        ({"intelligencePriority": 1}, ["claude-opus", "gpt-4o", "claude-haiku", "smollm2"]),
        ({"intelligencePriority": 0.01}, ["claude-opus", "gpt-4o", "claude-haiku", "smollm2"]),
        ({"speedPriority": 0.9}, ["claude-haiku", "gpt-4o", "smollm2", "claude-opus"]),
        ({"costPriority": 1}, ["smollm2", "claude-haiku", "gpt-4o", "claude-opus"]),
        ({"costPriority": 0.5, "intelligencePriority": 0.5},
         ["gpt-4o", "claude-haiku", "smollm2", "claude-opus"]),
        # Among what one hint matches the priorities decide.
        ({**hints("claude"), "speedPriority": 1}, ["claude-haiku", "claude-opus", "gpt-4o", "smollm2"]),
        # What is no preference is ignored.
        ({"hints": [None, {"name": 7}, {}], "costPriority": "much", "speedPriority": True},
         ["claude-opus", "gpt-4o", "smollm2"]),
        ({"costPriority": float("nan"), "speedPriority": float("inf")}, ["claude-opus", "gpt-4o", "smollm2"]),
    ],
)  # fmt: skip
def test_hints_choose_before_priorities_and_priorities_before_the_order(preferences, order) -> None:
    assert chosen(preferences) == order


def test_without_a_catalogue_the_configured_order_stands_whatever_a_request_prefers() -> None:
    plain = [offer("openai", "gpt-4o"), offer("anthropic", "claude")]
    selection = select(plain, replace(prompt("Hi"), model_preferences=hints("claude")))
    assert selection.order == (0, 1)
    assert selection.explained is None


def test_a_model_whose_context_window_is_too_small_is_left_out_and_said_to_be() -> None:
    assert chosen(hints("smol"), max_tokens=4000) == ["claude-opus", "gpt-4o"]
    tiny = [LOCAL]
    selection = select(tiny, replace(prompt("x" * 8000), max_tokens=1000))
    assert selection.order == ()
    assert selection.explained is not None
    assert (
        selection.explained["candidates"][0]["left_out"] == "needs 3000 tokens, its context window has 2048"
    )


def test_the_choice_is_explained_with_every_candidate() -> None:
    asked = replace(
        prompt("Hi"),
        model_preferences={**hints("sonnet", "gpt-4"), "speedPriority": 0.25, "costPriority": 0.75},
    )
    explained = select(OFFERS, asked).explained
    assert explained is not None
    assert explained["chosen"] == "openai/gpt-4o"
    assert explained["reason"] == "hint 2 matches its name"
    assert explained["hints"] == ["sonnet", "gpt-4"]
    assert explained["priorities"] == {"cost": 0.75, "speed": 0.25, "intelligence": 0.0}
    assert [one["model"] for one in explained["candidates"]] == [
        f"{one.provider}/{one.model}" for one in OFFERS
    ]
    assert explained["candidates"][0]["matched"] == "alias gpt-4"


def test_tokens_are_estimated_from_text_and_media_wherever_they_stand() -> None:
    assert estimated_tokens(prompt("a" * 40)) == 10
    media = replace(prompt("Hi"), messages=(user("a" * 40, IMAGE),), system="b" * 8)
    assert estimated_tokens(media) == 10 + 2 + 1500
    nested = {
        "role": "user",
        "content": {"type": "tool_result", "toolUseId": "", "content": [{"type": "text", "text": "c" * 12}]},
    }
    assert estimated_tokens(replace(prompt("Hi"), messages=(nested,))) == 3
