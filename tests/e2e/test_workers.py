"""Several workers behind one address: every session and parked call is served wherever a request arrives."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from tests.support.command_line import run, write
from tests.support.handshake_client import handshake_client
from tests.support.modern_client import modern_client
from tests.support.parked import KEYS, answered, blue, until
from tests.support.parties import ELICITATION, ENVIRON, SAMPLING, llm_config, speaking_llm
from tests.support.processes import none_left
from tests.support.raw.stage import Show, Stage
from tests.support.raw_http import BOTH, EventStream, call
from tests.support.scripted_http import ScriptedHttp
from tests.support.workers import Workers, workers_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

Json = dict[str, Any]
EVERYTHING: Json = {"elicitation": {}, "sampling": {}}


async def ask(show: Show) -> Json:
    """Ask twice, with progress between; return the last answer."""
    await show.ask(ELICITATION["method"], ELICITATION["params"])
    await show.progress(1)
    return answered(await show.ask(ELICITATION["method"], ELICITATION["params"]))


async def ask_and_hang(show: Show) -> Json:
    """Ask once, and never end."""
    await show.ask(ELICITATION["method"], ELICITATION["params"])
    await asyncio.Event().wait()
    raise AssertionError


async def sample(show: Show) -> Json:
    """Ask the LLM; return what it said, or why it did not."""
    return answered(await show.ask(SAMPLING["method"], SAMPLING["params"]))


class Slow:
    """A tool that goes on when told."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, show: Show) -> Json:
        await show.progress(1)
        await self.go_on.wait()
        await show.progress(2)
        return {"content": [], "done": True}


@dataclass
class Shared:
    """Two workers that the tests which leave them as they were have in common."""

    workers: Workers
    stage: Stage
    slow: Slow
    llm: ScriptedHttp


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shared]:
    slow = Slow()
    stage = Stage(ask=ask, hang=ask_and_hang, sample=sample, slow=slow)
    async with speaking_llm() as llm:
        sampling = {
            "llm_config": llm_config(llm),
            "default_sampling_strategy": "magictunnel_handled",
            "budget": {"tokens_per_day": 6},
        }
        folder = tmp_path_factory.mktemp("shared")
        async with workers_of(folder, stage, config={"sampling": sampling}, **ENVIRON) as workers:
            yield Shared(workers, stage, slow, llm)


async def test_a_session_is_served_wherever_its_requests_arrive(shared: Shared) -> None:
    workers = shared.workers
    assert re.search(r" — 2 workers, 1 server: s \(up, 4 tools\)$", workers.served.line)
    answer = {"result": {"action": "accept", "content": {"colour": "client blue"}}}
    async with handshake_client(workers.base, EVERYTHING, lambda _: answer, fresh=True) as client:
        before = await workers.forwarded()
        for _ in range(3):
            response, asked = await client.call("ask", {})
            assert len(asked) == 2
            assert response["result"]["structuredContent"]["answer"] == blue()
        # Nine POSTs, dealt out in turn: those of calls and those with answers.
        assert await workers.forwarded() - before >= 3
    gone = {await workers.ping(client.sent) for _ in range(4)}
    assert gone == {404}
    decisions = (await workers.api("/api/decisions?limit=5"))["decisions"]
    assert len(decisions) == 5
    assert {decision["worker"] for decision in decisions} == {int(client.sent["mcp-session-id"][0])}


async def test_the_general_stream_and_a_broken_one_are_taken_up_at_any_worker(shared: Shared) -> None:
    workers, go_on = shared.workers, shared.slow.go_on
    before = await workers.forwarded()
    for owner, sent in (await workers.sessions(2)).items():
        go_on.clear()
        message = call("slow", 7)
        message["params"]["_meta"] = {"progressToken": "p"}
        headers = {**BOTH, **sent}
        async with workers.http.stream("POST", "/mcp", json=message, headers=headers) as response:
            first = await EventStream(response).next()
        assert first.id, f"of worker {owner}"
        go_on.set()
        resumed = {"accept": "text/event-stream", "last-event-id": first.id, **sent}
        async with workers.http.stream("GET", "/mcp", headers=resumed) as response:
            stream = EventStream(response)
            assert (await stream.message())["params"]["progress"] == 2
            assert (await stream.message())["result"]["done"] is True
        general = {"accept": "text/event-stream", **sent}
        async with workers.http.stream("GET", "/mcp", headers=general) as response:
            assert response.status_code == 200
            # Ending the session ends its stream, whichever workers stand between.
            assert (await workers.http.delete("/mcp", headers=sent)).status_code == 200
            assert not (await response.aread()).strip()
    assert await workers.forwarded() - before >= 1


