"""Facts in, route out: who answers an input request, within which limits, and why.

Five levels are looked at, highest first: the tool, the external server (three places), the
organization, smart discovery, and what is built in. The first that names a strategy wins.
Every other setting resolves down the same levels by itself, so a time limit may come from
another level than the strategy.

A level may name its strategy by a list of cases (`gateway.policy.conditions`). Such a level always
names one, so which level wins does not depend on the facts that its conditions look at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from gateway.policy.conditions import Looked, choose
from gateway.policy.model import (
    KINDS,
    Choice,
    Facts,
    Kind,
    KindPolicy,
    Layer,
    LevelName,
    Policy,
    Refusal,
    Route,
    Setting,
    Source,
    Step,
    Strategy,
    Technique,
)
from gateway.policy.outcomes import legs

T = TypeVar("T")

UNSET = "unset"
BUILT_IN = "built in"

BUILT_IN_STRATEGY: Mapping[Kind, Strategy] = {
    "sampling": Strategy.CLIENT_FIRST,
    "elicitation": Strategy.CLIENT,
}
BUILT_IN_CLIENT_TIMEOUT: Mapping[Kind, float] = {"sampling": 120.0, "elicitation": 300.0}
"""Seconds a client has to answer when no level says otherwise; a form takes a person longer."""
BUILT_IN_LLM_TIMEOUT = 120.0
"""Seconds the whole LLM leg has, all providers and retries together."""
BUILT_IN_MAX_ATTEMPTS = 3
"""Attempts at one provider: the first, and two retries."""


@dataclass(frozen=True, slots=True)
class _Place:
    """One place of the configuration that a level consists of. A `note` says why it is left out."""

    level: LevelName
    layer: Layer
    note: str = ""


def resolve(policy: Policy, facts: Facts) -> Route | Refusal:
    """Decide who answers one input request.

    The trail names every level, those below the winner included. A `Refusal` names the
    setting that turned the request away.
    """
    kind_policy = policy.of(facts.kind)
    if not kind_policy.enabled.value:
        source = kind_policy.enabled.source
        return Refusal(facts.kind, f"{facts.kind} is turned off: {source} is false")
    if facts.unsolicited and not kind_policy.unsolicited_llm:
        return Refusal(
            facts.kind,
            f"server '{facts.server}' asked outside any call; set {facts.kind}.unsolicited: own_llm "
            "to let the gateway's LLM answer such requests",
        )
    places = tuple(_places(kind_policy, facts))
    route = replace(_route(facts, places), both=kind_policy.both)
    return _llm_only(route, facts) if facts.unsolicited else route


def chosen(policy: Policy, facts: Facts) -> Choice:
    """Return what the highest level that names a strategy says, its cases included."""
    winner = _winner(tuple(_places(policy.of(facts.kind), facts)))
    return BUILT_IN_STRATEGY[facts.kind] if winner is None else winner[1].value


def conditional(policy: Policy, facts: Facts) -> bool:
    """Whether a route, or its trail, may depend on more than kind, server, tool and belonging to a call."""
    return any(
        place.layer.strategy is not None
        and not place.note
        and not isinstance(place.layer.strategy.value, Strategy)
        for place in _places(policy.of(facts.kind), facts)
    )


def possible(policy: Policy, facts: Facts) -> tuple[Route, ...]:
    """Return every route that a question may get, whichever case applies then; none if it is refused."""
    route, choice = resolve(policy, facts), chosen(policy, facts)
    if isinstance(route, Refusal):
        return ()
    if isinstance(choice, Strategy):
        return (route,)
    return tuple(replace(route, strategy=case.use, path=str(case.source)) for case in choice)


def can_llm_answer(policy: Policy, kind: Kind, server: str) -> bool:
    """Whether some call of `server` would have its questions of `kind` answered by the LLM.

    Policy does not know whether a provider is configured: declare the capability only if
    that holds as well.
    """
    kind_policy = policy.of(kind)
    tools = [tool for tool in kind_policy.tools if server in kind_policy.tool_servers.get(tool, (server,))]
    facts = [Facts(kind, server), *(Facts(kind, server, tool=tool) for tool in tools)]
    return any(
        "llm" in legs(route.strategy, fallback_to_llm=route.fallback_to_llm)
        for fact in facts
        for route in possible(policy, fact)
    )


def llm_kinds(policy: Policy, server: str) -> frozenset[Kind]:
    """Return the kinds for which `can_llm_answer` holds."""
    return frozenset(kind for kind in KINDS if can_llm_answer(policy, kind, server))


def _places(policy: KindPolicy, facts: Facts) -> Iterator[_Place]:
    """Yield every place of every level, highest first, whether it is set or not."""
    kind, server = facts.kind, facts.server
    if facts.tool is None or facts.unsolicited:
        yield _Place("tool", Layer(f"{kind}_strategy of a tool"), "not a tool's call")
    else:
        unset = Layer(f"capabilities: tools[name={facts.tool}].{kind}_strategy")
        yield _Place("tool", policy.tools.get(facts.tool, unset))
    routing = f"external_mcp.external_routing.{kind}"
    off = "" if policy.external_enabled else "off: external_mcp.external_routing.enabled is false"
    override = Layer(f"{routing}.server_strategies.{server}")
    yield _Place("server", policy.server_overrides.get(server, override), off)
    own = Layer(f"mcpServers.{server}.{kind}_strategy")
    yield _Place("server", policy.servers.get(server, own), off)
    yield _Place("server", policy.external_default, off)
    yield _Place("organization", policy.organization)
    disabled = "" if policy.smart_discovery_enabled else "off: smart_discovery is not enabled"
    yield _Place("smart_discovery", policy.smart_discovery, disabled)


def _winner(places: tuple[_Place, ...]) -> tuple[_Place, Setting[Choice]] | None:
    """Return the highest place that names a strategy, and what it names."""
    for place in places:
        if not place.note and place.layer.strategy is not None:
            return place, place.layer.strategy
    return None


def _route(facts: Facts, places: tuple[_Place, ...]) -> Route:
    """Resolve the strategy and, independently of it, every limit."""
    kind = facts.kind
    winner = _winner(places)
    steps = [step for place in places for step in _steps(place, facts, chosen=_is(place, winner))]
    built_in = Step("built_in", BUILT_IN, BUILT_IN_STRATEGY[kind].value, chosen=winner is None)
    strategy, path = BUILT_IN_STRATEGY[kind], BUILT_IN
    if winner is not None:
        strategy, source = _named(winner[1], facts)
        path = str(source)
    fallback, fallback_path = _first(places, lambda layer: layer.fallback_to_llm, True)
    client, client_path = _first(places, lambda layer: layer.client_timeout, BUILT_IN_CLIENT_TIMEOUT[kind])
    llm, llm_path = _first(places, lambda layer: layer.llm_timeout, BUILT_IN_LLM_TIMEOUT)
    technique, technique_path = _first(places, lambda layer: layer.technique, Technique())
    floor, floor_path = _first(places, lambda layer: layer.min_confidence, 0.0)
    attempts, attempts_path = _first(places, lambda layer: layer.max_attempts, BUILT_IN_MAX_ATTEMPTS)
    return Route(
        kind=kind,
        strategy=strategy,
        level=winner[0].level if winner else "built_in",
        path=path,
        fallback_to_llm=fallback,
        client_timeout=client,
        llm_timeout=llm,
        max_attempts=attempts,
        trail=(*steps, built_in),
        origins=(
            ("fallback_to_llm", fallback_path),
            ("client_timeout", client_path),
            ("llm_timeout", llm_path),
            ("max_attempts", attempts_path),
            ("technique", technique_path),
            ("min_confidence", floor_path),
        ),
        min_confidence=floor,
        technique=technique,
    )


def _first(
    places: tuple[_Place, ...], pick: Callable[[Layer], Setting[T] | None], default: T
) -> tuple[T, str]:
    """Return the highest set value of one setting and the place it comes from."""
    for place in places:
        setting = None if place.note else pick(place.layer)
        if setting is not None:
            return setting.value, str(setting.source)
    return default, BUILT_IN


def _is(place: _Place, winner: tuple[_Place, Setting[Choice]] | None) -> bool:
    return winner is not None and place is winner[0]


def _named(setting: Setting[Choice], facts: Facts) -> tuple[Strategy, Source]:
    """Return the strategy that a setting comes to, and where it is written."""
    if isinstance(setting.value, Strategy):
        return setting.value, setting.source
    # The last holds always: the configuration sees to that.
    case = next((looked.case for looked in choose(setting.value, facts) if looked.chosen), setting.value[-1])
    return case.use, case.source


def _steps(place: _Place, facts: Facts, *, chosen: bool) -> Iterator[Step]:
    """Yield what the trail says of a place: one line, or one for each case of a list."""
    setting = place.layer.strategy
    if setting is None:
        yield Step(place.level, place.layer.path, place.note or UNSET)
    elif isinstance(setting.value, Strategy):
        value = setting.value.value
        note = f"{value} ({place.note})" if place.note else value
        yield Step(place.level, str(setting.source), note, chosen)
    elif place.note:
        yield Step(place.level, str(setting.source), f"a list of cases ({place.note})")
    else:
        for looked in choose(setting.value, facts):
            yield Step(place.level, str(looked.case.source), _said(looked), chosen and looked.chosen)


def _said(looked: Looked) -> str:
    if looked.verdict is None:
        return f"{looked.case.use.value} (not looked at)"
    sense = "since" if looked.chosen else "not, since"
    return f"{looked.case.use.value} ({sense} {looked.verdict.why})"


def _llm_only(route: Route, facts: Facts) -> Route | Refusal:
    """Narrow a route to its LLM leg: a request that belongs to no call has no client to ask."""
    if "llm" in legs(route.strategy, fallback_to_llm=route.fallback_to_llm):
        return replace(route, strategy=Strategy.LLM)
    return Refusal(
        facts.kind,
        f"server '{facts.server}' asked outside any call, and {route.strategy.value} ({route.path}) "
        "leaves the answer to a client",
        route.trail,
    )
