"""What every connection does, whatever its transport and era."""

from __future__ import annotations

import asyncio
import gc
import os
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.errors import ConnectionLost, PeerError, QuestionRefused
from gateway.upstream.dial import dialer_for
from gateway.upstream.guardian import Guardian
from gateway.upstream.port import Connection
from tests.support.raw.peers import HANDSHAKE, KINDS, MODERN, PROFILE, Recorder, call, children, raw_server

Json = dict[str, Any]
OFTEN = ("stdio-handshake", "http-handshake", "http-modern")
"""Each era, over a pipe and over HTTP; the other kinds take their turn with the large tables."""
every_kind = pytest.mark.parametrize(
    "kind", [kind if kind in OFTEN else pytest.param(kind, marks=pytest.mark.extensive) for kind in KINDS]
)

SAMPLE: Json = {
    "method": "sampling/createMessage",
    "params": {"messages": [], "maxTokens": 5, "x-unknown": 1},
}
ELICIT: Json = {"method": "elicitation/create", "params": {"message": "Name?", "requestedSchema": {}}}
ROOTS: Json = {"method": "roots/list"}
SAMPLED: Json = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "é"}, "x-unknown": 2}
ACCEPTED: Json = {"action": "accept", "content": {"name": "Ada"}, "_meta": {"x": 1}}
LISTED: Json = {"roots": [{"uri": "file:///a", "x-unknown": 3}]}
ANSWERS: Json = {"sampling/createMessage": SAMPLED, "elicitation/create": ACCEPTED, "roots/list": LISTED}


@asynccontextmanager
async def connected(
    kind: str, recorder: Recorder | None = None, *flags: str, **settings: Any
) -> AsyncGenerator[Connection]:
    async with raw_server(kind, *flags, **settings) as config:
        connection = await dialer_for(config).dial(PROFILE, (recorder or Recorder()).listener)
        try:
            yield connection
        finally:
            await connection.aclose()


@every_kind
async def test_the_server_says_who_it_is_in_its_own_words(kind: str) -> None:
    async with connected(kind) as connection:
        hello = connection.hello
        assert hello.era == kind.split("-")[1]
        assert hello.protocol_version == ("2026-07-28" if hello.era == "modern" else "2025-11-25")
        assert hello.server_info == {"name": f"raw-{hello.era}", "version": "1", "x-unknown-info": True}
        assert hello.capabilities["x-unknown-capability"] == {"kept": 1}
        assert hello.instructions == "Ask."
        assert not connection.closed.is_set()
        assert connection.why_closed == ""


@every_kind
async def test_what_a_server_and_a_client_send_each_other_arrives_with_nothing_lost(kind: str) -> None:
    arguments = {"ключ": [1, 2.5, None, {"deep": True}], "big": 2**60, "text": "\u2028 😀 \ud800 \n"}
    params = {"name": "echo", "arguments": arguments, "x-unknown": "kept", "_meta": {"com.example/a": [1]}}
    async with connected(kind) as connection:
        result = await connection.call("tools/call", params)
        assert isinstance(result, dict)
        listing = await connection.call("tools/list", {})
    assert result["structuredContent"] == arguments
    assert result["content"] == [{"type": "text", "text": "ok", "x-unknown": 1.5}]
    assert result["_meta"] == {"com.example/mark": {"deep": [True, None]}}
    received = result["received"]
    assert received["x-unknown"] == "kept"
    assert received["_meta"]["com.example/a"] == [1]
    assert received["arguments"] == arguments
    assert isinstance(listing, dict)
    assert listing["x-unknown"] == "kept"
    assert listing["tools"][0] == {
        "name": "echo",
        "inputSchema": {"type": "object"},
        "x-unknown": {"of": "echo"},
    }


@every_kind
async def test_a_servers_error_is_carried_unchanged(kind: str) -> None:
    async with connected(kind) as connection:
        with pytest.raises(PeerError) as raised:
            await call(connection, "fail", why=1)
        with pytest.raises(PeerError) as unknown:
            await connection.call("x/unknown", {})
    assert (raised.value.code, raised.value.message) == (-32050, "as asked")
    assert raised.value.data == {"x-unknown": {"why": 1}}
    assert (unknown.value.code, unknown.value.data) == (-32601, {"x-unknown": "x/unknown"})


@every_kind
async def test_questions_are_answered_and_the_answers_reach_the_server_unchanged(kind: str) -> None:
    recorder = Recorder(ANSWERS)
    async with connected(kind, recorder) as connection:
        requests = {"a": SAMPLE, "b": ELICIT, "c": ROOTS}
        result = await call(connection, "ask", recorder.scope, requests=requests)
    answers = result["answers"]
    if kind in HANDSHAKE:
        answers = {key: message["result"] for key, message in answers.items()}
    assert answers == {"a": SAMPLED, "b": ACCEPTED, "c": LISTED}
    place = {"stdio-handshake": "listener", "sse-handshake": "listener", "http-handshake": "scope"}
    assert {where for where, _ in recorder.questions} == {place.get(kind, "scope, deferrable")}
    asked = {question.method: question.params for _, question in recorder.questions}
    assert asked["sampling/createMessage"] == SAMPLE["params"]
    assert asked["roots/list"] == {}


