"""`when … use …` as written: what is read, and what is refused with its line and a fix."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.policy.model import Facts, Strategy
from gateway.policy.resolve import resolve

HEAD = "sampling:\n  default_sampling_strategy:\n"


BROKEN = {
    "no last case": (
        "    - when: {client: a}\n      use: hybrid\n",
        "2: sampling.default_sampling_strategy: the last entry has a `when`, so that nothing holds",
        "add `- use: <strategy>` at the end",
    ),
    "a case that hides the rest": (
        "    - use: hybrid\n    - use: parallel\n",
        "2: sampling.default_sampling_strategy: entry [0] holds always",
        "give it a `when`, or move it to the end",
    ),
    "a zone alone, which asks for nothing": (
        "    - when: {timezone: Europe/Berlin}\n      use: hybrid\n    - use: parallel\n",
        "2: sampling.default_sampling_strategy: entry [0] holds always",
        "give it a `when`, or move it to the end",
    ),
    "an empty list": (
        "    []\n",
        "2: sampling.default_sampling_strategy: the list is empty",
        "add `- use: <strategy>`",
    ),
    "an unknown condition": (
        "    - when: {betwen: '1:00-2:00'}\n      use: hybrid\n    - use: parallel\n",
        "3: sampling.default_sampling_strategy[0].when.betwen: unknown key 'betwen'",
        "did you mean 'between'?",
    ),
    "an unknown condition inside another": (
        "    - when: {prompt: {max_token: 5}}\n      use: hybrid\n    - use: parallel\n",
        "3: sampling.default_sampling_strategy[0].when.prompt.max_token: unknown key 'max_token'",
        "did you mean 'max_tokens'?",
    ),
    "an unknown annotation": (
        "    - when: {annotations: {readonlyHint: true}}\n      use: hybrid\n    - use: parallel\n",
        "3: sampling.default_sampling_strategy[0].when.annotations.readonlyHint: unknown key",
        "did you mean 'readOnlyHint'?",
    ),
    "a strategy nobody knows": (
        "    - when: {client: a}\n      use: hybird\n    - use: parallel\n",
        "4: sampling.default_sampling_strategy[0].use: 'hybird' is not a strategy",
        "did you mean 'hybrid'?",
    ),
    "no strategy": (
        "    - when: {client: a}\n    - use: parallel\n",
        "3: sampling.default_sampling_strategy[0]: the key 'use' is missing",
        "add `use:` with a value",
    ),
    "no time of day": (
        "    - when: {between: '25:00-06:00'}\n      use: hybrid\n    - use: parallel\n",
        "3: sampling.default_sampling_strategy[0].when.between[0]: '25:00-06:00' is not a time of day",
        'write "22:00-06:00", in quotes',
    ),
    "a time without length": (
        "    - when: {between: '6:00-06:00'}\n      use: hybrid\n    - use: parallel\n",
        "3: sampling.default_sampling_strategy[0].when.between[0]: '6:00-06:00' is over as it begins",
        'for all day leave it out, or write "00:00-24:00"',
    ),
    "a zone nobody knows": (
        "    - when: {weekdays: [sat], timezone: Europe/Berlim}\n      use: hybrid\n    - use: parallel\n",
        "3: sampling.default_sampling_strategy[0].when.timezone: 'Europe/Berlim' is not a time zone",
        "did you mean 'Europe/Berlin'?",
    ),
    "a day nobody knows": (
        "    - when: {weekdays: [frii]}\n      use: hybrid\n    - use: parallel\n",
        "3: sampling.default_sampling_strategy[0].when.weekdays[0]: 'frii' is not one of mon, tue",
        "did you mean 'fri'?",
    ),
    "an amount of nothing": (
        "    - when: {load: {in_flight: 0}}\n      use: hybrid\n    - use: parallel\n",
        "3: sampling.default_sampling_strategy[0].when.load.in_flight: '0' should be greater than",
        "write a value greater than or equal to 1",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_list_is_told_with_its_line_and_a_fix(folder, name: str):
    text, message, fix = BROKEN[name]
    problem = str(folder.problem(HEAD + text))
    assert f"gateway.yaml:{message}" in problem
    assert fix in problem


WRITTEN = """\
elicitation:
  enable_hybrid_elicitation: false
sampling:
  default_sampling_strategy:
    - when: {between: ["22:00-24:00", "0:00 - 6:00"], weekdays: sat, timezone: Europe/Berlin}
      use: gateway_first
    - when:
        client: [claude*]
        principal: team-*
        model_hint: opus
        prompt: {min_characters: 1, max_characters: 9, min_tokens: 1, max_tokens: 2}
        annotations: {readOnlyHint: true, destructiveHint: false}
        spent: {fraction: 0.5, usd: 1, tokens: 10}
        load: {in_flight: 1, queued: 1}
      use: parallel
    - use: ${LAST:-client_first}
"""


def test_every_condition_is_read(folder):
    (first, second, last) = folder.load(WRITTEN).policy.sampling.organization.strategy.value
    assert [(window.start, window.end) for window in first.when.windows] == [(1320, 1440), (0, 360)]
    assert (first.when.days, str(first.when.zone)) == ((5,), "Europe/Berlin")
    assert (second.when.client, second.when.principal, second.when.hints) == (
        ("claude*",),
        ("team-*",),
        ("opus",),
    )
    sizes = second.when
    assert (sizes.min_characters, sizes.max_characters, sizes.min_tokens, sizes.max_tokens) == (1, 9, 1, 2)
    assert sizes.annotations == (("readOnlyHint", True), ("destructiveHint", False))
    assert (sizes.spent_fraction, sizes.spent_usd, sizes.spent_tokens) == (0.5, 1, 10)
    assert (sizes.in_flight, sizes.queued) == (1, 1)
    assert (last.use, last.when) == (Strategy.CLIENT_FIRST, None)
    assert [str(case.source) for case in (first, last)] == [
        "gateway.yaml:5 sampling.default_sampling_strategy[0]",
        "gateway.yaml:16 sampling.default_sampling_strategy[2]",
    ]


def test_a_variable_may_replace_a_list_or_one_value_in_it(folder):
    now = datetime(2026, 11, 20, tzinfo=UTC)
    whole = folder.load(WRITTEN, BACKCHANNEL_SAMPLING__DEFAULT_SAMPLING_STRATEGY="hybrid")
    assert resolve(whole.policy, Facts("sampling", "s", now=now)).strategy is Strategy.HYBRID
    one = folder.load(WRITTEN, BACKCHANNEL_SAMPLING__DEFAULT_SAMPLING_STRATEGY__2__USE="hybrid")
    assert resolve(one.policy, Facts("sampling", "s", now=now)).strategy is Strategy.HYBRID
    assert resolve(folder.load(None, LAST="parallel").policy, Facts("sampling", "s", now=now)).strategy is (
        Strategy.PARALLEL
    )


def test_checks_look_into_every_case(folder):
    text = (
        "elicitation:\n  enable_hybrid_elicitation: false\n  default_elicitation_strategy:\n"
        "    - when: {client: a}\n      use: hybrid\n    - use: client_forwarded\n"
    )
    assert "gateway.yaml:4: elicitation.default_elicitation_strategy[0]: 'hybrid' is turned off" in str(
        folder.problem(text)
    )
    warned = folder.load(text.replace("hybrid_elicitation: false", "hybrid_elicitation: true")).warnings
    assert any("default_elicitation_strategy[0]: 'hybrid' asks an LLM" in warning for warning in warned)
