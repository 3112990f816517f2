"""The model in the process, for real: loaded once for this module, without a network."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import pytest_asyncio

from gateway.errors import ProviderError
from gateway.llm.llamacpp import Engine, Generation
from gateway.llm.local import Local
from gateway.llm.port import Prompt
from tests.llm.dialects import AUDIO, IMAGE, SCHEMA, WEATHER, assistant, prompt, text, user

pytestmark = pytest.mark.asyncio(loop_scope="module")

STORY = "Tell me a very long story about a dragon. " * 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[Local]:
    provider = Local()
    await provider.warm()
    yield provider
    await provider.aclose()


def engine_of(provider: Local) -> Engine:
    return provider._engine


async def until_idle(provider: Local) -> None:
    await asyncio.wait_for(engine_of(provider).idle.wait(), 20)


class Watch:
    """Sets an event when a generation has given its first chunk, and its first word."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop, feed = asyncio.get_running_loop(), Generation.feed
        self.chunk, self.word, self.seen = asyncio.Event(), asyncio.Event(), []

        def watched(generation: Generation, chunk: dict[str, Any]) -> bool:
            stop = feed(generation, chunk)
            self.seen.append(generation)
            loop.call_soon_threadsafe(self.chunk.set)
            if generation.text:
                loop.call_soon_threadsafe(self.word.set)
            return stop

        monkeypatch.setattr(Generation, "feed", watched)


@pytest_asyncio.fixture(loop_scope="module")
async def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


async def test_it_answers_with_words_model_usage_and_stop_reason(model: Local) -> None:
    done = await model.complete(prompt("Say hello.", temperature=0.0, max_tokens=40), timeout=30)
    assert isinstance(done.content, dict)
    assert done.content["type"] == "text"
    assert done.content["text"].strip()
    assert done.model == "SmolLM2-135M-Instruct.Q4_1"
    assert done.provider == "local"
    assert done.usage.input_tokens is not None
    assert done.usage.input_tokens > 5
    assert done.usage.output_tokens is not None
    assert 0 < done.usage.output_tokens <= 40


async def test_the_token_limit_ends_an_answer_and_is_told(model: Local) -> None:
    done = await model.complete(prompt(STORY, temperature=0.0, max_tokens=7), timeout=30)
    assert done.stop_reason == "maxTokens"
    assert done.usage.output_tokens == 7


async def test_a_stop_sequence_ends_an_answer_is_left_out_and_is_told(model: Local) -> None:
    whole = await model.complete(prompt(STORY, temperature=0.0, max_tokens=40), timeout=30)
    words = whole.content["text"]  # type: ignore[call-overload]
    stop = words[20:31]  # crosses the borders of tokens
    asked = prompt(STORY, temperature=0.0, max_tokens=40, stop_sequences=("never-said", stop))
    done = await model.complete(asked, timeout=30)
    assert done.content == text(words[: words.index(stop)])
    assert done.stop_reason == "stopSequence"
    await until_idle(model)


async def test_a_system_prompt_and_turns_reach_the_model(model: Local) -> None:
    short = await model.complete(prompt("Hi", max_tokens=1), timeout=30)
    turns = prompt("Hi", assistant("Hello."), user("And", "now?"), system="You are a pirate.", max_tokens=1)
    longer = await model.complete(turns, timeout=30)
    assert (longer.usage.input_tokens or 0) > (short.usage.input_tokens or 0)


async def test_a_schema_is_satisfied(model: Local) -> None:
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "name": {"type": "string", "maxLength": 20}}}
    done = await model.complete(prompt("Invent a person.", schema=schema, max_tokens=200), timeout=30)
    jsonschema.validate(json.loads(done.content["text"]), schema)  # type: ignore[call-overload]


async def test_a_schema_without_a_grammar_fails_by_name(model: Local) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "nonsense"}}, "required": ["a"]}
    with pytest.raises(ProviderError, match="nonsense") as caught:
        await model.complete(prompt("Hi", schema=schema), timeout=30)
    assert (caught.value.code, caught.value.retryable) == ("E004", False)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (prompt(user("What is it?", IMAGE)), "image"),
        (prompt(user(AUDIO)), "audio"),
        (prompt("Hi", tools=(WEATHER,)), "tools"),
        (prompt(user({"type": "tool_result", "toolUseId": "c", "content": []})), "tool_result"),
    ],
)
async def test_what_a_text_model_cannot_take_is_named(model: Local, asked: Prompt, named: str) -> None:
    with pytest.raises(ProviderError, match=f"local .* does not take {named}") as caught:
        await model.complete(asked, timeout=30)
    assert (caught.value.code, caught.value.retryable) == ("E004", False)


