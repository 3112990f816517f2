"""What is declared to a server for a caller: what can be met, no more and no less."""

from __future__ import annotations

import pytest

from gateway.calls.model import Extra
from gateway.policy.model import Strategy
from gateway.upstream.profiles import Profiles
from tests.upstream.fleet_fakes import config, kind_policy, policy, session, stateless

S, SC, ST = "sampling", "sampling.context", "sampling.tools"
F, U, R = "elicitation.form", "elicitation.url", "roots"
ALL = {S, SC, ST, F, U, R}
C, L, CF, LF = Strategy.CLIENT, Strategy.LLM, Strategy.CLIENT_FIRST, Strategy.LLM_FIRST

# strategy for both kinds, era, what the client can be asked, is it asked in results -> declared
TABLE = [
    (C, "handshake", ALL, False, {S, SC, ST, F, U, R}),
    (C, "handshake", {S}, False, {S}),
    (C, "handshake", {ST, SC}, False, set()),  # parts of a capability the client does not have
    (C, "handshake", set(), False, set()),
    (C, "handshake", ALL, True, {S, SC, ST, F, U}),  # asked by parking the call; roots need a lane of its own
    (C, "modern", ALL, True, {S, SC, ST, F, U, R}),
    (C, "modern", ALL, False, {S, SC, ST, F, U, R}),
    (L, "handshake", ALL, False, {S, F, R}),  # the client is never asked: its parts do not count
    (L, "handshake", set(), False, {S, F}),
    (L, "handshake", set(), True, {S, F}),
    (CF, "handshake", {U}, False, {S, F, U}),
    (CF, "handshake", set(), False, {S, F}),
    (LF, "handshake", {S, ST}, False, {S, ST, F}),
    (None, "handshake", set(), False, {S}),  # built in: client_first for sampling, client_forwarded for forms
]


@pytest.mark.parametrize(("strategy", "era", "offers", "defers", "declared"), TABLE)
def test_declared_is_what_can_be_met(strategy, era, offers, defers, declared) -> None:
    profiles = Profiles(policy(strategy, strategy), {"s": config("s")})
    caller = stateless("x", frozenset(offers), defers=True) if defers else session("x", frozenset(offers))
    assert profiles.declared("s", era, caller) == declared


def test_a_kind_that_is_off_is_not_declared() -> None:
    off = policy(sampling=kind_policy(C, enabled=False), elicitation=kind_policy(C))
    assert Profiles(off, {"s": config("s")}).declared("s", "handshake", session("x", frozenset(ALL))) == {
        F,
        U,
        R,
    }


def test_without_a_provider_the_llm_can_meet_nothing() -> None:
    profiles = Profiles(policy(CF, L), {"s": config("s")}, llm_kinds=["elicitation"])
    assert profiles.base("s") == {F}
    assert profiles.declared("s", "handshake", session("x", frozenset({S}))) == {S, F}


def test_tools_are_declared_where_a_provider_can_call_them() -> None:
    profiles = Profiles(policy(CF, L), {"s": config("s")}, llm_tools=True)
    assert profiles.base("s") == {S, ST, F}


def test_one_tool_that_the_llm_answers_for_is_enough() -> None:
    rules = policy(elicitation=kind_policy(C, tools={"s__t": L}), sampling=C)
    assert Profiles(rules, {"s": config("s")}).base("s") == {F}


def test_roots_are_for_lanes_that_are_the_clients_own() -> None:
    roots = frozenset({R})
    for isolation, caller, declared in (
        ("session", session("x", roots), {R}),
        ("shared", session("x", roots), set()),
        ("call", session("x", roots), set()),
        ("session", stateless("x", roots, defers=True), set()),
        ("session", stateless("x", roots, defers=True, principal="p"), {R}),
        ("call", stateless("x", roots, defers=True), {R}),
        ("shared", stateless("x", roots, defers=True, principal="p"), set()),
    ):
        profiles = Profiles(policy(C, C), {"s": config("s", isolation=isolation)})
        assert profiles.declared("s", "handshake", caller) == declared


@pytest.mark.parametrize(
    ("sampling", "elicitation", "offers", "party"),
    [
        (C, C, {S}, "client:x"),
        (C, C, {F}, "client:x"),
        (C, C, set(), None),
        (L, C, {S}, "principal:p"),  # never asked, but the LLM samples on its account
        (L, C, {S, F}, "client:x"),
        (C, L, {S, F}, "client:x"),
        (C, L, set(), "client:x"),  # the LLM fills in forms from the call's own arguments
    ],
)
def test_the_party_is_whose_answers_a_question_gets(sampling, elicitation, offers, party) -> None:
    profiles = Profiles(policy(sampling, elicitation), {"s": config("s")})
    assert profiles.party("s", "handshake", session("x", frozenset(offers), "p"), None) == party


def test_lane_keys_differ_by_how_questions_are_answered_not_by_where_that_is_written() -> None:
    rules = policy(C, kind_policy(C, tools={"s__same": C, "s__llm": L}))
    profiles = Profiles(rules, {"s": config("s")})
    caller = session("x", frozenset({F}))
    plain, same, llm = (
        profiles.key("s", "handshake", caller, tool) for tool in ("s__plain", "s__same", "s__llm")
    )
    assert plain == same != llm


def test_a_call_whose_questions_would_be_parked_shares_its_lane_with_none() -> None:
    profiles = Profiles(policy(C, kind_policy(L, tools={"s__ask": C})), {"s": config("s")})
    retrying = stateless("p", frozenset({F}), defers=True, principal="p")
    asking = [profiles.key("s", "handshake", retrying, "s__ask") for _ in range(2)]
    assert asking[0] != asking[1]
    assert asking[0].party == asking[1].party == "client:p"
    plain = [profiles.key("s", "handshake", retrying, "s__other") for _ in range(2)]
    assert plain[0] == plain[1]
    exact = [profiles.key("s", "modern", retrying, "s__ask") for _ in range(2)]
    assert exact[0] == exact[1]


@pytest.mark.parametrize(
    ("strategy", "era", "defers", "parks"),
    [
        (C, "handshake", True, True),
        (C, "modern", True, False),  # asks in its result, and keeps nothing open
        (C, "handshake", False, False),  # is asked on the call's own stream
        (L, "handshake", True, False),  # the client is never asked
    ],
)
def test_only_a_server_that_waits_for_a_retry_has_its_calls_parked(strategy, era, defers, parks) -> None:
    profiles = Profiles(policy(strategy, strategy), {"s": config("s")})
    offers = frozenset({S, F})
    caller = stateless("x", offers, defers=True) if defers else session("x", offers)
    assert profiles.parks("s", era, caller, "s__ask") is parks


def test_what_a_server_names_later_is_declared_from_then_on() -> None:
    profiles = Profiles(policy(C, C), {"s": config("s")})
    extra = Extra("extensions", "com.example/maps")
    caller = session("x", frozenset({S, extra}))
    assert profiles.declared("s", "handshake", caller) == {S}
    profiles.extensions.learn("s", {"extensions": {"com.example/maps": {}}})
    assert profiles.declared("s", "handshake", caller) == {S, extra}
