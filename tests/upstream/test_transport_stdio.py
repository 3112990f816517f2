"""The stdio transport's own promises: processes, their groups, their words, and their era."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.config.resolved import ServerConfig
from gateway.errors import ConnectionLost, ServerUnavailable
from gateway.upstream.dial import dialer_for
from gateway.upstream.guardian import Guardian
from gateway.upstream.port import Connection
from tests.support.raw.peers import HERE, PROFILE, Recorder, call
from tests.support.raw.scripts import stdio

WITH_CHILD = """
begin()
child = subprocess.Popen(["sleep", "1000"])
serve(pids=lambda: {"own": os.getpid(), "child": child.pid})
"""
STUBBORN = "for n in (signal.SIGTERM, signal.SIGINT): signal.signal(n, signal.SIG_IGN)\n"


SERVE_ONCE = """
def serve_once(**tools):
    message = hear()
    answer(message, **tools[message["params"]["name"]]())
    time.sleep(1000)
"""


async def dial(config: ServerConfig, **options: Any) -> Connection:
    return await dialer_for(config, **options).dial(PROFILE, Recorder().listener)


async def gone(pid: int) -> bool:
    """Wait until a process has ended (a zombie has); the kernel sends no event for a grandchild."""
    return await asyncio.to_thread(_gone, pid)


def _gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < end, f"process {pid} is still there"
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_closing_ends_the_children_of_the_server_too() -> None:
    connection = await dial(stdio(WITH_CHILD))
    pids = await call(connection, "pids")
    await connection.aclose()
    assert not alive(pids["own"])
    assert await gone(pids["child"])


async def test_a_server_that_ignores_its_end_of_input_and_sigterm_is_killed_with_its_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.upstream.process.EXIT_GRACE", 0.1)
    connection = await dial(stdio(STUBBORN + SERVE_ONCE + WITH_CHILD.replace("serve(", "serve_once(")))
    pids = await call(connection, "pids")
    await connection.aclose()
    assert await gone(pids["own"])
    assert await gone(pids["child"])


async def test_the_children_of_a_server_that_was_killed_are_ended_though_they_hold_its_output() -> None:
    connection = await dial(stdio(WITH_CHILD))
    pids = await call(connection, "pids")
    waiting = asyncio.create_task(connection.call("never/answered", {"name": "pids"}))
    await asyncio.sleep(0)
    os.kill(pids["own"], signal.SIGKILL)
    async with asyncio.timeout(5):
        await connection.closed.wait()
    assert "was killed by SIGKILL" in connection.why_closed
    await asyncio.wait({waiting})
    assert await gone(pids["child"])
    await connection.aclose()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ServerConfig("s", "stdio", HERE, command="no-such-command-1"), "'no-such-command-1' was not found"),
        (ServerConfig("s", "stdio", HERE, command="/etc/passwd"), "may not be executed"),
        (ServerConfig("s", "stdio", HERE, command="ls", cwd=Path("/no/such")), "/no/such does not exist"),
        (stdio("sys.exit('no licence')"), "exited with status 1; its last words: no licence"),
        (stdio("begin('1999-01-01')"), "protocol version '1999-01-01'.*2025-11-25"),
        (stdio("refuse(hear()); refuse(hear(), -32000); hear()"), r"refused to begin: no \(error -32000\)"),
        (stdio("time.sleep(1000)", start_timeout=0.3), "not ready within 0.3 s; raise start_timeout_seconds"),
    ],
)
async def test_a_server_that_cannot_be_connected_is_unavailable_for_a_reason_in_words(
    config: ServerConfig, words: str
) -> None:
    with pytest.raises(ServerUnavailable, match=words) as raised:
        await dial(config)
    assert raised.value.server == "s"


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_every_revision_of_the_handshake_era_is_spoken(version: str) -> None:
    connection = await dial(stdio(f"begin({version!r}); serve()"))
    assert (connection.hello.era, connection.hello.protocol_version) == ("handshake", version)
    await connection.aclose()


async def test_a_server_that_exits_at_an_unknown_first_message_is_started_again_without_it() -> None:
    source = """