async def test_a_prompt_that_is_too_long_has_its_own_code(model: Local) -> None:
    with pytest.raises(ProviderError) as caught:
        await model.complete(prompt("word " * 6000), timeout=30)
    assert (caught.value.code, caught.value.retryable) == ("E006", False)


async def test_cancelling_stops_the_generation_and_leaves_the_model_usable(
    model: Local, watch: Watch
) -> None:
    task = asyncio.create_task(model.complete(prompt(STORY, max_tokens=3000), timeout=60))
    await asyncio.wait_for(watch.word.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_idle(model)
    assert (watch.seen[0].output_tokens or 0) < 2000
    done = await model.complete(prompt("Hi", max_tokens=3), timeout=30)
    assert done.content


async def test_a_long_prompt_can_be_cancelled_before_the_first_word(model: Local, watch: Watch) -> None:
    task = asyncio.create_task(model.complete(prompt("count the words " * 900), timeout=60))
    await asyncio.wait_for(watch.chunk.wait(), 20)
    task.cancel()
    await until_idle(model)
    assert watch.seen[0].text == ""
    assert (watch.seen[0].input_tokens or 0) < 2700


async def test_a_timeout_stops_the_generation_too(model: Local) -> None:
    with pytest.raises(ProviderError) as caught:
        await model.complete(prompt(STORY, max_tokens=3000), timeout=0.3)
    assert (caught.value.code, caught.value.retryable) == ("E002", True)
    await until_idle(model)


async def test_the_event_loop_runs_while_the_model_does(model: Local, watch: Watch) -> None:
    task = asyncio.create_task(model.complete(prompt(STORY, max_tokens=60), timeout=60))
    await asyncio.wait_for(watch.chunk.wait(), 20)
    assert not task.done()
    assert engine_of(model).running == 1
    await task


async def test_more_requests_than_slots_wait_their_turn_and_a_waiting_one_can_leave(
    model: Local, watch: Watch
) -> None:
    asked = prompt("Count to ten.", max_tokens=12)
    tasks = [asyncio.create_task(model.complete(asked, timeout=60)) for _ in range(4)]
    await asyncio.wait_for(watch.chunk.wait(), 20)
    assert engine_of(model).running == 2
    tasks[3].cancel()
    results: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["Completion"] * 3 + ["CancelledError"]
    assert len(set(map(id, watch.seen))) == 3


async def test_two_providers_of_one_file_share_the_loaded_model(model: Local) -> None:
    other = Local(model="SmolLM2")
    assert engine_of(other) is engine_of(model)
    await other.aclose()
    assert (await model.complete(prompt("Hi", max_tokens=2), timeout=30)).content


async def test_nobody_can_connect_to_the_engine(model: Local) -> None:
    address = (await engine_of(model).load()).listening_address
    assert address.startswith("unix://")
    with pytest.raises(FileNotFoundError), socket.socket(socket.AF_UNIX) as attempt:
        attempt.connect(address.removeprefix("unix://"))


async def test_a_file_that_is_no_model_fails_by_name(tmp_path: Path) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF but not really")
    provider = Local(model="mine", model_path=file)
    for _ in range(2):
        with pytest.raises(ProviderError, match=r"broken\.gguf.*check that it is a GGUF file") as caught:
            await provider.complete(prompt("Hi"), timeout=30)
        assert (caught.value.code, caught.value.retryable) == ("E008", False)
    await provider.aclose()
    with pytest.raises(ProviderError, match="closed"):
        await provider.complete(prompt("Hi"), timeout=30)


async def test_stop_sequences_are_found_across_pieces_and_the_earliest_wins() -> None:
    generation = Generation(stops=("lo wo", "orld"))
    pieces = ["Hel", "", "lo", " w", "orld"]
    ends = [generation.feed({"choices": [{"delta": {"content": piece}}]}) for piece in pieces]
    assert ends == [False, False, False, False, True]
    assert (generation.text, generation.stop_reason) == ("Hel", "stopSequence")


SCRIPT = """
import asyncio, os, signal, sys, threading
from gateway.llm.local import Local
from gateway.llm.port import Prompt
mode = sys.argv[1]
asked = Prompt(({"role": "user", "content": {"type": "text", "text": "Tell a long story."}},), 3000)
async def main():
    provider = Local()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await provider.warm()
    task = asyncio.create_task(provider.complete(asked, timeout=60))
    while not any(g.text for g in provider._engine._running):
        await asyncio.sleep(0)
    if mode == "signal":
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stopped.wait(), 10)
    if mode != "abandon":
        await provider.aclose()
    print(mode, "left", threading.active_count() > 1, flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("mode", ["close", "abandon", "signal"])
async def test_the_process_ends_cleanly_in_mid_generation(mode: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, mode, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 0, err.decode()
    assert out.decode().startswith(f"{mode} left"), "nothing but our own words on standard output"
    assert err == b""
