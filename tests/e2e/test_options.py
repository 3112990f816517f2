"""Every option of who answers: changing its value changes what a client, a server or a service sees.

The options are those that the configuration's own models have. One without a row fails, so that a new
option comes with its proof.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import pytest_asyncio
from pydantic import BaseModel

from gateway.capabilities.raw import RawTool
from gateway.config import raw, raw_llm
from gateway.config.raw_servers import RawServer
from tests.support.options import conditions, llms, proofs, routing, techniques
from tests.support.options.stand import Row, played
from tests.support.raw.peers import SCRIPT, raw_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOTS: tuple[type[BaseModel], ...] = (
    raw.RawSampling,
    raw.RawElicitation,
    raw.RawSmartDiscovery,
    raw.RawExternalRouting,
    raw_llm.RawModel,
    raw_llm.RawCosts,
)
OF_A_LEVEL = {
    "sampling_strategy",
    "elicitation_strategy",
    "sampling_technique",
    "elicitation_min_confidence",
    "budget",
}
PARTS: dict[type[BaseModel], set[str]] = {
    RawTool: OF_A_LEVEL,
    RawServer: OF_A_LEVEL,
    raw.RawGateway: {"label_questions"},
    raw.RawLimits: {"max_question_depth", "max_tokens_per_question"},
}
"""Of models that are about more than who answers, the fields that are about it."""
ABOUT_WHO_ANSWERS = ("strategy", "technique", "confidence", "budget", "label")
"""Words in the names of such fields, so that a new one is missed here."""
TESTS = Path(__file__).parents[1]
ELSEWHERE = {"schema_url", "max_message_bytes", "type"}
"""Options that tests write in another way than by their names."""
ROWS: list[Row] = [*routing.ROWS, *llms.ROWS, *techniques.ROWS, *conditions.ROWS]


def shapes(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models inside a field's type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inside in get_args(annotation):
        yield from shapes(inside)


def options() -> set[str]:
    """Every option by model and field, but for mappings that stand in one place only."""
    owners: dict[type[BaseModel], set[str]] = {}
    fields: dict[type[BaseModel], set[str]] = {model: set(model.model_fields) for model in ROOTS} | PARTS
    queue = list(fields)
    for model in queue:
        for name in fields[model]:
            for inside in shapes(model.model_fields[name].annotation):
                owners.setdefault(inside, set()).add(f"{model.__name__}.{name}")
                if inside not in fields:
                    fields[inside] = set(inside.model_fields)
                    queue.append(inside)
    single = {next(iter(places)) for places in owners.values() if len(places) == 1}
    return {f"{model.__name__}.{name}" for model, names in fields.items() for name in names} - single


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncGenerator[str]:
    """The address of a server that asks."""
    async with raw_server("http-handshake", script=SCRIPT.with_name("many.py")) as config:
        yield config.url


async def test_every_option_has_a_row_and_every_row_an_option() -> None:
    shown = {row.option for row in ROWS} | {condition.option for condition in conditions.CONDITIONS}
    assert sorted(shown) == sorted(options())


def everything() -> set[str]:
    """Every option of the configuration by model and field, but for mappings of others."""
    found: set[str] = set()
    queue: list[type[BaseModel]] = [raw.RawGateway]
    for model in queue:
        owner = RawServer if issubclass(model, RawServer) else model
        for name, field in model.model_fields.items():
            inside = list(shapes(field.annotation))
            queue += [each for each in inside if each not in queue]
            found |= set() if inside else {f"{owner.__name__}.{name}"}
    return found


async def test_every_other_option_names_the_test_in_which_another_value_of_it_shows() -> None:
    assert sorted(proofs.PROOFS) == sorted(everything() - options())
    for option, place in proofs.PROOFS.items():
        file, _, test = place.partition("::")
        source = (TESTS / file).read_text()
        assert f"def {test}(" in source, option
        name = option.partition(".")[2]
        assert name in ELSEWHERE or re.search(rf"\b{name}\b", source), f"{option} is not in {file}"


async def test_no_field_about_who_answers_is_left_out_of_the_parts() -> None:
    for model in (RawTool, RawServer, raw.RawGateway):
        about = {name for name in model.model_fields if any(word in name for word in ABOUT_WHO_ANSWERS)}
        assert about == PARTS[model]


@pytest.mark.extensive
@pytest.mark.parametrize("row", ROWS, ids=[row.option for row in ROWS])
async def test_another_value_shows(row: Row, server: str, tmp_path: Path) -> None:
    one, other = [await played(row, row.values[which], server, tmp_path / str(which)) for which in (0, 1)]
    assert (one, other) == row.seen
    assert one != other


@pytest.mark.extensive
async def test_another_value_of_a_condition_shows(server: str, tmp_path: Path) -> None:
    row = conditions.ALL
    seen = await played(row, row.values[0], server, tmp_path / "house")
    assert seen == {condition.option: ("client", "llm") for condition in conditions.CONDITIONS}