async def test_a_stream_of_2024_takes_its_messages_at_any_worker(shared: Shared) -> None:
    workers = shared.workers
    before = await workers.forwarded()
    async with workers.http.stream("GET", "/sse") as response:
        stream = EventStream(response)
        path = (await stream.next()).data
        for number in range(4):
            ping = {"jsonrpc": "2.0", "id": number, "method": "ping"}
            assert (await workers.http.post(path, json=ping)).status_code == 202
            assert await stream.message() == {"jsonrpc": "2.0", "id": number, "result": {}}
        assert await workers.forwarded() - before == 2
        for wrong in ("9.x", "1.x", "0.x", "../0.x", ""):
            posted = await workers.http.post("/messages", params={"session_id": wrong}, json=ping)
            assert posted.status_code == 404
        await _pages_refuse_whom_each_worker_refuses(workers)


async def _pages_refuse_whom_each_worker_refuses(workers: Workers) -> None:
    pages = ("/api/calls", "/api/servers", "/api/llm", "/api/decisions", "/api/costs")
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
        assert {(await workers.http.get(page, headers=headers)).status_code for page in pages} == {403}
    assert (await workers.http.get("/api/decisions?limit=no")).status_code == 400
    assert {(await workers.http.get(path)).status_code for path in ("/health", "/ready", *pages)} == {200}


def keyed() -> tuple[Json, dict[str, str]]:
    named = {f"KEY_{name.upper()}": key for name, key in KEYS.items()}
    keys = [{"principal": name, "key_env": f"KEY_{name.upper()}"} for name in KEYS]
    return {"auth": {"keys": keys}}, named


async def test_a_parked_call_goes_on_wherever_its_retries_arrive(shared: Shared) -> None:
    workers, stage = shared.workers, shared.stage
    before, answers = await workers.forwarded(), len(stage.answers)
    async with modern_client(workers.base, fresh=True) as client:
        for _ in range(3):
            asking = client.tool("ask", text='"requestState": "mine"')
            first = await asking.send(progressToken="first")
            second = await asking.answer(first, blue(), progressToken="mine")
            assert second.told("notifications/progress") == [{"progressToken": "mine", "progress": 1}]
            last = await asking.answer(second, blue())
            assert last.result["structuredContent"]["answer"] == blue()
            # Asked again after the end, at whichever worker, it is the same.
            for _ in range(2):
                assert (await asking.answer(second, blue())).result == last.result
        assert await workers.forwarded() - before >= 3
        # A client that leaves is seen to leave by the worker that owns its call.
        for turn in (1, 2):
            asking = client.tool("hang")
            first = await asking.send()
            retry = asking.begin(first, {first.key: blue()})
            await stage.until(lambda s, turn=turn: len(s.answers) == answers + 6 + turn)
            retry.cancel()
            await stage.until(lambda s, turn=turn: s.cancelled == turn)
        await until(lambda: _idle(workers))


async def _idle(workers: Workers) -> bool:
    calls = await workers.api("/api/calls")
    return calls["parked"] == calls["in_flight"] == 0


async def test_a_state_opens_nothing_but_its_own_call_at_every_worker(tmp_path: Path) -> None:
    config, named = keyed()
    one = {**config, "http": {"workers": 1}}
    async with workers_of(tmp_path, Stage(ask=ask), "--workers", "2", config=one, **named) as workers:
        async with (
            modern_client(workers.base, key=KEYS["ann"], fresh=True) as ann,
            modern_client(workers.base, key=KEYS["bob"], fresh=True) as bob,
            modern_client(workers.base, key="wrong", fresh=True) as stranger,
        ):
            asking = ann.tool("ask", x=1)
            first = await asking.send()
            state = first.state
            forged = [state[:-6] + "AAAAAA", "0." + state, "1.x", state.replace("v1", "v2")]
            for _ in range(2):
                assert (await asking.by(bob).answer(first, blue())).error["code"] == -32602
                assert (await ann.tool("ask", x=2).answer(first, blue())).error["code"] == -32602
                assert (await asking.by(stranger).answer(first, blue())).status == 401
                for wrong in forged:
                    assert (await asking.send(wrong, {first.key: blue()})).error["code"] == -32602
            second = await asking.answer(first, blue())
            assert (await asking.answer(second, blue())).result["resultType"] == "complete"
        sent = await _session_of_ann(workers)
        for _ in range(2):
            assert await workers.ping({**sent, "authorization": f"Bearer {KEYS['bob']}"}) == 404
            assert await workers.ping({**sent, "authorization": "Bearer wrong"}) == 401
            assert await workers.ping({**sent, "authorization": f"Bearer {KEYS['ann']}"}) == 200
            assert await workers.ping({**sent, "origin": "https://evil.example"}) == 403


