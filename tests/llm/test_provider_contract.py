"""What every service over HTTP has in common, and each row of what can go wrong with it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from contextlib import aclosing, suppress

import pytest

from gateway.errors import ProviderError
from gateway.llm.port import Prompt, Provider, Usage
from tests.llm.dialects import DIALECTS, KEY, Dialect, assistant, prompt, text, user
from tests.support.scripted_http import (
    Step,
    answer,
    reset,
    scripted_http,
    silence,
    truncated,
    unused_port,
)

pytestmark = pytest.mark.parametrize("dialect", DIALECTS, ids=str)

SECRET_WORDS = "the launch code is swordfish"


async def fail(provider: Provider, asked: Prompt, timeout: float = 5.0) -> ProviderError:
    async with aclosing(provider):
        with pytest.raises(ProviderError) as caught:
            await provider.complete(asked, timeout=timeout)
    return caught.value


def facts(failure: ProviderError) -> tuple[object, ...]:
    words = re.sub(r":[0-9]+", "", str(failure))  # the port is another each time
    return failure.code, failure.retryable, failure.status, failure.retry_after, words


async def failure_after(dialect: Dialect, step: Step, timeout: float = 5.0) -> ProviderError:
    """Return how a provider fails; one that has been answered before must fail alike."""
    async with scripted_http(step) as server:
        failure = await fail(dialect.make(server.url), prompt(SECRET_WORDS), timeout)
        assert len(server.requests) == 1, "a provider must not retry by itself"
    async with scripted_http(answer(dialect.said("ok")), step) as server:
        provider = dialect.make(server.url)
        await provider.complete(prompt("Hi"), timeout=5)
        later = await fail(provider, prompt(SECRET_WORDS), timeout)
        assert len(server.requests) == 2, "a provider must not retry by itself"
    assert facts(later) == facts(failure)
    assert KEY not in str(failure)
    assert "swordfish" not in str(failure)
    assert dialect.name in str(failure)
    return failure


async def test_a_text_answer_carries_words_model_usage_and_stop_reason(dialect: Dialect) -> None:
    async with (
        scripted_http(answer(dialect.said("Hello there"))) as server,
        aclosing(dialect.make(server.url)) as provider,
    ):
        done = await provider.complete(
            prompt("Hi", max_tokens=33, temperature=0.5, system="Be kind"), timeout=5
        )
    assert done.content == text("Hello there")
    assert done.model == dialect.said("")["model"]
    assert done.provider == dialect.name
    assert done.stop_reason == "endTurn"
    assert done.usage == Usage(11, 7)
    request = server.last
    assert (request.method, request.path) == ("POST", dialect.path)
    assert request.json["model"] == provider.model
    assert KEY in request.headers.get("authorization", "") + request.headers.get("x-api-key", "")


async def test_a_second_request_is_the_first_with_another_body(dialect: Dialect) -> None:
    async with (
        scripted_http(answer(dialect.said("one")), answer(dialect.said("two"))) as server,
        aclosing(dialect.make(server.url)) as provider,
    ):
        done = [await provider.complete(prompt(words), timeout=5) for words in ("Hi", "And a longer one, é")]
    assert [one.content for one in done] == [text("one"), text("two")]
    first, second = server.requests
    assert (second.method, second.path) == (first.method, first.path)
    differ = {name for name in first.headers if first.headers[name] != second.headers.get(name)}
    assert differ == {"content-length"}
    assert first.headers.keys() == second.headers.keys()
    assert "And a longer one, é" in json.dumps(second.json, ensure_ascii=False)


async def test_cancelling_a_later_request_aborts_it_too(dialect: Dialect) -> None:
    async with (
        scripted_http(answer(dialect.said("ok")), silence()) as server,
        aclosing(dialect.make(server.url)) as provider,
    ):
        await provider.complete(prompt("Hi"), timeout=5)
        server.arrived.clear()
        task = asyncio.create_task(provider.complete(prompt("Hi"), timeout=30))
        await asyncio.wait_for(server.arrived.wait(), 5)
        task.cancel()
        await asyncio.wait_for(server.client_left.wait(), 5)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_turns_keep_their_order_whether_one_block_or_a_list(dialect: Dialect) -> None:
    turns = (user("one"), assistant("two"), user("three", "four"))
    async with (
        scripted_http(answer(dialect.said("ok"))) as server,
        aclosing(dialect.make(server.url)) as provider,
    ):
        await provider.complete(prompt(*turns), timeout=5)
    messages = server.last.json["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    flat = json.dumps(messages)
    assert [flat.index(word) for word in ("one", "two", "three", "four")] == sorted(
        flat.index(word) for word in ("one", "two", "three", "four")
    )


@pytest.mark.parametrize("status", [200, 400])
async def test_neither_prompt_nor_key_is_logged_even_at_debug_level(
    dialect: Dialect, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        scripted_http(answer(dialect.said("ok"), status=status)) as server,
        aclosing(dialect.make(server.url)) as provider,
    ):
        with suppress(ProviderError):
            await provider.complete(prompt(SECRET_WORDS), timeout=5)
    assert server.requests
    assert "swordfish" not in caplog.text
    assert KEY not in caplog.text


async def test_a_refused_key_names_its_variable(dialect: Dialect) -> None:
    body = dialect.error("invalid_api_key", f"Incorrect API key provided: {KEY}")
    failure = await failure_after(dialect, answer(body, status=401))
    assert (failure.code, failure.retryable, failure.status) == ("E004", False, 401)
    assert f"{dialect.name.upper()}_API_KEY" in str(failure)
    assert "set a valid key" in str(failure)


async def test_an_unknown_model_is_unavailable_and_not_retried(dialect: Dialect) -> None:
    failure = await failure_after(
        dialect, answer(dialect.error("not_found_error", "no such model"), status=404)
    )
    assert (failure.code, failure.retryable) == ("E008", False)


async def test_a_bad_request_quotes_the_service_and_is_not_retried(dialect: Dialect) -> None:
    body = dialect.error("invalid_request_error", "Your credit balance is too low")
    failure = await failure_after(dialect, answer(body, status=400))
    assert (failure.code, failure.retryable) == ("E004", False)
    assert "Your credit balance is too low" in str(failure)


async def test_a_service_that_repeats_the_prompt_is_not_quoted(dialect: Dialect) -> None:
    body = dialect.error("invalid_request_error", f"cannot parse '{SECRET_WORDS[:25]}'")
    failure = await failure_after(dialect, answer(body, status=400))
    assert "cannot parse" not in str(failure)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "context_length_exceeded", "This model's maximum context length is 8192 tokens"),
        (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        (413, "request_too_large", "Request exceeds the maximum size"),
    ],
)
async def test_a_prompt_that_is_too_long_has_its_own_code(
    dialect: Dialect, status: int, code: str, message: str
) -> None:
    failure = await failure_after(dialect, answer(dialect.error(code, message), status=status))
    assert (failure.code, failure.retryable) == ("E006", False)


async def test_a_rate_limit_is_retryable_and_says_when(dialect: Dialect) -> None:
    step = answer(dialect.error("rate_limit_error", "slow down"), status=429, headers={"Retry-After": "7"})
    failure = await failure_after(dialect, step)
    assert (failure.code, failure.retryable, failure.retry_after) == ("E003", True, 7.0)


@pytest.mark.parametrize("status", [500, 503, 529])
async def test_a_failing_service_is_retryable(dialect: Dialect, status: int) -> None:
    failure = await failure_after(dialect, answer(dialect.error("api_error", "oops"), status=status))
    assert (failure.code, failure.retryable, failure.status) == ("E008", True, status)


async def test_a_page_of_a_proxy_instead_of_an_error_is_a_failing_service(dialect: Dialect) -> None:
    failure = await failure_after(
        dialect, answer(b"<html>Bad gateway</html>", status=502, content_type="text/html")
    )
    assert (failure.code, failure.retryable) == ("E008", True)


async def test_a_connection_reset_is_retryable(dialect: Dialect) -> None:
    failure = await failure_after(dialect, reset())
    assert (failure.code, failure.retryable) == ("E008", True)


async def test_a_body_cut_short_is_retryable(dialect: Dialect) -> None:
    failure = await failure_after(dialect, truncated(dialect.said("Hello there")))
    assert (failure.code, failure.retryable) == ("E008", True)


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"[]", b'{"hello": 1}'])
async def test_a_success_that_is_no_answer_is_named(dialect: Dialect, body: bytes) -> None:
    failure = await failure_after(dialect, answer(body))
    assert (failure.code, failure.retryable) == ("E008", True)
    assert "base_url" in str(failure)


async def test_a_port_where_nobody_listens_is_retryable_and_named(dialect: Dialect) -> None:
    port = unused_port()
    failure = await fail(dialect.make(f"http://127.0.0.1:{port}"), prompt("Hi"))
    assert (failure.code, failure.retryable) == ("E008", True)
    assert f"http://127.0.0.1:{port}" in str(failure)


async def test_a_silent_service_times_out_and_is_hung_up_on(dialect: Dialect) -> None:
    async with scripted_http(silence()) as server:
        failure = await fail(dialect.make(server.url), prompt("Hi"), timeout=0.3)
        await asyncio.wait_for(server.client_left.wait(), 5)
    assert (failure.code, failure.retryable) == ("E002", True)
    assert "timeout_seconds" in str(failure)


async def test_cancelling_the_task_aborts_the_request_at_the_servers_socket(dialect: Dialect) -> None:
    async with scripted_http(silence()) as server, aclosing(dialect.make(server.url)) as provider:
        task = asyncio.create_task(provider.complete(prompt("Hi"), timeout=30))
        await asyncio.wait_for(server.arrived.wait(), 5)
        assert not server.client_left.is_set()
        task.cancel()
        await asyncio.wait_for(server.client_left.wait(), 5)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_content_that_is_not_a_block_is_refused_before_anything_is_sent(dialect: Dialect) -> None:
    async with scripted_http() as server:
        failure = await fail(dialect.make(server.url), prompt({"role": "user", "content": "words"}))
        assert not server.requests
    assert (failure.code, failure.retryable) == ("E004", False)


async def test_an_images_data_is_never_read_as_a_file_name(dialect: Dialect) -> None:
    image = {"type": "image", "data": "/etc/hostname", "mimeType": "image/png"}
    async with scripted_http(answer(dialect.said("ok"))) as server:
        failure = await fail(dialect.make(server.url), prompt(user("What is this?", image)))
        assert not server.requests
    assert "base64" in str(failure)
