"""The figures, as lines of text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from benchmarks.hybrid.pairs import Outcome
from benchmarks.hybrid.questions import PARTS, Question

_BUCKETS = 10
_WIDTH = 9


def accuracies(best: Sequence[Outcome], merge: Sequence[Outcome]) -> Iterator[str]:
    """Yield how often each party, each combination and an oracle were right, by part of the questions.

    ``closed`` is how much of the distance from the better leg to the oracle `best` has gone.
    """
    heads = ("questions", "client", "LLM", "best", "merge", "oracle", "closed")
    yield " " * 12 + "".join(f"{head:>{_WIDTH + 1}}" for head in heads)
    for part in (*PARTS, "unseen", "all"):
        chosen = [outcome for outcome in best if _belongs(outcome, part)]
        composed = [outcome for outcome in merge if _belongs(outcome, part)]
        if chosen:
            yield _row(part, chosen, composed)


def _belongs(outcome: Outcome, part: str) -> bool:
    """Whether a question counts for a row; ``unseen`` is all that no weight was chosen on."""
    own = outcome.question.part
    return part in ("all", own) or (part == "unseen" and own != "tuning")


def _row(part: str, best: Sequence[Outcome], merge: Sequence[Outcome]) -> str:
    client, llm = _share(best, lambda one: one.client), _share(best, lambda one: one.llm)
    chosen, oracle = _share(best, lambda one: one.combined), _share(best, lambda one: one.client or one.llm)
    gap = oracle - max(client, llm)
    closed = f"{(chosen - max(client, llm)) / gap:.0%}" if gap else "-"
    composed = f"{_share(merge, lambda one: one.combined):.1%}" if merge else "-"
    shares = [f"{share:.1%}" for share in (client, llm, chosen)] + [composed, f"{oracle:.1%}", closed]
    return f"  {part:10}{len(best):>{_WIDTH + 1}}" + "".join(f"{share:>{_WIDTH + 1}}" for share in shares)


def by_kind(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the same by kind of question, in counts."""
    kinds = dict.fromkeys(outcome.question.kind for outcome in outcomes)
    yield f"  {'kind':12}{'of':>4}{'client':>8}{'LLM':>6}{'best':>6}{'oracle':>8}"
    for kind in kinds:
        of = [outcome for outcome in outcomes if outcome.question.kind == kind]
        client, llm, best = (sum(map(bool, flags)) for flags in zip(*map(_flags, of), strict=True))
        oracle = sum(one.client or one.llm for one in of)
        yield f"  {kind:12}{len(of):>4}{client:>8}{llm:>6}{best:>6}{oracle:>8}"


def _flags(outcome: Outcome) -> tuple[bool, bool, bool]:
    return outcome.client, outcome.llm, outcome.combined


def fashions(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield how often `best` left the scripted leg's wrong answer, by how it was wrong."""
    for fashion in ("plainly", "hedging", "cut off"):
        of = [one for one in outcomes if one.question.wrongly == fashion]
        known, saved = sum(one.llm for one in of), sum(one.combined for one in of)
        yield f"  {fashion:10}{len(of):>4} wrong answers; the LLM had {known} of them right, best {saved}"
    of = [one for one in outcomes if one.question.wrongly is None]
    lost = sum(not one.combined for one in of)
    yield f"  {'right':10}{len(of):>4} right answers; best gave up {lost} of them"


def calibration(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield what a confidence was worth: answers in each tenth of the scale, and how many were right."""
    pairs = [
        (one.confidence[side], right)
        for one in outcomes
        for side, right in (("client", one.client), ("llm", one.llm))
    ]
    yield f"  {'confidence':14}{'answers':>8}{'mean':>8}{'right':>8}"
    error = 0.0
    for bucket in range(_BUCKETS):
        of = [pair for pair in pairs if min(_BUCKETS - 1, int(pair[0] * _BUCKETS)) == bucket]
        if of:
            mean, right = sum(score for score, _ in of) / len(of), sum(right for _, right in of) / len(of)
            error += abs(mean - right) * len(of) / len(pairs)
            name = f"{bucket / _BUCKETS:.1f} to {(bucket + 1) / _BUCKETS:.1f}"
            yield f"  {name:14}{len(of):>8}{mean:>8.2f}{right:>8.0%}"
    yield f"  expected calibration error {error:.3f}"


def _share(outcomes: Sequence[Outcome], holds: Callable[[Outcome], bool]) -> float:
    return sum(map(holds, outcomes)) / len(outcomes) if outcomes else 0.0


def leg_line(name: str, about: str, questions: Sequence[Question], right: Callable[[Question], bool]) -> str:
    """Return one leg's accuracy."""
    share = sum(map(right, questions)) / len(questions)
    return f"  {name:12}{share:>7.1%}  {about}"