first = hear()
if first["method"] != "initialize": sys.exit("expected initialize")
answer(first, protocolVersion="2025-06-18", capabilities={}, serverInfo={})
hear()
serve(echo=dict)
"""
    connection = await dial(stdio(source))
    assert connection.hello.protocol_version == "2025-06-18"
    assert await call(connection, "echo") == {}
    await connection.aclose()


async def test_a_server_that_is_silent_before_initialize_is_of_the_handshake_era_and_hears_nothing_else() -> (
    None
):
    source = """
heard = []
while not heard or heard[-1]["method"] != "initialize": heard.append(hear())
answer(heard[-1], protocolVersion="2025-06-18", capabilities={}, serverInfo={})
heard.append(hear())
serve(heard=lambda: {"methods": [message["method"] for message in heard]})
"""
    dialer = dialer_for(stdio(source), probe_timeout=0.1)
    connection = await dialer.dial(PROFILE, Recorder().listener)
    expected = ["server/discover", "initialize", "notifications/initialized"]
    assert (await call(connection, "heard"))["methods"] == expected
    again = await dialer.dial(PROFILE, Recorder().listener)
    assert (await call(again, "heard"))["methods"] == expected[1:]
    await asyncio.gather(connection.aclose(), again.aclose())


async def test_a_modern_server_that_starts_slowly_is_found_to_be_modern_after_all() -> None:
    """It answers nothing before it has been taken for silent, and sent a second first message."""
    source = """
waiting = [hear(), hear()]
def modern(message):
    if message["method"] == "server/discover":
        answer(message, supportedVersions=["2026-07-28"], capabilities={}, resultType="complete")
    else:
        data = {"supported": ["2026-07-28"], "requested": "2025-11-25"}
        say({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32022, "message": "no", "data": data}})
for message in waiting: modern(message)
while True: modern(hear())
"""
    connection = await dial(stdio(source), probe_timeout=0.1)
    assert connection.hello.era == "modern"
    await connection.aclose()


async def test_a_modern_server_without_a_common_revision_is_unavailable_naming_what_it_speaks() -> None:
    source = """
m = hear()
error = {"code": -32022, "message": "no", "data": {"supported": ["2031-01-01"]}}
say({"jsonrpc": "2.0", "id": m["id"], "error": error})
hear()
"""
    with pytest.raises(ServerUnavailable, match="it speaks 2031-01-01"):
        await dial(stdio(source))


async def test_noise_on_standard_output_before_and_between_messages_is_skipped() -> None:
    source = """
print("Welcome to the server!\\r\\n\\n", flush=True)
sys.stdout.buffer.write(b"\\xff\\xfe{\\n"); sys.stdout.flush()
begin()
print("Ready.", end="\\r\\n", flush=True)
serve(echo=lambda: {"x": 1})
"""
    connection = await dial(stdio(source))
    assert await call(connection, "echo") == {"x": 1}
    await connection.aclose()


async def test_the_last_message_counts_even_without_an_end_of_line() -> None:
    source = """
begin()
message = hear()
sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"last": True}}))
sys.stdout.flush()
"""
    connection = await dial(stdio(source))
    assert await call(connection, "x") == {"last": True}
    await connection.closed.wait()
    assert connection.why_closed == "the process exited with status 0"
    await connection.aclose()


async def test_a_server_gets_a_safe_environment_and_what_is_configured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    source = "begin(); serve(env=lambda: {'env': dict(os.environ), 'cwd': os.getcwd()})"
    connection = await dial(stdio(source, env={"SERVER_TOKEN": "t", "HOME": "/elsewhere"}, cwd=tmp_path))
    result = await call(connection, "env")
    await connection.aclose()
    assert "OPENAI_API_KEY" not in result["env"]
    assert result["env"]["SERVER_TOKEN"] == "t"
    assert result["env"]["HOME"] == "/elsewhere"
    assert result["env"]["PATH"] == os.environ["PATH"]
    assert result["cwd"] == str(tmp_path)


async def test_standard_error_goes_to_the_log_line_by_line_and_within_bounds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "gateway.server.s")
    source = """
begin()
def shout():
    sys.stderr.write("one\\n" + "x" * 600_000 + "\\n" + "line\\n" * 5000); sys.stderr.flush()
    return {}