async def _session_of_ann(workers: Workers) -> dict[str, str]:
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "c", "version": "1"},
    }
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    headers = {"authorization": f"Bearer {KEYS['ann']}"}
    opened = await workers.http.post("/mcp", json=message, headers=headers)
    return {"mcp-session-id": opened.headers["mcp-session-id"]}


async def test_when_a_worker_is_killed_the_others_go_on_and_it_is_started_again(tmp_path: Path) -> None:
    stage = Stage(ask=ask)
    async with workers_of(tmp_path, stage) as workers:
        sessions = await workers.sessions(2)
        async with modern_client(workers.base, fresh=True) as client:
            askings = [client.tool("ask", number=number) for number in range(2)]
            parked = [await asking.send() for asking in askings]
            before = workers.processes()
            assert len(before) == 2
            before[1].kill()
            # Reaped: until then it may still hold what it was given.
            await until(lambda: not psutil.pid_exists(before[1].pid))
            statuses = [await workers.ping(sent) for sent in sessions.values() for _ in range(3)]
            lost = [index for index in sessions if statuses[3 * index] == 404]
            assert len(lost) == 1
            assert statuses == [404 if index in lost else 200 for index in sorted(sessions) for _ in range(3)]
            await until(lambda: _all_there(workers))
            assert len(workers.processes()) == 2
            lasts = [
                await asking.answer(first, blue()) for asking, first in zip(askings, parked, strict=True)
            ]
            refused = [last.error for last in lasts if "error" in last.response]
            assert [error["code"] for error in refused] == [-32602]
            assert "start it again" in refused[0]["message"]
        reopened = await workers.sessions(2)
        assert {await workers.ping(sent) for sent in reopened.values() for _ in range(3)} == {200}
        # The workers of a parent that was killed end, and clear its directory away.
        orphans = workers.processes()
        workers.served.process.kill()
        await none_left(orphans, 20)
        await until(lambda: not list(workers.folder.iterdir()))
        workers.ends = -9


async def _all_there(workers: Workers) -> bool:
    shown = await workers.api("/api/servers")
    up = {server["worker"] for server in shown["servers"] if server["state"] == "up"}
    return up == {0, 1} and "missing" not in shown


async def test_workers_are_refused_where_there_is_one_client(tmp_path: Path) -> None:
    write(tmp_path, {"http": {"workers": 2}})
    ended = await run("serve", "-c", "gateway.yaml", "--stdio", cwd=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert "--stdio serves one client" in ended.err
    checked = await run("check", "-c", "gateway.yaml", cwd=tmp_path)
    assert "each of the 2 workers" in checked.err


async def test_a_worker_that_cannot_start_says_why_once(tmp_path: Path) -> None:
    llm = {"llm_config": {"provider": "openai", "model": "m"}}
    write(tmp_path, {"http": {"workers": 3, "port": 0}, "sampling": llm})
    ended = await run("serve", "-c", "gateway.yaml", cwd=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.count("OPENAI_API_KEY") == 2, "in the problem, and in its fix"
    assert ended.err.endswith("1 problem in the configuration\n")


async def test_a_hard_budget_is_one_budget_whichever_worker_spends_it(shared: Shared) -> None:
    workers = shared.workers
    sessions = await workers.sessions(2)
    outcomes = []
    for turn in range(4):
        message = call("sample", turn)
        response = await workers.http.post("/mcp", json=message, headers=sessions[turn % 2])
        outcomes.append(_outcome(response.json()))
    # Three tokens an answer: two answers, then none, and the other worker's count as well.
    assert outcomes == ["llm", "llm", "spent", "spent"]
    for _ in range(2):
        (row,) = (await workers.api("/api/costs"))["rows"]
        assert (row["requests"], row["input_tokens"] + row["output_tokens"]) == (2, 6)
    by_call = (await workers.api("/api/costs?by=call"))["rows"]
    assert {(one["worker"], one["requests"]) for one in by_call} == {(0, 1), (1, 1)}
    assert len(shared.llm.requests) == 2


def _outcome(response: Json) -> str:
    answer = response["result"]["structuredContent"]["answer"]
    return (
        "spent"
        if answer.get("data", {}).get("code") == "E012"
        else "llm"
        if "content" in answer
        else str(answer)
    )
