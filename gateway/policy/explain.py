"""A route or a refusal in words, for people."""

from __future__ import annotations

from gateway.policy.model import Facts, LevelName, Refusal, Route, Step, Strategy, Technique
from gateway.policy.outcomes import legs

_LEVELS: dict[LevelName, str] = {
    "tool": "1 tool",
    "server": "2 external server",
    "organization": "3 organization",
    "smart_discovery": "4 smart discovery",
    "built_in": "5 built in",
}
_LEG_WORDS = {"llm": "the gateway's LLM", "client": "the calling client"}


def explain(facts: Facts, decision: Route | Refusal) -> list[str]:
    """Render the trail, the winner and its limits as lines of text."""
    about = f"tool {facts.tool}" if facts.tool else "no tool"
    head = f"{facts.kind} asked by server {facts.server} ({about})"
    trail = _table([(_LEVELS[step.level], *_cells(step)) for step in decision.trail])
    if isinstance(decision, Refusal):
        return [head, *trail, f"  refused: {decision.reason}"]
    order = legs(decision.strategy, fallback_to_llm=decision.fallback_to_llm)
    who = ", then ".join(_LEG_WORDS[leg] for leg in order)
    places = dict(decision.origins)
    limits = [
        ("client leg", f"{decision.client_timeout:g} s", places.get("client_timeout", "")),
        ("LLM leg", f"{decision.llm_timeout:g} s", places.get("llm_timeout", "")),
        ("attempts per provider", str(decision.max_attempts), places.get("max_attempts", "")),
    ]
    if "llm" in order and decision.technique.name != "single_shot":
        limits.append(("LLM's technique", _technique(decision.technique), places.get("technique", "")))
    if "llm" in order and decision.min_confidence > 0:
        floor = f"{decision.min_confidence:g}"
        limits.append(("confidence of an LLM's form", floor, places.get("min_confidence", "")))
    if decision.strategy is Strategy.CLIENT_FIRST:
        fallback = str(decision.fallback_to_llm).lower()
        limits.append(("fall back to the LLM", fallback, places.get("fallback_to_llm", "")))
    return [
        head,
        *trail,
        f"  answered by: {who}",
        f"  because: {decision.strategy.value}, level {_LEVELS[decision.level]}, {decision.path}",
        *_table(limits),
    ]


def _technique(technique: Technique) -> str:
    if technique.name == "consensus":
        return f"consensus of {technique.samples} samples at temperature {technique.temperature:g}"
    if technique.name == "iterative":
        return f"iterative, at most {technique.rounds} rounds"
    return technique.name


def _cells(step: Step) -> tuple[str, str]:
    return (f"{step.value}  <- chosen" if step.chosen else step.value, step.path)


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    """Align three columns, indented."""
    first = max((len(row[0]) for row in rows), default=0)
    second = max((len(row[1]) for row in rows), default=0)
    return [f"  {a:<{first}}  {b:<{second}}  {c}".rstrip() for a, b, c in rows]