serve(shout=shout)
"""
    connection = await dial(stdio(source))
    await call(connection, "shout")
    await connection.aclose()
    lines = [record.getMessage() for record in caplog.records if record.name == "gateway.server.s"]
    assert lines[0] == "one"
    assert max(map(len, lines)) <= 2000
    assert len(lines) < 1000


async def test_configured_secrets_that_a_server_prints_reach_neither_the_log_nor_the_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "gateway.server.s")
    config = stdio("sys.exit('bad key ' + os.environ['API_KEY'])", env={"API_KEY": "sk-123456"})
    with pytest.raises(ServerUnavailable, match=r"bad key \*\*\*"):
        await dial(config)
    assert "sk-123456" not in caplog.text


async def test_a_server_that_does_not_read_holds_up_nobody_but_its_callers() -> None:
    connection = await dial(stdio("begin(); time.sleep(1000)"))
    stuck = asyncio.create_task(call(connection, "x", text="x" * 5_000_000))
    await asyncio.sleep(0)
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stuck
    waiting = asyncio.create_task(call(connection, "x", text="x" * 5_000_000))
    await asyncio.sleep(0)
    closing = asyncio.create_task(connection.aclose())
    with pytest.raises(ConnectionLost):
        await waiting
    await closing


async def test_a_server_that_dies_while_it_is_written_to_is_said_to_have_died() -> None:
    connection = await dial(stdio("begin(); sys.stdin.read(10); os._exit(7)"))
    with pytest.raises(ConnectionLost, match="the process exited with status 7"):
        await call(connection, "x", text="x" * 5_000_000)
    await connection.aclose()


async def test_a_server_whose_input_is_found_closed_is_said_to_have_ended_as_it_did() -> None:
    connection: Any = await dial(stdio("begin(); sys.stdin.read()"))
    conversation = connection._conversation
    conversation._channel.process.stdin.close()
    calling = asyncio.create_task(call(connection, "x"))
    await asyncio.sleep(0)
    assert not calling.done()
    conversation.end("no database")
    with pytest.raises(ConnectionLost, match="no database"):
        await calling
    await connection.aclose()


async def test_a_flood_of_requests_nobody_reads_the_answers_of_is_bounded() -> None:
    source = """
begin()
for n in range(100_000): say({"jsonrpc": "2.0", "id": n, "method": "ping"})
hear(); sys.exit(0)
"""
    connection = await dial(stdio(source))
    result = asyncio.create_task(call(connection, "x"))
    with pytest.raises(ConnectionLost):
        await result
    await connection.aclose()


async def test_dialling_that_is_cancelled_leaves_no_process() -> None:
    guardian = Guardian()
    source = "open(sys.argv[1], 'w').write(str(os.getpid())); hear(); time.sleep(1000)"
    read, write = os.pipe()
    config = stdio(source)
    config = ServerConfig(
        "s", "stdio", HERE, command=config.command, args=(*config.args, f"/proc/{os.getpid()}/fd/{write}")
    )
    dialling = asyncio.create_task(dial(config, guardian=guardian))
    pid = int(await asyncio.to_thread(os.read, read, 100))
    dialling.cancel()
    await asyncio.wait({dialling})
    assert await gone(pid)
    os.close(read)
    os.close(write)
    await asyncio.to_thread(guardian.close)


async def test_a_question_before_the_handshake_is_refused_and_a_ping_is_answered() -> None:
    source = """
asked = hear()
say({"jsonrpc": "2.0", "id": "p", "method": "ping"})
say({"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": {}})
say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})
first, second = hear(), hear()
refuse(asked)
begin()
serve(told=lambda: {"told": [first, second]})
"""
    connection = await dial(stdio(source))
    told = {message["id"]: message for message in (await call(connection, "told"))["told"]}
    assert told["p"]["result"] == {}
    assert told["q"]["error"]["code"] == -32601
    await connection.aclose()


async def test_one_lane_asking_more_at_once_than_allowed_is_told_the_setting() -> None:
    source = """
begin()
def flood():
    for n in range(4): say({"jsonrpc": "2.0", "id": f"q{n}", "method": "roots/list"})
    return {"first": hear()}
serve(flood=flood)
"""
    recorder = Recorder({"roots/list": {"roots": []}}, gate=asyncio.Event())
    config = stdio(source, max_concurrent_questions=3)
    connection = await dialer_for(config).dial(PROFILE, recorder.listener)
    first = (await call(connection, "flood"))["first"]
    assert first["id"] == "q3"
    assert "max_concurrent_questions" in first["error"]["message"]
    assert len(recorder.questions) == 3
    await connection.aclose()