@pytest.mark.parametrize("kind", HANDSHAKE)
async def test_a_refused_question_is_an_error_to_the_server_and_the_call_goes_on(kind: str) -> None:
    errors = {
        "sampling/createMessage": QuestionRefused("sampling is off", {"setting": "sampling.enabled"}),
        "elicitation/create": PeerError(-1, "User rejected", {"x-unknown": 1}),
    }
    recorder = Recorder(errors)
    async with connected(kind, recorder) as connection:
        result = await call(connection, "ask", recorder.scope, requests={"a": SAMPLE, "b": ELICIT})
    assert result["answers"]["a"]["error"] == {
        "code": -32601,
        "message": "sampling is off",
        "data": {"setting": "sampling.enabled"},
    }
    assert result["answers"]["b"]["error"] == {
        "code": -1,
        "message": "User rejected",
        "data": {"x-unknown": 1},
    }


@pytest.mark.parametrize("kind", MODERN)
async def test_a_refused_question_ends_the_call_of_a_server_that_cannot_be_told(kind: str) -> None:
    recorder = Recorder({"sampling/createMessage": QuestionRefused("sampling is off")})
    async with connected(kind, recorder) as connection:
        with pytest.raises(QuestionRefused, match="sampling is off"):
            await call(connection, "ask", recorder.scope, requests={"a": SAMPLE})
        assert (await call(connection, "echo", x=1))["structuredContent"] == {"x": 1}


@every_kind
async def test_progress_comes_back_under_the_callers_own_token(kind: str) -> None:
    recorder = Recorder()
    async with connected(kind, recorder) as connection:
        params = {"name": "progress", "arguments": {}, "_meta": {"progressToken": "the caller's", "x": 1}}
        result = await connection.call("tools/call", params, recorder.scope)
        assert isinstance(result, dict)
        await recorder.told("notifications/message")
    assert result["token"] != "the caller's"
    steps = [entry for entry in recorder.notifications if entry[1] == "notifications/progress"]
    assert steps == [
        (
            "scope",
            "notifications/progress",
            {"progressToken": "the caller's", "progress": n, "total": 3, "x": n},
        )
        for n in (1, 2, 3)
    ]


@every_kind
async def test_log_messages_go_to_the_call_only_where_the_wire_names_it(kind: str) -> None:
    recorder = Recorder()
    async with connected(kind, recorder) as connection:
        await call(connection, "progress", recorder.scope)
        place, params = await recorder.told("notifications/message")
    assert place == ("scope" if kind.startswith("http") else "listener")
    assert params == {"level": "info", "data": {"x-unknown": 1}}


@every_kind
async def test_cancelling_a_call_reaches_the_server_and_spares_the_others(kind: str) -> None:
    recorder = Recorder()
    async with connected(kind, recorder) as connection:
        params = {"name": "wait", "arguments": {"name": "one"}, "_meta": {"progressToken": 7}}
        waiting = asyncio.create_task(connection.call("tools/call", params, recorder.scope))
        other = {"name": "wait", "arguments": {"name": "two"}}
        spared = asyncio.create_task(connection.call("tools/call", other))
        await recorder.told("notifications/progress")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await call(connection, "until", cancelled=1))["cancelled"] == ["one"]
        assert not spared.done()
        spared.cancel()
        await asyncio.wait({spared})


@every_kind
async def test_a_call_cancelled_while_its_question_is_open_takes_the_question_back(kind: str) -> None:
    recorder = Recorder(ANSWERS, gate=asyncio.Event())
    async with connected(kind, recorder) as connection:
        asking = asyncio.create_task(call(connection, "ask", recorder.scope, requests={"a": ELICIT}))
        await recorder.asked_event.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        if kind not in ("stdio-handshake", "sse-handshake"):
            await recorder.withdrawn.wait()
        assert (await call(connection, "echo", x=1))["structuredContent"] == {"x": 1}


@every_kind
async def test_a_servers_death_ends_its_calls_and_the_connection_with_the_reason(kind: str) -> None:
    async with connected(kind) as connection:
        waiting = asyncio.create_task(call(connection, "wait", name="w"))
        with pytest.raises(ConnectionLost) as raised:
            await call(connection, "die", status=3)
        with pytest.raises(ConnectionLost):
            await waiting
        async with asyncio.timeout(10):
            await connection.closed.wait()
        if kind.startswith("stdio"):
            assert "the process exited with status 3; its last words: a last word" in raised.value.reason
        assert connection.why_closed
        with pytest.raises(ConnectionLost):
            await call(connection, "echo")


@every_kind
async def test_a_result_of_ten_megabytes_passes(kind: str) -> None:
    async with connected(kind) as connection:
        result = await call(connection, "big", bytes=10_000_000)
    assert len(result["content"][0]["text"].encode()) == 10_000_000


@every_kind
async def test_a_message_beyond_the_limit_ends_the_call_with_the_settings_name(kind: str) -> None:
    async with raw_server(kind) as config:
        connection = await dialer_for(config, max_message_bytes=100_000).dial(PROFILE, Recorder().listener)
        with pytest.raises(Exception, match=r"more than 100000 bytes.*max_message_bytes"):
            await call(connection, "big", bytes=300_000)
        await connection.aclose()


@every_kind
async def test_calls_at_the_same_time_each_get_their_own_result(kind: str) -> None:
    async with connected(kind) as connection:
        results = await asyncio.gather(*(call(connection, "echo", n=n) for n in range(50)))
    assert [result["structuredContent"]["n"] for result in results] == list(range(50))


@every_kind
async def test_nonsense_of_a_server_is_skipped_and_hurts_nobody(kind: str) -> None:
    async with connected(kind) as connection:
        assert (await call(connection, "nonsense"))["sane"]
        assert (await call(connection, "echo", x=1))["structuredContent"] == {"x": 1}


@every_kind
async def test_list_changes_reach_the_listener(kind: str) -> None:
    recorder = Recorder()
    async with connected(kind, recorder) as connection:
        if kind in MODERN:
            await call(connection, "until", listeners=1)
        await call(connection, "announce", method="notifications/tools/list_changed", params={"x": 1})
        place, params = await recorder.told("notifications/tools/list_changed")
    assert (place, params) == ("listener", {"x": 1})


@pytest.mark.parametrize("kind", HANDSHAKE)
async def test_a_ping_is_answered_by_the_connection(kind: str) -> None:
    recorder = Recorder()
    async with connected(kind, recorder) as connection:
        assert (await call(connection, "ping", recorder.scope))["pong"]["result"] == {}
    assert recorder.questions == []


@pytest.mark.parametrize("kind", HANDSHAKE)
async def test_a_question_that_the_server_withdraws_is_taken_back_from_its_answerer(kind: str) -> None:
    recorder = Recorder(ANSWERS, gate=asyncio.Event())
    async with connected(kind, recorder) as connection:
        asking = asyncio.create_task(call(connection, "withdraw", recorder.scope))
        await recorder.asked_event.wait()
        await connection.notify("notifications/arrived")
        await asking
        await recorder.withdrawn.wait()


@every_kind
async def test_only_the_profile_is_declared(kind: str) -> None:
    async with raw_server(kind) as config:
        connection = await dialer_for(config).dial(frozenset({"elicitation.form"}), Recorder().listener)
        report = await call(connection, "seen")
        await connection.aclose()
    first = next(m for m in report["seen"] if m["method"] in ("initialize", "server/discover"))
    meta = first["params"].get("_meta", {})
    capabilities = first["params"].get("capabilities", meta.get("io.modelcontextprotocol/clientCapabilities"))
    assert capabilities == {"elicitation": {"form": {}}}


@every_kind
async def test_closing_leaves_no_process_no_task_and_no_socket(kind: str) -> None:
    async with raw_server(kind) as config:
        before, tasks = children(), asyncio.all_tasks()
        guardian = Guardian()
        dialer = dialer_for(config, guardian=guardian)
        connection = await dialer.dial(PROFILE, Recorder().listener)
        waiting = asyncio.create_task(call(connection, "wait", name="w"))
        await call(connection, "echo")
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            await asyncio.gather(connection.aclose(), connection.aclose())
            await connection.aclose()
            gc.collect()
        with pytest.raises(ConnectionLost, match="closed by the gateway"):
            await waiting
        await asyncio.to_thread(guardian.close)
        assert connection.closed.is_set()
        assert children() == before
        assert asyncio.all_tasks() == tasks
        assert _sockets() == 0 or kind.startswith("stdio")


@every_kind
async def test_closing_is_finished_even_if_the_one_who_closes_is_cancelled(kind: str) -> None:
    async with raw_server(kind) as config:
        before = children()
        guardian = Guardian()
        connection = await dialer_for(config, guardian=guardian).dial(PROFILE, Recorder().listener)
        closing = asyncio.create_task(connection.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait({closing})
        await connection.aclose()
        await asyncio.to_thread(guardian.close)
        assert children() == before


def _sockets() -> int:
    """How many established TCP connections this process holds."""
    count = 0
    for entry in os.scandir("/proc/self/fd"):
        try:
            target = os.readlink(entry.path)
        except OSError:
            continue
        if target.startswith("socket:"):
            count += target[8:-1] in _established()
    return count


def _established() -> set[str]:
    with open("/proc/self/net/tcp") as table:
        return {line.split()[9] for line in table.readlines()[1:] if line.split()[3] == "01"}
